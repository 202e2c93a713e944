"""What a subcommand is: a module that names its words and answers, and where it may write meanwhile."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from autobatch.cli.api import Api


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a subcommand found.

    Attributes:
        text: For people, to stdout.
        data: For `--json`; numpy's numbers may be in it.
        status: The exit status.
    """

    text: str
    data: dict[str, Any]
    status: int = 0


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a subcommand writes besides its answer.

    Attributes:
        out: Results. Only a command that prints as it goes writes here, and then answers `None`.
        err: Progress and remarks.
        words: The words after `autobatch`, as typed.
        color: Whether colours are wanted and possible on `err`.
        quiet: Whether progress is unwanted.
    """

    out: TextIO
    err: TextIO
    words: tuple[str, ...] = ()
    color: bool = False
    quiet: bool = False


def as_typed(words: Sequence[str]) -> str:
    """The command with these words, quoted for a shell."""
    import shlex

    return shlex.join(["autobatch", *words])


class Command(Protocol):
    """A module of `cli/commands/`, one for each subcommand.

    Attributes:
        SUMMARY: What it does, for `--help`: a phrase that begins with a verb in lower case.
    """

    SUMMARY: str

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds its words to the parser; the common ones (`--json` and the like) are there already."""

    def run(self, args: argparse.Namespace, api: "Api", terminal: Terminal) -> CommandOutput | int | None:
        """Its answer; the exit status where another process has answered; `None` where it has written all itself.

        `sys.stdout` leads to `terminal.err` meanwhile: Keras and the user's own code print as they please.
        """


class Failed(Exception):  # noqa: N818 - it carries the error, it is none
    """Ends a subcommand by an error, with something to print all the same.

    Args:
        error: What happened; the exit status follows from it.
        answer: What was known by then.
    """

    def __init__(self, error: BaseException, answer: CommandOutput) -> None:
        super().__init__(str(error))
        self.error = error
        self.answer = answer
