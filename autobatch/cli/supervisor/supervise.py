"""A training in a child process, started again from its checkpoint when memory kills it.

Covered: the kernel kills the child for memory, as often as `--restarts` allows. Not covered: a control group that is
killed as a whole (`memory.oom.group`), and with it this process.
"""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from autobatch.cli.command import CommandOutput, as_typed
from autobatch.cli.outcome import ExitCode, failure_object
from autobatch.cli.supervisor.child_process import ChildProcess, training_command
from autobatch.cli.supervisor.restart_policy import (
    Attempts,
    End,
    MicroBatchLimits,
    Restart,
    Trace,
    TrainingEnd,
    what_next,
)
from autobatch.errors import DataError
from autobatch.memory.sensors.cgroup import count_oom_kills, is_memory_backed
from autobatch.train.checkpoint.saver import InFlightJournal
from autobatch.train.checkpoint.store import CheckpointStore, folder_lock

_OFTEN_ON_DISK = "/var/tmp"  # noqa: S108 - the place that is meant to outlast a restart of the machine


def supervise(
    words: Sequence[str],
    args: argparse.Namespace,
    stream: TextIO,
    *,
    command: Callable[[Sequence[str]], Sequence[str]] = training_command,
    oom_kills: Callable[[], int | None] = count_oom_kills,
    environ: Mapping[str, str] = os.environ,
) -> CommandOutput | int:
    """Runs a training in a child until it has ended; the child prints its own results.

    `command` and `oom_kills` are seams for tests: the child's command from such words, and the kernel's count of kills.
    Returns the exit status to end with; with an object for `--json` if the child had no time to print one.
    """
    with _folder(args.checkpoint, stream) as folder, ChildProcess(environ) as child:
        attempts = Attempts(0, args.restarts)
        while True:
            with folder_lock(folder):
                InFlightJournal(folder).clear()  # what an earlier training has left says nothing about this one
            before = oom_kills()
            status = child.run(command(_words(words, folder, attempts.limits)))
            end = TrainingEnd(status, before, oom_kills())
            verdict = what_next(end, _trace(folder) if end.killed else Trace(), attempts)
            if isinstance(verdict, Restart) and child.interrupted is not None:
                return _failure(128 + child.interrupted, "the training was interrupted", ExitCode.INTERRUPTED)
            if isinstance(verdict, End):
                return _ended(verdict, args, folder, stream)
            print(f"autobatch: {verdict.message}", file=stream, flush=True)
            attempts = Attempts(attempts.restarts + 1, attempts.allowed, verdict.limits)


def _words(words: Sequence[str], folder: Path, limits: MicroBatchLimits) -> list[str]:
    """The child's words: the user's own, where its checkpoint is, and its limits."""
    named = {"--max-micro-batch-size": limits.training, "--max-validation-batch-size": limits.validation}
    limited = [word for name, limit in named.items() if limit is not None for word in (name, str(limit))]
    own = ["--in-process", "--typed", as_typed(words), "--checkpoint", str(folder), *limited]
    return [words[0], *own, *words[1:]]


def _trace(folder: Path) -> Trace:
    stored = CheckpointStore(folder).load()
    return Trace(InFlightJournal(folder).read(), None if stored is None else stored.state)


def _ended(end: End, args: argparse.Namespace, folder: Path, stream: TextIO) -> CommandOutput | int:
    if end.message is None:
        return end.status
    kind, left = ("error: ", _what_is_left(args, folder)) if end.gave_up else ("", "")
    print(f"autobatch: {kind}{end.message}{left}", file=stream, flush=True)
    return _failure(end.status, f"{end.message}{left}", ExitCode.DOES_NOT_FIT if end.gave_up else ExitCode.FOREIGN)


def _failure(status: int, message: str, code: ExitCode) -> CommandOutput:
    error = {"kind": "KilledTraining", "message": message}
    return CommandOutput("", failure_object(code, error, status), status)


def _what_is_left(args: argparse.Namespace, folder: Path) -> str:
    if args.checkpoint is None:
        return "" if _is_finished(folder) else " The checkpoint was temporary; --checkpoint FOLDER keeps it."
    return f" The checkpoint is kept in {args.checkpoint}: the same command goes on from it."


@contextlib.contextmanager
def _folder(chosen: str | None, stream: TextIO) -> Iterator[Path]:
    try:
        folder = Path(chosen or tempfile.mkdtemp(prefix="autobatch-", dir=scratch_folder()))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"The folder of the checkpoint cannot be made: {error}. Give another one with --checkpoint."
        raise DataError(msg, chosen) from error
    try:
        yield folder
    finally:
        if chosen is None:
            _remove(folder, stream)


def _remove(folder: Path, stream: TextIO) -> None:
    """Removes a temporary folder, unless a finished training would be lost with it."""
    if _is_finished(folder):
        said = f"the training is done, but what followed it failed. It is kept in {folder}: the same command with "
        print(f"autobatch: {said}--checkpoint {folder} only saves the model.", file=stream, flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _is_finished(folder: Path) -> bool:
    try:
        stored = CheckpointStore(folder).load()
    except DataError:
        return False
    return stored is not None and stored.state.finished


def scratch_folder(
    environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc"), other: str = _OFTEN_ON_DISK
) -> str:
    """The folder for temporary checkpoints: that of `TMPDIR`, else one on a disk, else the usual one.

    Many systems keep /tmp in memory. A checkpoint there would take what the training is short of, and counts against
    the control group that it is killed in.
    """
    usual = tempfile.gettempdir()
    if environ.get("TMPDIR") or not is_memory_backed(Path(usual), proc):
        return usual
    usable = os.access(other, os.W_OK | os.X_OK) and not is_memory_backed(Path(other), proc)
    return other if usable else usual
