"""What `import autobatch` gives, and what it doesn't cost."""

import json
import subprocess
import sys

import pytest

import autobatch

HEAVY = ("tensorflow", "keras", "numpy", "pynvml", "psutil", "scipy", "PIL", "platformdirs", "rich")
HELP = "from autobatch.cli.main import main; main(['--help'], stdout=sys.stderr)"


def test_all_is_sorted_and_every_name_in_it_is_there():
    assert list(autobatch.__all__) == sorted(autobatch.__all__)
    assert [name for name in autobatch.__all__ if not hasattr(autobatch, name)] == []
    assert set(autobatch.__all__) <= set(dir(autobatch))


def test_every_error_is_exported():
    defined = {name for name, value in vars(autobatch.errors).items() if isinstance(value, type)}
    assert {name for name in defined if name.endswith("Error")} <= set(autobatch.__all__)


def test_every_public_name_says_what_it_is():
    names = [name for name in autobatch.__all__ if name != "__version__"]
    documents = {name: getattr(autobatch, name).__doc__ or "" for name in names}
    # a dataclass without a docstring gets its signature for one
    assert [name for name, text in documents.items() if not text or text.startswith(f"{name}(")] == []


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'train_faster'"):
        _ = autobatch.train_faster


@pytest.mark.parametrize("statement", ["import autobatch", HELP], ids=["import", "help"])
def test_importing_brings_no_heavy_library_along(statement):
    """Seen to fail with `import numpy` at the top of a module that the command imports."""
    program = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in HEAVY if name in json.loads(done.stdout)] == []
