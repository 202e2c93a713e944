"""Promise 3, contained: whatever a trial's process does, the caller gets a clear outcome and nothing stays behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from autobatch.probing.trials.ipc import Deadline, Reply
from autobatch.probing.trials.worker import SUPPORTED, Worker
from autobatch.results.trial import Outcome

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="workers need POSIX pipes and process groups")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux' /proc or prctl")

LONG_S = 60.0
# After these the process may be as good as before.
SURVIVED = (Outcome.RAN, Outcome.ERROR, Outcome.OUT_OF_MEMORY)

PRELUDE = f"""
import os, resource, signal, struct, sys, time, zlib
sys.path[:] = {sys.path!r}
from autobatch.probing.trials.ipc import read_frame, write_frame
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
commands, answers = int(sys.argv[1]), int(sys.argv[2])

def answer(payload):
    request = read_frame(commands)
    write_frame(answers, {{"kind": "answer", "id": request["id"], "payload": payload}})

def frame(message):
    read_end, write_end = os.pipe()
    write_frame(write_end, message)
    return os.read(read_end, 10_000)

answer({{"pid": os.getpid()}})
"""


def child(body: str) -> list[str]:
    """The command of a process that opens well and then does `body` when a trial is asked for."""
    return [sys.executable, "-u", "-c", PRELUDE + "request = read_frame(commands)\n" + textwrap.dedent(body)]


def has_ended(group: int) -> bool:
    """Whether all processes of a group end within a moment."""
    return all(is_gone(process.pid) for process in psutil.process_iter() if group_of(process.pid) == group)


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends within some seconds; one that nobody has reaped yet has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def descriptors() -> set[str]:
    """The open files of this process, with what they are."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        with contextlib.suppress(OSError):
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")  # noqa: PTH115
    return {entry for entry in found if "/proc/" not in entry}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder for workers, in a caller whose files and children must be the same afterwards."""
    children = {process.pid for process in psutil.Process().children()}
    files = descriptors() if Path("/proc/self/fd").is_dir() else set()
    threads = threading.active_count()
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    assert (descriptors() if files else set()) == files
    assert {process.pid for process in psutil.Process().children()} == children
    assert threading.active_count() == threads


def one_trial(scratch: Path, body: str, timeout_s: float = LONG_S, **options: object) -> Reply:
    """What a single trial comes to, after making sure that its whole process group has ended."""
    with Worker(child(body), scratch=scratch, **options) as worker:
        opened = worker.open({}, LONG_S)
        assert opened.outcome is Outcome.RAN, opened.detail
        group = int(opened.payload["pid"])
        answer = worker.trial(8, timeout_s=timeout_s)
        if answer.outcome not in SURVIVED:
            assert worker.pid is None
            assert has_ended(group)
    assert has_ended(group)
    return answer


KILL_SELF = "print('last words'); os.kill(os.getpid(), signal.{})"
CASES = {
    "answers": ("write_frame(answers, {'kind': 'answer', 'id': request['id'], 'payload': {'x': 1}})", "RAN", None),
    "exits 0": ("os._exit(0)", "NO_ANSWER", "exit status 0"),
    "exits 1": ("raise SystemExit('no such device')", "NO_ANSWER", "no such device"),
    "SIGKILL": (KILL_SELF.format("SIGKILL"), "KILLED", "SIGKILL"),
    "SIGSEGV": (KILL_SELF.format("SIGSEGV"), "CRASHED", "SIGSEGV"),
    "SIGABRT": (KILL_SELF.format("SIGABRT"), "CRASHED", "last words"),
    "SIGTERM": (KILL_SELF.format("SIGTERM"), "CRASHED", "SIGTERM"),
    "garbage": ("os.write(answers, b'Segmentation fault (core dumped)')", "GARBLED", "Segmentation"),
    "garbage, goes on": ("os.write(answers, b'Epoch 1/1'); time.sleep(600)", "GARBLED", "Epoch"),
    "a wrong sum": ("body = bytearray(frame([1])); body[-1] ^= 1; os.write(answers, body)", "GARBLED", "add up"),
    "another's answer": ("write_frame(answers, {'kind': 'answer', 'id': 1, 'payload': {}})", "GARBLED", "request 2"),
    "no dict": ("write_frame(answers, [1, 2])", "GARBLED", "[1, 2]"),
    "half, exits 0": ("os.write(answers, frame({'a': 1})[:14]); os._exit(0)", "GARBLED", "within a message"),
    "half a header": ("os.write(answers, frame({'a': 1})[:6]); os._exit(0)", "GARBLED", "within a message"),
    "half, SIGKILL": ("os.write(answers, frame({'a': 1})[:14]); os.kill(os.getpid(), 9)", "KILLED", "SIGKILL"),
    "an error": (
        "write_frame(answers, {'kind': 'error', 'id': request['id'], 'type': 'ValueError', 'message': 'bad layer'})",
        "ERROR",
        "ValueError: bad layer",
    ),
    "out of memory": (
        """write_frame(answers, {'kind': 'error', 'id': request['id'], 'type': 'ResourceExhaustedError',
                                'message': 'OOM', 'cause': 'OUT_OF_MEMORY', 'traceback': 'in conv'})""",
        "OUT_OF_MEMORY",
        "in conv",
    ),
    "an unclear error": (
        "write_frame(answers, {'kind': 'error', 'id': request['id'], 'type': 'E', 'message': '', 'cause': 'UNKNOWN'})",
        "ERROR",
        "E: ",
    ),
}


@pytest.mark.parametrize(("body", "outcome", "detail"), CASES.values(), ids=CASES.keys())
def test_every_end_of_a_trial_has_a_clear_outcome_and_leaves_nothing(scratch, body, outcome, detail):
    """Seen to fail with the pipes, the folder or the zombie left behind, and without the check of the sum."""
    answer = one_trial(scratch, body, oom_kills=lambda: 0)
    assert answer.outcome is Outcome[outcome], answer.detail
    assert detail is None or detail in (answer.detail or "")


HANGS = {
    "silent": "time.sleep(600)",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    "busy": "while True: pass",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "half a message": "os.write(answers, frame({'a': 1})[:14]); time.sleep(600)",
    "closed, goes on": "os.close(answers); time.sleep(600)",
}


@pytest.mark.parametrize(("name", "body"), HANGS.items(), ids=HANGS.keys())
def test_a_trial_that_hangs_is_ended_at_its_deadline(scratch, name, body):
    """Seen to fail with SIGTERM instead of SIGKILL ("deaf", "stopped")."""
    answer = one_trial(scratch, body, timeout_s=0.4, exit_grace_s=0.1)
    assert answer.outcome is (Outcome.NO_ANSWER if name == "closed, goes on" else Outcome.TIMED_OUT), answer.detail


GRANDCHILD = "pid = os.fork()\nif pid == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)\n"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (GRANDCHILD + "os._exit(0)", "NO_ANSWER"),
        (GRANDCHILD + "os.kill(os.getpid(), signal.SIGSEGV)", "CRASHED"),
        (GRANDCHILD + "time.sleep(600)", "TIMED_OUT"),
        (GRANDCHILD + "write_frame(answers, {'kind': 'answer', 'id': request['id'], 'payload': {}})", "RAN"),
    ],
)
def test_what_a_trial_has_started_ends_with_it(scratch, body, outcome):
    """A grandchild holds the pipe open, so its parent's death must be seen otherwise.

    Seen to fail with the process killed instead of its group, and (NO_ANSWER and CRASHED come as TIMED_OUT) without the
    question whether the process is still there.
    """
    answer = one_trial(scratch, body, timeout_s=2.0)
    assert answer.outcome is Outcome[outcome], answer.detail


@pytest.mark.parametrize(("counts", "outcome"), [((3, 4), "OUT_OF_MEMORY"), ((3, 3), "KILLED"), ((None, 4), "KILLED")])
def test_a_sigkill_is_out_of_memory_only_if_the_kernel_counted_one(scratch, counts, outcome):
    """Seen to fail with every SIGKILL called out of memory."""
    readings = iter((3, *counts))
    answer = one_trial(scratch, "os.kill(os.getpid(), 9)", oom_kills=lambda: next(readings))
    assert answer.outcome is Outcome[outcome]


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(scratch):
    """Seen to fail with the process kept after its deadline: the second trial then meets the first one's answer."""
    slow_once = """
    while True:
        time.sleep(0.8 if request["size"] == 1 else 0)
        write_frame(answers, {"kind": "answer", "id": request["id"], "payload": {"size": request["size"]}})
        request = read_frame(commands)
    """
    with Worker(child(slow_once), scratch=scratch) as worker:
        worker.open({}, LONG_S)
        assert worker.trial(1, timeout_s=0.2).outcome is Outcome.TIMED_OUT
        time.sleep(0.8)
        second = worker.trial(2, timeout_s=LONG_S)
    assert (second.outcome, second.payload) == (Outcome.RAN, {"size": 2})


