"""The other process: runs trials that the caller sends, and ends with the caller.

`python -m autobatch.probing.trials.worker_main READ_FD WRITE_FD`

It must never outlive its caller, whatever it is doing: it ends when its command pipe closes (a thread waits for that
while a trial runs), and on Linux the kernel kills it with the caller even where a library holds the interpreter's lock.
If memory gets tight, the kernel is told to pick this process, not the caller.
"""

import base64
import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from autobatch.probing.trials.ipc import IpcError, read_frame, write_frame

# The pid that the caller expects to be this process's parent; absent if the kernel's bond would be wrong (see Worker).
PARENT_VARIABLE = "AUTOBATCH_WORKER_PARENT"
DEFAULT_MEASURER = "autobatch.probing.trials.measure:open_measurer"
_PR_SET_PDEATHSIG = 1
_SETTLING = 2  # opening, and the first trial, which compiles
_TEXT_LIMIT = 8000
_PICKLE_LIMIT = 256 * 1024


class RunsTrials(Protocol):
    """What runs the trials; an attribute `facts`, if there is one, is the answer to the opening message."""

    def run(self, size: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs one size and returns what was measured, JSON-ready."""


def main(arguments: list[str]) -> None:
    """Serves requests until the command pipe closes; never returns to its caller."""
    commands, answers = int(arguments[0]), int(arguments[1])
    bind_to_parent(os.environ.get(PARENT_VARIABLE))
    volunteer_for_oom()
    leave_no_core()
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, inbox.put), daemon=True).start()
    Session(answers).serve(inbox.get)


def bind_to_parent(parent: str | None) -> None:
    """Asks Linux to kill this process when the thread that started it ends; exits at once if it has ended already."""
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        os._exit(0)


def volunteer_for_oom(proc: Path = Path("/proc")) -> None:
    """Makes this process the kernel's first choice when memory runs out, where it is allowed to."""
    with contextlib.suppress(OSError):
        (proc / "self" / "oom_score_adj").write_text("1000", encoding="ascii")


def leave_no_core() -> None:
    """Has a crash leave no core file: the signal tells enough, and gigabytes would stay behind."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class Session:
    """One conversation: a measurer is opened, then asked for trials."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._measurer: RunsTrials | None = None
        self._answered = 0

    def serve(self, next_request: Callable[[], Mapping[str, Any]]) -> None:
        """Answers requests for ever; the listening thread ends the process."""
        while True:
            request = next_request()
            answer = self.answer(request)
            try:
                write_frame(self._answers, {**answer, "id": request.get("id")})
            except IpcError:
                os._exit(0)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request, with an exception as one kind of answer."""
        try:
            return {"kind": "answer", "payload": self._handle(request)}
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the result of its trial
            return describe_error(error)
        finally:
            # A traceback holds the tensors of the frames it passed, and with them their memory.
            gc.collect()
            if self._answered < _SETTLING:
                gc.freeze()  # what is imported and compiled stays; to look through it takes longer than a small trial
            self._answered += 1

    def _handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["op"] == "open":
            payload = request["payload"]
            sys.path[:] = payload.get("sys_path", sys.path)
            module, _, name = payload.get("measurer", DEFAULT_MEASURER).partition(":")
            self._measurer = getattr(importlib.import_module(module), name)(payload)
            return dict(getattr(self._measurer, "facts", {}))
        if self._measurer is None:
            raise RuntimeError("A trial was asked for before a measurer was opened.")
        return dict(self._measurer.run(int(request["size"]), request["options"]))


def describe_error(error: Exception) -> dict[str, Any]:
    """An exception as JSON-ready values: what it was, whether it was about memory, and itself where it can travel."""
    from autobatch.backend.oom import classify

    text = "".join(traceback.format_exception(error))
    return {
        "kind": "error",
        "type": type(error).__qualname__,
        "message": str(error)[:_TEXT_LIMIT],
        "traceback": text[-_TEXT_LIMIT:],
        "cause": classify(error).name,
        "exception": _pickled(error),
    }


def _pickled(error: Exception) -> str | None:
    try:
        body = pickle.dumps(error)
        pickle.loads(body)  # noqa: S301 - written one line above
    except Exception:  # noqa: BLE001 - a class of the user's may fail in any way; its text still arrives
        return None
    return base64.b64encode(body).decode() if len(body) <= _PICKLE_LIMIT else None


def _listen(commands: int, put: Callable[[Any], None]) -> None:
    """Hands on requests; ends the whole process, trial and all, when the caller closes the pipe or is gone."""
    try:
        while True:
            put(read_frame(commands))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
