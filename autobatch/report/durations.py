"""Stretches of time as people read them."""

import math


def duration_words(seconds: float) -> str:
    """A stretch of time as people say it: "0.014 s", "4.2 s", "1 min 40 s", "2 h 5 min"."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
