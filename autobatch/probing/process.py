"""One process with its pipes, its own folder for what it prints, and its end: nothing of it is left behind.

The process leads a process group of its own, so that what it started ends with it. Covered: whatever the process and
its children do short of leaving that group. Not covered: a child that makes itself a new session on purpose.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from autobatch.probing.child import PARENT_VARIABLE
from autobatch.probing.protocol import read_frame, write_frame

_KILL_WAIT_S = 60.0
_TAIL_BYTES = 4000


def child_command() -> list[str]:
    """The command that runs `autobatch.probing.child` with the modules that this process would import."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the working folder here
    code = f"import sys; sys.path[:] = {path!r}; from autobatch.probing.child import main; main(sys.argv[1:])"
    return [sys.executable, "-u", "-X", "faulthandler", "-c", code]


class WorkerProcess:
    """A running process that is sent messages and answers them.

    Args:
        command: What to run; the numbers of its reading and its writing pipe end are appended as two arguments.
        environ: Its environment.
        log: The file that takes what it prints.

    Raises:
        OSError: It cannot be started.
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
        """Sends a message and returns the next one that comes back, by a deadline of `time.monotonic`.

        Raises:
            ProtocolError: No answer could be read.
        """
        write_frame(self._commands, message, deadline)
        return read_frame(self._answers, deadline, alive=lambda: self.running)

    def finish(self, grace_s: float) -> int | None:
        """Closes the pipes, waits, kills what is left of the group, and returns how the process ended.

        Args:
            grace_s: Seconds to wait for it to end by itself.

        Returns:
            Its exit status, minus the signal's number if a signal ended it; `None` if it had to be killed here.
        """
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
        """The end of what it has printed."""
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
