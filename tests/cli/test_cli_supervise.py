"""A training in a child: it is started again when memory has killed it, and only then; nothing of it is left behind."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.cli.command import CommandOutput
from autobatch.cli.parser import parse
from autobatch.cli.supervisor.child_process import ChildProcess, tied_command, training_command
from autobatch.cli.supervisor.supervise import supervise
from autobatch.errors import ArgumentError
from autobatch.train.checkpoint.format import encoded
from autobatch.train.checkpoint.saver import InFlight, InFlightJournal
from autobatch.train.checkpoint.store import CHECKPOINT_NAME, CheckpointState, folder_lock

STATE = CheckpointState(
    epoch=1,
    update=14,
    pass_number=1,
    position=896,
    effective_batch_size=64,
    max_micro_batch_size=None,
    seed=7,
    samples=1000,
)


@pytest.fixture(autouse=True)
def as_from_a_terminal():
    """A shell ignores Ctrl-C for what it starts in the background, `nohup` ignores SIGHUP: that would be inherited."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def args_of(words):
    return parse(words, {}, Path.cwd())[0]


def status_of(ended):
    return ended.status if isinstance(ended, CommandOutput) else ended


class Scene:
    """A supervisor whose children are small programs, one for each start; each says what it was called with."""

    def __init__(self, folder):
        self.folder, self.words = folder, []

    def play(self, *bodies, options=(), kills=None):
        """The status, the remarks, and how often a child was started; `kills` are readings of the kernel's count."""
        self.programs = list(bodies)
        stream = io.StringIO()
        words = ["fit", "m:model", "DIR", "--checkpoint", str(self.folder), *map(str, options)]
        args = args_of(words)
        counts = iter(kills) if kills is not None else None
        oom_kills = (lambda: None) if counts is None else (lambda: next(counts))
        ended = supervise(words, args, stream, command=self.command, oom_kills=oom_kills)
        assert self.programs == []
        self.answer = ended if isinstance(ended, CommandOutput) else None
        return status_of(ended), stream.getvalue()

    def command(self, words):
        self.words.append(list(words))
        return tied_command(f"import os, signal\n{self.programs.pop(0)}", words)


def dies(number=signal.SIGKILL, *, micro=None, folder=None, phase="training"):
    written = ""
    if micro is not None:
        entry = json.dumps({"micro_batch_size": micro, "phase": phase})
        written = f"open({str(folder / 'in_flight.json')!r}, 'w').write('{entry}')\n"
    return f"{written}os.kill(os.getpid(), {int(number)})"


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def leave_checkpoint(folder, state=STATE):
    with (folder / CHECKPOINT_NAME).open("wb") as file:
        for part in encoded({"state": state.to_dict(), "variables": []}, []):
            file.write(part)


@pytest.mark.parametrize("status", [0, 6])
def test_an_exit_status_is_handed_on_without_a_word(status, scene):
    assert scene.play(f"sys.exit({status})") == (status, "")


def test_a_crash_is_named_and_not_restarted(scene):
    status, said = scene.play(dies(signal.SIGSEGV), kills=[0, 1])
    assert (status, said) == (139, "autobatch: the training was ended by SIGSEGV.\n")
    error = {"kind": "KilledTraining", "message": "the training was ended by SIGSEGV."}
    assert scene.answer.data == {"schema_version": 2, "outcome": "foreign_error", "exit_code": 139, "error": error}


def test_a_kill_by_somebody_else_is_not_restarted(scene):
    """Seen to fail with the counts left out."""
    status, said = scene.play(dies(), kills=[4, 4])
    assert status == 137
    assert "another process" in said


def test_killed_twice_for_memory_it_goes_on_smaller_and_smaller(scene):
    """Seen to fail with the limit left out of the child's words."""
    leave_checkpoint(scene.folder)
    killed = [dies(micro=size, folder=scene.folder) for size in (64, 32)]
    status, said = scene.play(*killed, "sys.exit(0)", kills=[0, 1, 1, 2, 2, 2])
    assert status == 0
    assert [line.split(".")[0] for line in said.splitlines()] == [
        f"autobatch: the kernel killed the training for memory at a micro-batch of {size}" for size in (64, 32)
    ]
    typed = f"autobatch fit m:model DIR --checkpoint {scene.folder}"
    own = ["fit", "--in-process", "--typed", typed, "--checkpoint", str(scene.folder)]
    users = ["m:model", "DIR", "--checkpoint", str(scene.folder)]
    assert scene.words == [
        own + users,
        [*own, "--max-micro-batch-size", "32", *users],
        [*own, "--max-micro-batch-size", "22", *users],
    ]
    assert all(args_of(words).in_process for words in scene.words)