def test_a_worker_that_died_is_started_again_for_the_next_trial(scratch):
    with Worker(child("os._exit(3)"), scratch=scratch) as worker:
        first = int(worker.open({}, LONG_S).payload["pid"])
        assert worker.trial(1, timeout_s=LONG_S).outcome is Outcome.NO_ANSWER
        assert worker.trial(1, timeout_s=LONG_S).outcome is Outcome.NO_ANSWER
        second = int(worker.restart().payload["pid"])
        assert first != second == worker.pid
        assert has_ended(first)


def test_a_worker_that_cannot_be_started_says_so(scratch):
    with Worker([str(scratch / "no such program")], scratch=scratch) as worker:
        answer = worker.open({}, LONG_S)
    assert answer.outcome is Outcome.NO_ANSWER
    assert "could not be started" in (answer.detail or "")


def test_a_worker_that_dies_while_it_opens_says_so_at_each_attempt(scratch):
    command = [sys.executable, "-c", "raise SystemExit('no module named model')"]
    with Worker(command, scratch=scratch) as worker:
        for answer in (worker.open({}, LONG_S), worker.trial(1, timeout_s=LONG_S)):
            assert answer.outcome is Outcome.NO_ANSWER
            assert "no module named model" in (answer.detail or "")


def test_a_trial_before_opening_is_an_error(scratch):
    with Worker(scratch=scratch) as worker, pytest.raises(RuntimeError, match="opened"):
        worker.trial(1, timeout_s=1)


