"""What is shown while a probe runs: a table that grows on a terminal, one line a trial in a pipe, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from autobatch._text import format_bytes
from autobatch.cli.command import Terminal

UNKNOWN = "-"

HEAD = ("size", "outcome", "peak", "time", "samples/s")

WIDTHS = (7, 13, 9, 8, 10)  # together with the gaps 55: there are terminals of 60


def cells(trial: Any) -> tuple[str, ...]:
    """The cells of its row, under `HEAD`."""
    speed = UNKNOWN if trial.samples_per_s is None else f"{trial.samples_per_s:,.0f}"
    return f"{trial.size:,}", outcome_of(trial), peak_of(trial), f"{trial.wall_s:.1f} s", speed


def row(texts: tuple[str, ...]) -> str:
    """Cells side by side; numbers stand to the right, so that their digits line up."""
    padded = (
        text.ljust(width) if i == 1 else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    )
    return "  ".join(padded).rstrip()


def outcome_of(trial: Any) -> str:
    """How it ended, in small letters."""
    return str(trial.outcome.name).lower().replace("_", " ")


def peak_of(trial: Any) -> str:
    """What it needed of the device, or of the host where there is no other."""
    peak = trial.peaks.get("device", trial.peaks.get("host"))
    return UNKNOWN if peak is None else format_bytes(peak)


class TrialLine:
    """Writes one line for each trial that it is called with.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0

    def says(self, _what: str) -> None:
        """Nothing: a line that cannot be taken back is for results."""

    def __call__(self, trial: Any) -> None:
        """Writes the line of one trial."""
        self._count += 1
        peak = "" if not trial.peaks else f", peak {peak_of(trial)}"
        speed = "" if trial.samples_per_s is None else f", {trial.samples_per_s:,.0f} samples/s"
        print(
            f"trial {self._count}: {trial.size} samples: {outcome_of(trial)}{peak}{speed}, {trial.wall_s:.1f} s",
            file=self._stream,
            flush=True,
        )


class ProbeProgress(Protocol):
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
def progress(terminal: Terminal) -> Iterator[ProbeProgress]:
    """The fitting one for a terminal; it is at its end when the context ends."""
    if terminal.quiet:
        yield Silent()
    elif terminal.err.isatty():
        from autobatch.cli.live_table import live_table

        with live_table(terminal.err, color=terminal.color) as table:
            yield table
    else:
        yield TrialLine(terminal.err)