def test_killed_in_validation_only_validation_gets_smaller(scene):
    """Seen to fail with the phase left out of the journal."""
    leave_checkpoint(scene.folder)
    scene.play(dies(micro=64, folder=scene.folder, phase="validation"), "sys.exit(0)", kills=[0, 1, 1, 1])
    assert "--max-micro-batch-size" not in scene.words[1]
    assert args_of(scene.words[1]).max_validation_batch_size == 32


def test_a_folder_that_another_training_uses_is_refused_before_anything_of_it_is_touched(scene):
    """Seen to fail with the journal cleared at once: that of the other training was lost."""
    InFlightJournal(scene.folder).write(8)
    with folder_lock(scene.folder), pytest.raises(ArgumentError, match=f"in use by process {os.getpid()}"):
        scene.play()
    assert InFlightJournal(scene.folder).read() == InFlight(8)


def test_where_the_kernel_shows_no_count_a_kill_is_taken_for_memory_and_that_is_said(scene):
    leave_checkpoint(scene.folder)
    status, said = scene.play(dies(micro=64, folder=scene.folder), "sys.exit(0)")
    assert status == 0
    assert "cannot be read here" in said


def test_when_no_restart_is_left_it_fails_and_says_where_the_checkpoint_is(scene):
    leave_checkpoint(scene.folder)
    killed = [dies(micro=64, folder=scene.folder)] * 3
    status, said = scene.play(*killed, options=["--restarts", 2], kills=range(6))
    assert (status, scene.answer.data["outcome"]) == (3, "does_not_fit")
    assert "error: " in said
    assert f"The checkpoint is kept in {scene.folder}" in said
    assert (scene.folder / CHECKPOINT_NAME).exists()


def test_a_size_that_an_earlier_training_wrote_down_is_not_taken_for_this_one(scene):
    """Seen to fail with the journal left as it is."""
    leave_checkpoint(scene.folder)
    InFlightJournal(scene.folder).write(8)
    scene.play(dies(), "sys.exit(0)", kills=[0, 1, 1, 1])
    assert "--max-micro-batch-size" not in scene.words[1]


def test_a_damaged_checkpoint_is_an_error_after_a_kill(scene):
    (scene.folder / CHECKPOINT_NAME).write_bytes(b"damaged")
    with pytest.raises(OSError, match="cannot be used"):
        scene.play(dies(), kills=[0, 1])


def test_without_a_folder_the_checkpoint_is_a_temporary_one_that_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, folder, _ = with_a_temporary_folder("os.kill(os.getpid(), 11)", STATE)
    assert status == 139
    assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_checkpoint_of_a_training_that_is_done_but_not_saved_is_kept(tmp_path, monkeypatch):
    """Seen to fail with the folder removed in any case: everything was lost with it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, folder, said = with_a_temporary_folder("sys.exit(6)", replace(STATE, finished=True))
    assert status == 6
    assert f"--checkpoint {folder} only saves the model" in said
    assert (folder / CHECKPOINT_NAME).exists()


def with_a_temporary_folder(child, state):
    words, seen = ["fit", "m:model", "DIR"], []

    def command(words):
        seen.append(Path(words[words.index("--checkpoint") + 1]))
        leave_checkpoint(seen[0], state)
        return tied_command(f"import os; {child}")

    stream = io.StringIO()
    status = status_of(supervise(words, args_of(words), stream, command=command))
    return status, seen[0], stream.getvalue()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    args = Namespace(checkpoint=str(tmp_path / "file" / "folder"), restarts=3)
    with pytest.raises(OSError, match="cannot be made"):
        supervise(["fit"], args, io.StringIO())


def test_the_real_command_runs_autobatch_with_the_modules_of_this_process():
    done = subprocess.run(training_command(["--version"]), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "autobatch")


def test_autobatch_can_be_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "autobatch", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "autobatch")


SUPERVISOR = """
import os, sys
from pathlib import Path
sys.path[:] = {path!r}
from autobatch.cli.supervisor.child_process import tied_command
from autobatch.cli.parser import parse
from autobatch.cli.supervisor.supervise import supervise
words = ["fit", "m:model", "DIR", "--checkpoint", {folder!r}]
command = lambda words: tied_command({child!r}, words)
counts = iter(range(100))
args, _ = parse(words, os.environ, Path.cwd())
ended = supervise(words, args, sys.stderr, command=command, oom_kills=lambda: next(counts))
status = getattr(ended, "status", ended)
print("ended", status, flush=True)
sys.exit(status)
"""

# Says its number, then counts what it gets.
CHILD = """
import os, signal, time
got = []
def note(number, frame):
    got.append(number)
    print("got", number, flush=True)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
