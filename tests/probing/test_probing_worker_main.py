"""autobatch's own child with a runner of the test's: what it answers, and how it treats errors."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from autobatch.probing.trials.worker import SUPPORTED, Worker
from autobatch.probing.trials.worker_main import DEFAULT_MEASURER, describe_error, volunteer_for_oom
from autobatch.results.trial import Outcome

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="workers need POSIX pipes and process groups")

RUNNER = '''
import os, resource, sys
from pathlib import Path

class OddError(Exception):
    """Cannot be read back: its constructor takes two arguments and it was given one text."""
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")

class Runner:
    facts = {"argv": sys.argv[1:]}

    def run(self, size, options):
        what = options.get("what")
        if what == "value":
            raise ValueError("Received: size=%d" % size)
        if what == "memory":
            raise MemoryError("no room")
        if what == "odd":
            raise OddError("odd", "error")
        if what == "exit":
            sys.exit(4)
        if what == "print":
            print("on stdout"); os.write(1, b"from C")
        return {"size": size, "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
                "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text())}

def open_runner(payload):
    if payload.get("broken"):
        raise ImportError("no module named 'layers_of_mine'")
    return Runner()
'''


@pytest.fixture
def payload(tmp_path: Path) -> dict[str, object]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "runner_of_a_test.py").write_text(RUNNER)
    return {"measurer": "runner_of_a_test:open_runner", "sys_path": [str(folder), *sys.path]}


@pytest.fixture
def worker(tmp_path, payload):
    with Worker(scratch=tmp_path) as worker:
        opened = worker.open(payload, 60)
        assert opened.outcome is Outcome.RAN, opened.detail
        yield worker


def test_what_a_worker_opens_unless_it_is_told_is_there():
    """Seen to fail with the name that the function had before: every model was then tried in the caller's process."""
    module, _, name = DEFAULT_MEASURER.partition(":")
    assert callable(getattr(import_module(module), name, None))


def test_trials_are_answered_by_one_warm_process(worker):
    pid = worker.pid
    for size in (1, 8):
        answer = worker.trial(size, timeout_s=60)
        assert (answer.outcome, answer.payload["size"]) == (Outcome.RAN, size)
        assert answer.wall_s > 0
    assert worker.pid == pid


def test_a_crash_leaves_no_core_and_the_kernel_prefers_the_worker(worker):
    payload = worker.trial(1, timeout_s=60).payload
    assert payload["core"] == 0
    assert payload["oom_score_adj"] == 1000


def test_an_error_that_is_not_about_memory_arrives_unchanged_and_the_worker_goes_on(worker):
    """Promise 6. Seen to fail with every exception of a trial called out of memory."""
    answer = worker.trial(3, {"what": "value"}, timeout_s=60)
    assert answer.outcome is Outcome.ERROR
    assert type(answer.exception) is ValueError
    assert answer.exception.args == ("Received: size=3",)
    assert "runner_of_a_test.py" in answer.exception.__notes__[0]
    assert "ValueError: Received: size=3" in (answer.detail or "")
    assert worker.trial(1, timeout_s=60).outcome is Outcome.RAN


def test_a_memory_error_is_out_of_memory(worker):
    answer = worker.trial(3, {"what": "memory"}, timeout_s=60)
    assert answer.outcome is Outcome.OUT_OF_MEMORY
    assert type(answer.exception) is MemoryError


def test_an_exception_that_cannot_travel_arrives_as_text(worker):
    answer = worker.trial(3, {"what": "odd"}, timeout_s=60)
    assert (answer.outcome, answer.exception) == (Outcome.ERROR, None)
    assert "OddError: odd error" in (answer.detail or "")


def test_what_a_trial_prints_is_no_answer(worker, capfd):
    assert worker.trial(2, {"what": "print"}, timeout_s=60).payload["size"] == 2
    assert capfd.readouterr() == ("", "")


def test_a_model_that_leaves_the_interpreter_is_no_answer(worker):
    answer = worker.trial(3, {"what": "exit"}, timeout_s=60)
    assert answer.outcome is Outcome.NO_ANSWER
    assert "exit status 4" in (answer.detail or "")


def test_an_error_while_opening_arrives_unchanged(tmp_path, payload):
    with Worker(scratch=tmp_path) as worker:
        answer = worker.open({**payload, "broken": True}, 60)
        assert answer.outcome is Outcome.ERROR
        assert type(answer.exception) is ImportError
        assert worker.pid is None


def test_an_error_is_told_with_its_cause():
    outer = RuntimeError("outer")
    outer.__cause__ = KeyError("inner")
    told = describe_error(outer)
    assert (told["type"], told["message"], told["cause"]) == ("RuntimeError", "outer", "OTHER")
    assert "KeyError: 'inner'" in told["traceback"]


def test_where_the_kernel_refuses_nothing_happens(tmp_path):
    volunteer_for_oom(tmp_path)
    assert list(tmp_path.iterdir()) == []
