"""`autobatch doctor`: what was found, what to do, what would be used."""

import json
import os
import subprocess
import sys

import pytest

from autobatch.backend.base import Framework
from autobatch.cli.commands.doctor import checkup_lines
from autobatch.doctor.checkup import Checkup, MachinePlan, check_up
from autobatch.doctor.facts import Finding, MachineFacts
from autobatch.testing import memory_reading

GIB = 1 << 30
FINDINGS = (
    Finding("framework", "keras", "ok", "Keras runs."),
    Finding("memory", "peak", "warning", "The peak stays.", "Do this."),
    Finding("memory", "limit", "problem", "Nothing is left.", "Do that."),
)


def test_findings_stand_in_groups_each_with_what_to_do():
    lines = checkup_lines(Checkup(FINDINGS, MachinePlan("CPU", "host", 2 * GIB, "worker", "malloc", gives_back=True)))
    assert lines == [
        "framework",
        "  ok       Keras runs.",
        "",
        "memory",
        "! warning  The peak stays.",
        "           do: Do this.",
        "X PROBLEM  Nothing is left.",
        "           do: Do that.",
        "",
        "would be used",
        "  device     CPU",
        "  budget     2.0 GiB, by the host",
        "  trials     in a worker process",
        "  allocator  malloc: gives memory back",
        "",
        "1 warning, 1 problem.",
    ]


@pytest.mark.parametrize("width", [40, 60, 120])
def test_lines_are_as_long_as_the_terminal_is_wide(width):
    checkup = check_up(
        MachineFacts(Framework(keras_version="3", backend="tensorflow", backend_version="2"), memory_reading())
    )
    lines = checkup_lines(checkup, width)
    assert max(map(len, lines)) <= width
    assert len(lines) >= len(checkup_lines(checkup))


def test_where_nothing_can_be_trained_nothing_would_be_used():
    assert "Nothing can be trained here." in checkup_lines(Checkup(FINDINGS, None))


def doctor(*words, **environ):
    """Runs the command on this machine."""
    own = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    program = [sys.executable, "-m", "autobatch", "doctor", *words]
    return subprocess.run(program, env={**own, **environ}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_real_machine_is_told_without_a_word_of_tensorflows():
    """Seen to fail without the error stream held back."""
    done = doctor("--json")
    facts = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert facts["counts"]["problem"] == 0
    assert {finding["group"] for finding in facts["findings"]} >= {"framework", "devices", "memory", "trials"}
    assert facts["plan"]["budget_bytes"] > 0


@pytest.mark.slow
def test_a_keras_without_its_backend_is_a_problem_with_its_status():
    """Seen to fail with the error of the import let through."""
    done = doctor(KERAS_BACKEND="no_such_backend")
    assert done.returncode == 2
    assert "X PROBLEM  Keras cannot be imported" in done.stdout
    assert "Traceback" not in done.stderr
