"""The examples run, each as a user would start it, and there is one for everything that can be given."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import environment

FEEDING = Path(__file__).parents[2] / "examples" / "feeding"
SCRIPTS = sorted(path for path in FEEDING.glob("from_*.py"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all of them: most train the same net."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs_and_learns(script, tmp_path, cache):
    if script.stem == "from_dataframe":
        pytest.importorskip("pandas", reason="the example of a dataframe needs pandas")
    here = environment(AUTOBATCH_CACHE_DIR=str(cache))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=here, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    accuracies = re.findall(r"^\[[0-9., ]+\]", done.stdout, flags=re.MULTILINE)
    assert accuracies
    assert all(ast.literal_eval(line)[-1] > 0.6 for line in accuracies), accuracies


def test_there_is_an_example_for_every_row():
    rows = {
        "folder", "arrays_through_generator", "dataframe", "flow", "arrays", "py_dataset", "tf_data", "generator", "mix"
    }  # fmt: skip
    assert {script.stem.removeprefix("from_") for script in SCRIPTS} == rows
