"""The library's logger: silent unless somebody listens, and then heard once."""

import ast
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import autobatch
from autobatch._logging import log

PACKAGE = Path(autobatch.__file__).parent
WARN = "from autobatch._logging import log; log.info('it is %s', 'told'); log.warning('it is %s', 'heard')"


def stderr_of(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_warning_that_nobody_asked_for_is_not_seen():
    """Seen to fail without the NullHandler: Python's last resort prints warnings."""
    assert stderr_of(WARN) == []


@pytest.mark.parametrize("before", [True, False], ids=["set up before the import", "set up after it"])
def test_a_program_that_sets_up_logging_hears_each_line_once(before):
    """Seen to fail with a StreamHandler in place of the NullHandler."""
    listen = "import logging; logging.basicConfig(level=logging.INFO, format='%(name)s: %(message)s')"
    order = [listen, "import autobatch._logging"] if before else ["import autobatch._logging", listen]
    assert stderr_of("; ".join([*order, WARN])) == ["autobatch: it is told", "autobatch: it is heard"]


def test_nothing_is_set_up_but_a_handler_that_drops_everything():
    kinds = [type(handler) for handler in log.handlers]
    assert kinds == [logging.NullHandler]
    assert log.level == logging.NOTSET
    assert log.propagate


def test_there_is_one_logger_in_one_place():
    """Seen to fail with a module that asks `logging` for a logger of its own, by `import` and by `from`."""
    users = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "logging" in imports(path)]
    assert users == ["_logging.py"]


def imports(path):
    """The modules that a file imports by name."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
