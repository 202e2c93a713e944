"""The examples in docstrings run, and everything public has one or is an error."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import autobatch

MODULES = [
    found.name
    for found in pkgutil.walk_packages(autobatch.__path__, "autobatch.")
    if ">>>" in inspect.getsource(importlib.import_module(found.name))
]
PUBLIC = [name for name in autobatch.__all__ if name != "__version__" and not name.endswith("Error")]


def test_there_are_examples_to_run():
    assert len(MODULES) > 3


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_give_what_they_say(module):
    """Seen to fail with a number changed in an example."""
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_is_documented(name):
    """Sections as they apply: what it takes, gives and raises, and an example."""
    thing = getattr(autobatch, name)
    text = inspect.getdoc(thing)
    assert text
    if inspect.isfunction(thing):
        assert "Example" in text
        assert "Raises" in text or name == "read_memory"
    else:
        assert "Attributes:" in text
