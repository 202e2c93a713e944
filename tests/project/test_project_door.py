"""What `import autobatch` gives, and what it doesn't cost."""

import inspect
import json
import re
import subprocess
import sys

import pytest

import autobatch
import autobatch.testing

HEAVY = ("tensorflow", "keras", "numpy", "pynvml", "psutil", "scipy", "PIL", "platformdirs", "rich")
HELP = "from autobatch.cli.main import main; main(['--help'], stdout=sys.stderr)"


def test_all_is_sorted_and_every_name_in_it_is_there():
    assert list(autobatch.__all__) == sorted(autobatch.__all__)
    assert [name for name in autobatch.__all__ if not hasattr(autobatch, name)] == []
    assert set(autobatch.__all__) <= set(dir(autobatch))


def test_every_error_is_exported():
    defined = {name for name, value in vars(autobatch.errors).items() if isinstance(value, type)}
    assert {name for name in defined if name.endswith("Error")} <= set(autobatch.__all__)


def public_objects():
    """Each public function and class, and each public method of the classes, by its name."""
    for module in (autobatch, autobatch.testing):
        for name in module.__all__:
            value = getattr(module, name)
            if name == "__version__":
                continue
            yield name, value
            if isinstance(value, type):
                methods = vars(value).items()
                yield from ((f"{name}.{of}", method) for of, method in methods if public_method(of, method))


def public_method(name, value):
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))


def parameters(value):
    if isinstance(value, property) or (isinstance(value, type) and issubclass(value, BaseException)):
        return []
    return [name for name in inspect.signature(value).parameters if name not in {"self", "args", "kwargs"}]


def test_a_public_docstring_says_what_it_is_and_what_each_parameter_means():
    """Seen to fail without the line of `seed` in the docstring of `fit`."""
    lacking = []
    for name, value in public_objects():
        text = inspect.getdoc(value) or ""
        # a dataclass without a docstring gets its signature for one
        if not text or text.startswith(f"{name}("):
            lacking.append(name)
        unsaid = [each for each in parameters(value) if not re.search(rf"\b{each}\b", text)]
        lacking += [f"{name}: {each}" for each in unsaid]
    assert lacking == []


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'train_faster'"):
        _ = autobatch.train_faster


@pytest.mark.parametrize("statement", ["import autobatch", HELP], ids=["import", "help"])
def test_importing_brings_no_heavy_library_along(statement):
    """Seen to fail with `import numpy` at the top of a module that the command imports."""
    program = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in HEAVY if name in json.loads(done.stdout)] == []
