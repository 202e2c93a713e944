"""`autobatch fit` as a supervisor: the training runs in a child, and goes on from its checkpoint when memory kills it.

Covered: the child is killed by the kernel for memory, any number of times that `--restarts` allows. Not covered: a
control group that is killed as a whole (`memory.oom.group`), and with it this process.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from autobatch.cli.child import Child, training_command
from autobatch.cli.verdict import Attempts, Death, End, Restart, Trace, after_death, was_killed
from autobatch.errors import DataError
from autobatch.memory.cgroup import oom_kills as count_oom_kills
from autobatch.train.checkpoint import Checkpoint
from autobatch.train.journal import Journal


def supervise(
    words: Sequence[str],
    args: argparse.Namespace,
    stream: TextIO,
    *,
    command: Callable[[Sequence[str]], Sequence[str]] = training_command,
    oom_kills: Callable[[], int | None] = count_oom_kills,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Runs a training in a child until it has ended, and returns the exit status to end with.

    Args:
        words: The words after `autobatch`, the subcommand first.
        args: The same, parsed.
        stream: Where remarks go; results are the child's own.
        command: From such words to the command of the child; a seam for tests.
        oom_kills: Reads the kernel's count of kills for memory, `None` for unknown; a seam for tests.
        environ: The environment of the child.

    Raises:
        DataError: The checkpoint cannot be used, or its folder cannot be made.
    """
    with _folder(args.checkpoint) as folder, Child(environ) as child:
        attempts = Attempts(0, args.restarts)
        while True:
            Journal(folder).clear()  # what an earlier training has left says nothing about this one
            before = oom_kills()
            status = child.run(command(_words(words, folder, attempts.ceiling)))
            death = Death(status, before, oom_kills())
            verdict = after_death(death, _trace(folder) if was_killed(death) else Trace(), attempts)
            if isinstance(verdict, Restart) and child.interrupted is not None:
                return 128 + child.interrupted
            if isinstance(verdict, End):
                _say(verdict, args, stream)
                return verdict.status
            print(f"autobatch: {verdict.message}", file=stream, flush=True)
            attempts = Attempts(attempts.restarts + 1, attempts.allowed, verdict.ceiling)


def _words(words: Sequence[str], folder: Path, ceiling: int | None) -> list[str]:
    """The child's words: the user's own, and where its checkpoint is."""
    bound = [] if ceiling is None else ["--ceiling", str(ceiling)]
    return [words[0], "--in-process", "--checkpoint", str(folder), *bound, *words[1:]]


def _trace(folder: Path) -> Trace:
    stored = Checkpoint(folder).load()
    return Trace(Journal(folder).read(), None if stored is None else stored.standing)


def _say(end: End, args: argparse.Namespace, stream: TextIO) -> None:
    if end.message is None:
        return
    kind = "error: " if end.gave_up else ""
    print(f"autobatch: {kind}{end.message}{_what_is_left(args) if end.gave_up else ''}", file=stream, flush=True)


def _what_is_left(args: argparse.Namespace) -> str:
    if args.checkpoint is None:
        return " The checkpoint was a temporary one; --checkpoint FOLDER keeps it."
    return f" The checkpoint is kept in {args.checkpoint}: the same command goes on from it."


@contextlib.contextmanager
def _folder(chosen: str | None) -> Iterator[Path]:
    """The folder of the checkpoint: the user's own, or a temporary one.

    Raises:
        DataError: It cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            name = chosen or stack.enter_context(tempfile.TemporaryDirectory(prefix="autobatch-"))
            folder = Path(name)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"The folder of the checkpoint cannot be made: {error}. Give another one with --checkpoint."
            raise DataError(msg, chosen) from error
        yield folder
