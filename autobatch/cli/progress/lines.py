"""Trials as lines of text, for a pipe."""

from typing import Any, TextIO

from autobatch.cli.progress.cells import outcome_of, peak_of


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
