"""The part of a limit that is left free on purpose."""

import operator
from dataclasses import dataclass
from typing import Any

from autobatch._text import MIB
from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of a limit to leave free: a fraction of its capacity, with a floor.

    The floor never takes more than half of a capacity, so that a small limit stays usable.

    Attributes:
        fraction: Part of the capacity, in [0, 1).
        floor_bytes: The least to leave free.
    """

    fraction: float = 0.08
    floor_bytes: int = 128 * MIB

    def bytes_of(self, capacity_bytes: int) -> int:
        """Returns the bytes to leave free of a limit of `capacity_bytes`."""
        return max(int(self.fraction * capacity_bytes), min(self.floor_bytes, capacity_bytes // 2))


DEFAULT_RESERVE = Reserve()


def parse_reserve(reserve: Any) -> Reserve:
    """Returns the reserve that a user asked for.

    Args:
        reserve: `None` for the default (8 % of the capacity, at least 128 MiB), a float in [0, 1) for a fraction of
            the capacity, a whole number for bytes (at most half of a capacity is taken), or a ready `Reserve`.

    Raises:
        ArgumentError: `reserve` is none of these.

    Example:
        >>> parse_reserve(0.25).bytes_of(4_000)
        1000
    """
    if reserve is None:
        return DEFAULT_RESERVE
    if isinstance(reserve, Reserve):
        return reserve
    if not isinstance(reserve, bool | str):
        whole = _whole(reserve)
        if whole is not None and whole >= 0:
            return Reserve(fraction=0.0, floor_bytes=whole)
        fraction = _fraction(reserve) if whole is None else None
        if fraction is not None:
            return Reserve(fraction=fraction, floor_bytes=0)
    raise ArgumentError(
        "The reserve says how much memory to leave free. "
        f"Received: reserve={reserve!r}. Expected a float in [0, 1), a fraction of the capacity, or whole bytes."
    )


def _whole(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _fraction(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0.0 <= number < 1.0 else None
