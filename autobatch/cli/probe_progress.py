"""What is shown of a probe while it runs: its trials as rows of a table or as lines in a pipe, or nothing."""

from typing import Any, Protocol, TextIO

from autobatch.results.text import format_amount, format_number, outcome_words

HEAD = ("size", "outcome", "peak", "time", "samples/s")
_WIDTHS = (7, 13, 9, 8, 10)  # together with the gaps 55: there are terminals of 60


class ProbeProgress(Protocol):
    def says(self, what: str, /) -> None:
        """Something else begins."""

    def __call__(self, trial: Any, /) -> None:
        """A trial has ended."""


class SilentProgress:
    def says(self, _what: str) -> None: ...

    def __call__(self, _trial: Any) -> None: ...


class TrialLines:
    """One line for each trial, and none for anything else: a line in a pipe cannot be taken back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0

    def says(self, _what: str) -> None: ...

    def __call__(self, trial: Any) -> None:
        self._count += 1
        peak = "" if not trial.peaks else f", peak {_peak(trial)}"
        speed = "" if trial.samples_per_s is None else f", {trial.samples_per_s:,.0f} samples/s"
        line = f"trial {self._count}: {trial.size} samples: {outcome_words(trial.outcome)}{peak}{speed}"
        print(f"{line}, {trial.wall_s:.1f} s", file=self._stream, flush=True)


def cells(trial: Any) -> tuple[str, ...]:
    """The cells of a trial's row, under `HEAD`."""
    speed = format_number(trial.samples_per_s, ",.0f")
    return f"{trial.size:,}", outcome_words(trial.outcome), _peak(trial), f"{trial.wall_s:.1f} s", speed


def row(texts: tuple[str, ...]) -> str:
    """Cells side by side, in columns of fixed width: later rows are not known yet."""
    padded = (
        text.ljust(width) if i == 1 else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, _WIDTHS, strict=True))
    )
    return "  ".join(padded).rstrip()


def _peak(trial: Any) -> str:
    """The peak on the device, or on the host if there is no other."""
    return format_amount(trial.peaks.get("device", trial.peaks.get("host")))
