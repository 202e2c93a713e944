"""Stdout holds the result and nothing else, whoever writes there; where it cannot be written, that is one line."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, ctypes, os, sys
sys.path[:] = {path!r}
from command_scene import FakeApi
from autobatch.cli.main import main
def load_model(name, load=FakeApi.load_model):
    print("by Python")
    os.write(1, b"by the descriptor\\n")
    os.system("echo by a process")
    ctypes.CDLL(None).printf(b"by C\\n")
    return load(fake, name)
fake = FakeApi({error})
fake.load_model = load_model
status = main(sys.argv[1:], api=fake, environ={{}})
with contextlib.suppress(OSError):
    os.write(1, b" \\n")
sys.exit(status)
"""


def shell(words, *, error="None", redirected=""):
    """The command in a shell of its own, on functions that only say how they were called."""
    program = PROGRAM.format(path=sys.path, error=error)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # of C, too
    line = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", program, *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60, env=environ)


@pytest.mark.parametrize(
    ("error", "outcome"), [("None", "found"), ("ValueError()", "foreign_error"), ("SystemExit(0)", "foreign_error")]
)
def test_only_the_result_is_on_stdout_whoever_writes_there(error, outcome):
    """Seen to fail with Python's own stdout redirected alone, and without what C still held."""
    done = shell(["probe", "m:model", "--json"], error=error)
    assert json.loads(done.stdout)["outcome"] == outcome
    assert done.stdout.endswith("}\n \n")  # it leads to where it did before
    for who in ("Python", "the descriptor", "a process", "C"):
        assert f"by {who}\n" in done.stderr


def test_with_stderr_closed_the_result_is_printed_all_the_same():
    assert shell(["probe", "m:model", "--quiet"], redirected="2>&-").returncode == 0


@pytest.mark.parametrize("words", [["probe", "m:model"], ["memory", "--json"], ["--help"]], ids=" ".join)
def test_a_closed_stdout_is_one_line_and_nothing_is_started(words):
    """Seen to fail with an AttributeError."""
    done = shell(words, redirected=">&-")
    assert (done.returncode, done.stderr.count("\n"), "stdout is closed" in done.stderr) == (2, 1, True)


@pytest.mark.parametrize(
    "words", [["probe", "m:model", "--json"], ["doctor", "--show-config"], ["memory", "--watch", "0.1"]], ids=" ".join
)
def test_a_full_stdout_is_one_line(words):
    """Seen to fail with a traceback, and with a second complaint of Python's at its end."""
    done = shell(words, redirected=">/dev/full")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert last == "autobatch: error: The result cannot be printed: No space left on device."
    assert done.stderr.count("autobatch: error") == 1
    assert "Traceback" not in done.stderr