print("pid", os.getpid(), flush=True)
end = time.monotonic() + 60
while not got and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.5)
{end}
"""


def start(tmp_path, child):
    code = SUPERVISOR.format(path=sys.path, folder=str(tmp_path), child=child)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True, stderr=subprocess.PIPE
    )
    line = process.stdout.readline()
    return process, int(line.split()[1])


def gone(pid):
    """Whether a process has ended; an unreaped one has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def becomes(true):
    end = time.monotonic() + 30
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGINT, True)],
    ids=["kill-int", "kill-term", "kill-hup", "terminal"],
)
def test_a_signal_reaches_the_child_once_and_its_status_comes_back(number, group, tmp_path):
    """From a terminal, the whole group gets it. Seen to fail with the child in the supervisor's group."""
    process, child = start(tmp_path, CHILD.format(end="sys.exit(130)"))
    # Two signals that come at once may be seen as one, so that counting them is not enough.
    assert os.getpgid(child) != os.getpgid(process.pid)
    (os.killpg if group else os.kill)(process.pid, number)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [f"got {int(number)}", "ended 130"]
    assert process.returncode == 130
    assert gone(child)


def test_an_interrupted_training_is_not_started_again_even_if_memory_has_killed_it(tmp_path):
    """Seen to fail with the supervisor's own interruption left out: it starts another."""
    process, _ = start(tmp_path, CHILD.format(end="os.kill(os.getpid(), signal.SIGKILL)"))
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [f"got {int(signal.SIGTERM)}", "ended 143"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a child to its parent")
def test_a_child_does_not_outlive_its_killed_supervisor(tmp_path):
    """Seen to fail without the tie."""
    process, child = start(tmp_path, CHILD.format(end="sys.exit(0)"))
    process.kill()
    process.communicate(timeout=60)
    assert becomes(lambda: gone(child))


def test_a_stopped_supervisor_stops_its_child_and_both_go_on_together(tmp_path):
    process, child = start(tmp_path, CHILD.format(end="sys.exit(0)"))
    os.kill(process.pid, signal.SIGTSTP)
    assert becomes(lambda: state(process.pid) == state(child) == "T")
    os.kill(process.pid, signal.SIGCONT)
    assert becomes(lambda: "T" not in (state(process.pid), state(child)))
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "ended 0"


def test_a_signal_that_is_ignored_stays_ignored_here_and_in_the_child():
    """As under nohup. Seen to fail with it passed on: the training died at logout."""
    code = (
        f"import os, signal, sys; sys.path[:] = {sys.path!r}\n"
        "from autobatch.cli.supervisor.child_process import ChildProcess\n"
        "numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)\n"
        "[signal.signal(number, signal.SIG_IGN) for number in numbers]\n"
        "child = f'import os; [os.kill(p, n) for n in {[*map(int, numbers)]} for p in (os.getppid(), os.getpid())]'\n"
        "with ChildProcess(os.environ) as one: sys.exit(one.run([sys.executable, '-c', child]) or one.interrupted)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_handlers_of_the_process_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)]
    with ChildProcess(os.environ) as child:
        assert child.run([sys.executable, "-c", "raise SystemExit(4)"]) == 4
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert before == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    ]


def test_a_signal_that_comes_while_the_child_starts_is_passed_on_to_it():
    """Seen to fail with nothing kept until it runs."""
    with ChildProcess(os.environ) as child:
        os.kill(os.getpid(), signal.SIGTERM)
        assert child.run([sys.executable, "-c", "import time; time.sleep(60)"]) == -signal.SIGTERM
    assert child.interrupted == signal.SIGTERM


def test_a_signal_that_another_thread_gets_is_passed_on():
    """The kernel chooses the thread. Seen to fail with a wait without a limit: the child got it after its end."""

    def get_one():
        assert becomes(lambda: child._process is not None)
        time.sleep(0.3)  # by now the main thread is asleep
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with ChildProcess(os.environ) as child:
        thread = threading.Thread(target=get_one)
        thread.start()
        assert child.run([sys.executable, "-c", "import time; time.sleep(20)"]) == -signal.SIGTERM
        thread.join()
