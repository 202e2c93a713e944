"""Trials in a process of their own: whatever happens to a trial, the caller gets a plain answer.

A worker stays warm between trials and is started again after a death. Every request has a deadline. The worker's folder
holds what it prints and whatever the caller hands over in files; it is removed with the worker. The process leads a
process group of its own, so that what it started ends with it. Covered: hanging, crashing, being killed, ending without
an answer, answering nonsense, and leaving children behind. Not covered: what a trial writes outside that folder, the
folder itself if the caller is killed with SIGKILL, and a child that makes itself a new session on purpose.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self

from autobatch.memory.sensors.cgroup import count_oom_kills
from autobatch.probing.trials.ipc import (
    NEVER,
    BadFrameError,
    Deadline,
    DeadlineError,
    HalfFrameError,
    IpcError,
    Reply,
    read_frame,
    read_reply,
    write_frame,
)
from autobatch.probing.trials.worker_main import PARENT_VARIABLE
from autobatch.results.trial import Outcome

_KILL_WAIT_S = 60.0
_TAIL_BYTES = 4000


def worker_command() -> list[str]:
    """The command that runs `autobatch.probing.trials.worker_main` with the modules that this process would import."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the working folder here
    code = (
        f"import sys; sys.path[:] = {path!r}; from autobatch.probing.trials.worker_main import main; main(sys.argv[1:])"
    )
    return [sys.executable, "-u", "-X", "faulthandler", "-c", code]


class WorkerProcess:
    """A running process that is sent messages and answers them.

    The numbers of its reading and its writing pipe end are appended to the command; what it prints goes to the log.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            read_commands, self._commands = _pipe(theirs, ours)
            write_answers, self._answers = reversed(_pipe(ours, theirs))
            with log.open("wb") as output:
                self._process = _start(command, environ, output, (read_commands, write_answers))
            self._ends = ours.pop_all()

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet. It stays unreaped, so that its id and its group's can't become another's."""
        if self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):
            return self._process.poll() is None
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except ChildProcessError:
            # The caller's program reaps all its children, or ignores SIGCHLD.
            return False

    def ask(self, message: Mapping[str, Any], deadline: float) -> Any:
        """Sends a message and returns the next one that comes back, by a deadline of `time.monotonic`."""
        write_frame(self._commands, message, deadline)
        return read_frame(self._answers, deadline, alive=lambda: self.running)

    def finish(self, grace_s: float) -> int | None:
        """Closes the pipes, waits, kills what is left of the group; returns the exit status, `None` if killed here."""
        by_itself = False
        try:
            self._ends.close()
            by_itself = self._ended_within(grace_s)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_WAIT_S)
        return self._process.returncode if by_itself else None

    def last_output(self) -> str:
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _ended_within(self, seconds: float) -> bool:
        waiter = threading.Event()
        for wait_s in _waits(seconds):
            if not self.running:
                return True
            waiter.wait(wait_s)
        return not self.running


def _waits(seconds: float) -> list[float]:
    """Naps that add up to `seconds`: short ones first, because most processes end at once."""
    naps: list[float] = []
    while (left := seconds - sum(naps)) > 0:
        naps.append(min(left, 0.002 * 1.5 ** len(naps), 0.1))
    return naps


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    reader.callback(os.close, read_end)
    writer.callback(os.close, write_end)
    return read_end, write_end


def _start(
    command: Sequence[str], environ: Mapping[str, str], output: IO[bytes], ends: tuple[int, int]
) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in environ.items() if name != PARENT_VARIABLE}
    # The kernel's bond is to the thread that starts the process: only the main thread lives as long as this process.
    if threading.current_thread() is threading.main_thread():
        environ[PARENT_VARIABLE] = str(os.getpid())
    return subprocess.Popen(
        [*command, *map(str, ends)],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=ends,
        start_new_session=True,
    )


SUPPORTED = os.name == "posix"
UNSUPPORTED = "worker processes need a POSIX system"
# Between the end of its pipe and the end of a process the kernel frees its memory, which may be a lot.
_DEATH_GRACE_S = 5.0


