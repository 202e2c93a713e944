"""The examples run, each as a user would start it, and there is one for everything that can be given."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import environment, run_beside_imports

FEEDING = Path(__file__).parents[2] / "examples" / "feeding"
SCRIPTS = sorted(path for path in FEEDING.glob("from_*.py"))


def as_a_user(script, folder):
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment(AUTOBATCH_CACHE_DIR=str(folder)),
        stdout=subprocess.PIPE,
        text=True,
        timeout=200,
        check=True,
    ).stdout


WITHOUT_A_WORKER = """
import runpy, sys
from autobatch.probing.trials import executor
executor.SUPPORTED = False
sys.path.insert(0, {folder!r})
runpy.run_path({script!r})
"""


def beside_imports(script, folder):
    """Two imports of TensorFlow less: that trials run in a worker is shown by another."""
    program = WITHOUT_A_WORKER.format(folder=str(script.parent), script=str(script))
    return run_beside_imports(program, folder, AUTOBATCH_CACHE_DIR=str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs_and_learns(script, tmp_path):
    if script.stem == "from_dataframe":
        pytest.importorskip("pandas", reason="the example of a dataframe needs pandas")
    run = as_a_user if script.stem == "from_folder" else beside_imports
    accuracies = re.findall(r"^\[[0-9., ]+\]", run(script, tmp_path), flags=re.MULTILINE)
    assert accuracies
    assert all(ast.literal_eval(line)[-1] > 0.6 for line in accuracies), accuracies


def test_there_is_an_example_for_every_row():
    rows = {
        "folder", "arrays_through_generator", "dataframe", "flow", "arrays", "py_dataset", "tf_data", "generator", "mix"
    }  # fmt: skip
    assert {script.stem.removeprefix("from_") for script in SCRIPTS} == rows