class Left:
    """A deadline with as many seconds left as it is told."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = Deadline(1.0, 0.0, lambda: -self.seconds)


def test_a_trial_is_ended_when_the_whole_probe_has_no_time_left(scratch):
    """Seen to fail with the time for one trial alone."""
    left = Left(LONG_S)
    with Worker(child("time.sleep(600)"), scratch=scratch, deadline=left.deadline) as worker:
        group = int(worker.open({}, LONG_S).payload["pid"])
        left.seconds = 0.3
        answer = worker.trial(8, timeout_s=LONG_S)
        assert has_ended(group)
    assert answer.outcome is Outcome.TIMED_OUT
    assert "within 0.3 s" in (answer.detail or "")


def test_a_start_is_ended_when_the_whole_probe_has_no_time_left(scratch):
    """Seen to fail with the time for a start alone."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with Worker(command, scratch=scratch, deadline=Left(0.3).deadline) as worker:
        answer = worker.open({}, LONG_S)
    assert answer.outcome is Outcome.TIMED_OUT
    assert "within 0.3 s" in (answer.detail or "")


def test_nothing_is_started_after_the_deadline_of_the_whole_probe(scratch):
    """Seen to fail with a process started and ended at once."""
    command = [str(scratch / "no such program")]
    with Worker(command, scratch=scratch, deadline=Left(0.0).deadline) as worker:
        assert worker.open({}, LONG_S).outcome is Outcome.TIMED_OUT  # no word of a program that is not there
        assert worker.trial(1, timeout_s=LONG_S).outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_caller_leaves_nothing_behind(scratch, error):
    """Seen to fail without the worker being ended when the wait for its answer is broken off."""
    caller = threading.main_thread().ident
    assert caller is not None

    def interrupt(number: int, frame: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, signal.pthread_kill, (caller, signal.SIGUSR1))
    try:
        with Worker(child("time.sleep(600)"), scratch=scratch) as worker:
            group = int(worker.open({}, LONG_S).payload["pid"])
            timer.start()
            with pytest.raises(error):
                worker.trial(8, timeout_s=LONG_S)
            assert worker.pid is None
            assert has_ended(group)
    finally:
        signal.signal(signal.SIGUSR1, before)
        timer.join()


def test_an_error_in_the_callers_block_leaves_nothing_behind(scratch):
    def probe() -> None:
        with Worker(child("time.sleep(600)"), scratch=scratch) as worker:
            worker.open({}, LONG_S)
            (worker.folder / "model.keras").write_bytes(b"weights")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        probe()


def test_a_closed_worker_has_no_folder_any_more(scratch):
    """Seen to fail with the folder left until nobody holds the worker."""
    worker = Worker(child("time.sleep(600)"), scratch=scratch)
    (worker.folder / "model.json").write_bytes(b"{}")
    worker.close()
    assert not worker.folder.exists()


def test_closing_twice_is_closing_once(scratch):
    worker = Worker(child("time.sleep(600)"), scratch=scratch)
    worker.open({}, LONG_S)
    worker.close()
    worker.close()


# What follows is about autobatch's own child: it must end with a caller that had no time to end it.

RUNNER = """
import ctypes, os, time

class Runner:
    facts = {"pid": os.getpid()}

    def run(self, size, options):
        # PyDLL keeps the interpreter's lock, as a library that hangs may do.
        (ctypes.PyDLL(None).sleep if options["lock"] else time.sleep)(600)

def open_runner(payload):
    return Runner()
"""

CALLER = """
import sys, threading
sys.path[:] = {path!r}
from pathlib import Path
from autobatch.probing.trials.worker import Worker

def probe():
    worker = Worker(scratch=Path({scratch!r}))
    opened = worker.open({{"measurer": "hanging_runner:open_runner"}}, 60)
    print(opened.payload.get("pid", opened.detail), flush=True)
    worker.trial(1, {{"lock": {lock}}}, timeout_s=600)

if {threaded}:
    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
else:
    probe()
"""


@linux_only
@pytest.mark.parametrize(("threaded", "lock"), [(False, False), (False, True), (True, False)])
def test_a_caller_killed_outright_takes_its_worker_with_it(tmp_path, threaded, lock):
    """Seen to fail without the bond to the parent (lock held), and without the thread that waits for the pipe's end."""
    (tmp_path / "hanging_runner.py").write_text(RUNNER)
    path = [str(tmp_path), *sys.path]
    code = CALLER.format(path=path, scratch=str(tmp_path), lock=lock, threaded=threaded)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        try:
            assert caller.stdout is not None
            pid = int(caller.stdout.readline())
            assert psutil.pid_exists(pid)
            time.sleep(0.3)
        finally:
            caller.kill()
    assert is_gone(pid)