class Worker:
    """A process that runs trials, in a temporary folder of its own.

    Start it from a thread that outlives it: from any other than the main thread, it ends with the caller only once it
    notices that its pipe is closed. `oom_kills` reads a counter of the kernel's out-of-memory kills, by which a SIGKILL
    of the kernel is told from one by somebody. After `deadline` no process is started, and none is waited for,
    whatever time a request may take by itself.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        oom_kills: Callable[[], int | None] | None = None,
        exit_grace_s: float = 2.0,
        scratch: Path | None = None,
        deadline: Deadline = NEVER,
    ) -> None:
        self._command = command
        self._deadline = deadline
        self._environ = dict(os.environ if environ is None else environ)
        self._oom_kills = count_oom_kills if oom_kills is None else oom_kills
        self._exit_grace_s = exit_grace_s
        self._process: WorkerProcess | None = None
        self._opening: tuple[Mapping[str, Any], float] | None = None
        self._requests = 0
        self.folder = Path(tempfile.mkdtemp(prefix="autobatch-", dir=scratch))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, str(self.folder), ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id of the worker, `None` while none is running."""
        return self._process.pid if self._process is not None and self._process.running else None

    def open(self, payload: Mapping[str, Any], timeout_s: float) -> Reply:
        """Starts a fresh process and hands it what its trials need; it is handed the same after every restart."""
        self._opening = ({"sys_path": sys.path, **payload}, timeout_s)
        return self.restart()

    def restart(self) -> Reply:
        """Ends the process if there is one, starts another, and opens it as before."""
        if self._opening is None:
            raise RuntimeError("A worker has to be opened before it can run trials.")
        self._stop(0.0)
        if self._deadline.passed:
            return Reply(Outcome.TIMED_OUT, detail="the deadline had passed before it could be started")
        payload, timeout_s = self._opening
        command = worker_command() if self._command is None else self._command
        try:
            self._process = WorkerProcess(command, self._environ, self.folder / "output.log")
        except OSError as error:
            return Reply(Outcome.NO_ANSWER, detail=f"The worker could not be started: {error}.")
        answer = self._ask({"op": "open", "payload": payload}, timeout_s)
        if answer.outcome is not Outcome.RAN:
            self._stop(0.0)
        return answer

    def trial(self, size: int, options: Mapping[str, Any] | None = None, *, timeout_s: float) -> Reply:
        """Runs one size; a worker that has died is started again first.

        Returns the measurer's answer, or what became of the worker: after all but `RAN` and an exception it is gone.
        """
        began = time.monotonic()
        if self.pid is None:
            opened = self.restart()
            if opened.outcome is not Outcome.RAN:
                return opened
        answer = self._ask({"op": "trial", "size": size, "options": dict(options or {})}, timeout_s)
        return replace(answer, wall_s=time.monotonic() - began)

    def close(self) -> None:
        """Ends the process and removes its folder; does nothing the second time."""
        try:
            self._stop(self._exit_grace_s)
        finally:
            self._remove_folder()

    def _stop(self, grace_s: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.finish(grace_s)

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> Reply:
        assert self._process is not None  # noqa: S101 - every caller has just started it
        self._requests += 1
        timeout_s = self._deadline.at_most(timeout_s)
        began = time.monotonic()
        kills_before = self._oom_kills()
        try:
            reply = self._process.ask({**message, "id": self._requests}, began + timeout_s)
            answer = read_reply(reply, self._requests)
        except IpcError as error:
            answer = self._bury(error, kills_before, timeout_s)
        except BaseException:
            # An answer to this request may still come: it must not be taken for the answer to the next.
            self._stop(0.0)
            raise
        return replace(answer, wall_s=time.monotonic() - began)

    def _bury(self, error: IpcError, kills_before: int | None, timeout_s: float) -> Reply:
        """What it means that no answer could be read; the worker is gone afterwards."""
        process, self._process = self._process, None
        assert process is not None  # noqa: S101 - it has just failed to answer
        hopeless = isinstance(error, DeadlineError | BadFrameError)
        status = process.finish(0.0 if hopeless else _DEATH_GRACE_S)
        if isinstance(error, DeadlineError):
            outcome, what = Outcome.TIMED_OUT, f"no answer within {timeout_s:g} s: {error}"
        elif isinstance(error, BadFrameError):
            outcome, what = Outcome.GARBLED, str(error)
        elif status is not None and status < 0:
            outcome, what = self._blame_signal(-status, kills_before)
        else:
            outcome = Outcome.GARBLED if isinstance(error, HalfFrameError) else Outcome.NO_ANSWER
            end = "did not end and was killed" if status is None else f"ended with exit status {status}"
            what = f"{error} It {end}."
        output = process.last_output()
        return Reply(outcome, detail=f"{what}\nLast output:\n{output}" if output else what)

    def _blame_signal(self, number: int, kills_before: int | None) -> tuple[Outcome, str]:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if number != signal.SIGKILL:
            return Outcome.CRASHED, f"The worker was ended by {name}."
        kills = self._oom_kills()
        if kills is not None and kills_before is not None and kills > kills_before:
            return Outcome.OUT_OF_MEMORY, "The kernel killed the worker because memory had run out."
        return Outcome.KILLED, f"The worker was ended by {name}."
