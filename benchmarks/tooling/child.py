"""A benchmark in a process of its own: it is ended at its deadline or at Ctrl-C, and leaves no process behind."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

# All that a benchmark starts inherits it, however it is started and whoever has died in between.
_MARK = "AUTOBATCH_BENCHMARK_RUN"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    seconds: float  # how long it took
    status: int | None  # its exit status, negative for a signal; `None` where its deadline ended it
    left_behind: int = 0  # how many processes it had left behind; they are ended, too


def run_child(command: Sequence[str], deadline_s: float, grace_s: float = 10.0, *, silent: bool = False) -> Ended:
    """Runs a command to its end.

    Raises:
        KeyboardInterrupt: Somebody asked for the end, and the processes have ended.
    """
    run = uuid.uuid4().hex
    began = time.perf_counter()
    # A session of its own: what is typed at the terminal reaches it from here alone, and so in order.
    out = subprocess.DEVNULL if silent else None
    process = subprocess.Popen(command, env=_environment(run), start_new_session=True, stdout=out)
    status = None
    try:
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(deadline_s)
        if status is None:
            _ask(process, grace_s)
    except BaseException:
        _ask(process, grace_s)
        raise
    finally:
        left_behind = _end_all(run)
        process.wait()
    return Ended(time.perf_counter() - began, status, left_behind if status is not None else 0)


def _environment(run: str) -> dict[str, str]:
    """Our own with the run's mark, and without what would keep a benchmark from finding the modules beside it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | {_MARK: run}


def _ask(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Asks a process and its children to end as Ctrl-C does, so that they remove what they have made."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)


def _end_all(run: str) -> int:
    """Kills whatever belongs to a run, and whatever that has started meanwhile; returns how many there were."""
    ended: set[int] = set()
    while family := [one for one in psutil.process_iter() if _belongs(one, run)]:
        for one in family:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(family, timeout=5)
        ended |= {one.pid for one in family}
    return len(ended)


def _belongs(process: psutil.Process, run: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == run
    except (psutil.Error, OSError):
        return False
