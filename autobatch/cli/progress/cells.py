"""One trial in words: how it ended, what it needed, how fast it was."""

from typing import Any

from autobatch.memory.units import format_bytes

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
