"""A training in a process of its own, to which this one passes on the signals that it gets.

The child leads a process group of its own, so that a Ctrl-C at the terminal reaches it once, from here. On Linux the
kernel kills it with the process that started it, whatever becomes of that one. Signals that this process ignores
(nohup) are left ignored by both. The others are passed on, and the tie to the parent holds, where it is started from
the main thread.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Self

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HEARD_WITHIN_S = 0.2


def training_command(words: Sequence[str]) -> list[str]:
    return tied_command("from autobatch.cli.main import main; sys.exit(main(sys.argv[1:]))", words)


def tied_command(code: str, words: Sequence[str] = ()) -> list[str]:
    """The command that runs Python code in a process that ends with this one and imports the same modules."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the working folder here
    # The kernel's tie is to the thread that starts the child: only the main thread lives as long as this process.
    parent = str(os.getpid()) if threading.current_thread() is threading.main_thread() else None
    tie = f"from autobatch.probing.trials.worker_main import bind_to_parent; bind_to_parent({parent!r})"
    return [sys.executable, "-X", "faulthandler", "-c", f"import sys; sys.path[:] = {path!r}; {tie}; {code}", *words]


class ChildProcess:
    """Runs commands one after another, in the foreground; use it as a context manager."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.interrupted: int | None = None  # the last signal that was passed on
        self._pending: int | None = None
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            own = dict.fromkeys(_PASSED_ON, self._pass_on) | {signal.SIGTSTP: self._pause}
            for number, handler in own.items():
                # What is ignored here is ignored by the child, too: under nohup, or in the background of a script.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers.callback(signal.signal, number, signal.signal(number, handler))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def run(self, command: Sequence[str]) -> int:
        """Starts a command, waits for its end, and returns its exit status (minus the signal that ended it)."""
        process = subprocess.Popen(command, env=self._environ, stdin=subprocess.DEVNULL, process_group=0)
        self._process = process
        try:
            if self._pending is not None:
                _send(process, self._pending)
            return _status_of(process)
        finally:
            self._process = self._pending = None
            if process.returncode is None:  # an error of our own must not leave it running
                process.kill()
                process.wait()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted = number
        if self._process is None:
            self._pending = number  # it may be starting at this moment
        else:
            _send(self._process, number)

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        """Stops both on Ctrl-Z, and has both go on together."""
        if self._process is not None:
            _send(self._process, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._process is not None:
            _send(self._process, signal.SIGCONT)


def _status_of(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end of a process, and hears signals meanwhile.

    The kernel may give a signal to any thread (numpy starts some), but Python calls its handler in the main thread
    alone, and a wait without a limit would keep that asleep until the child has ended.
    """
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_HEARD_WITHIN_S)


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    # `wait` reaps it in this very thread, so an id that has no return code yet is still its own.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
