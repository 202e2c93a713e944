"""What is shown while a probe runs: a table that grows on a terminal, one line a trial in a pipe, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from autobatch.cli.command import Terminal
from autobatch.cli.progress.lines import TrialLine


class Progress(Protocol):
    """What wants to know how a probe goes on."""

    def says(self, what: str, /) -> None:
        """What is going on now."""

    def __call__(self, trial: Any, /) -> None:
        """A trial has ended."""


class Silent:
    """Shows nothing."""

    def says(self, _what: str) -> None:
        """Nothing."""

    def __call__(self, _trial: Any) -> None:
        """Nothing."""


@contextmanager
def progress(terminal: Terminal) -> Iterator[Progress]:
    """The fitting one for a terminal; it is at its end when the context ends."""
    if terminal.quiet:
        yield Silent()
    elif terminal.err.isatty():
        from autobatch.cli.progress.live import live_table

        with live_table(terminal.err, color=terminal.color) as table:
            yield table
    else:
        yield TrialLine(terminal.err)
