"""What a subcommand is: a module that adds options and runs; what it gives back, and where it writes meanwhile."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from datetime import datetime

    from autobatch.cli.api import Api


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a subcommand prints on stdout, as text or, with `--json`, as data; and the exit status."""

    text: str
    data: dict[str, Any]
    status: int = 0


def utc_now() -> "datetime":
    from datetime import UTC, datetime

    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The streams of a command and how it was called."""

    out: TextIO  # only a command that prints its results as it goes writes here, and then returns `None`
    err: TextIO
    words: tuple[str, ...] = ()  # after `autobatch`, as typed
    started_at: "datetime" = field(default_factory=utc_now)
    color: bool = False  # wanted, and possible on `err`
    quiet: bool = False


class Command(Protocol):
    """A module of `cli/commands/`, one for each subcommand."""

    SUMMARY: str  # what it does, for `--help`: a phrase that begins with a verb in lower case

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds its arguments; the common ones (`--json` and the like) are there already."""

    def run(self, args: argparse.Namespace, api: "Api", terminal: Terminal) -> CommandOutput | int | None:
        """Its output; the exit status if another process has printed that; `None` if it has printed all itself.

        `sys.stdout` leads to `terminal.err` meanwhile: Keras and the user's own code print as they please.
        """


class Failed(Exception):  # noqa: N818 - it carries the error, it is none
    """Ends a subcommand by an error, with what was known by then as output; the exit status follows from the error."""

    def __init__(self, error: BaseException, output: CommandOutput) -> None:
        super().__init__(str(error))
        self.error, self.output = error, output


def as_typed(words: Sequence[str]) -> str:
    return shlex.join(["autobatch", *words])
