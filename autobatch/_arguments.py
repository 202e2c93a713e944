"""Checks of arguments that many functions take: counts, times and parts. Each names the argument that it refuses."""

from numbers import Integral, Real
from typing import Any

from autobatch.errors import ArgumentError


def require_count(message: str = "", /, *, least: int = 1, optional: bool = True, **numbers: Any) -> None:
    """Refuses what is not a whole number of at least `least`; `None` passes where it is optional."""
    for name, number in numbers.items():
        if number is None and optional:
            continue
        if not is_whole(number) or number < least:
            received = f"Received: {name}={number!r}. Expected a whole number of at least {least}."
            raise ArgumentError(f"{message} {received}".lstrip())


def require_seconds(**times: Any) -> None:
    """Refuses what is not a positive number of seconds."""
    for name, seconds in times.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ArgumentError(f"Received: {name}={seconds!r}. Expected a number of seconds above 0.")


def require_fraction(message: str, /, **fractions: Any) -> None:
    """Refuses what is not a number between 0 and 1, both excluded."""
    for name, fraction in fractions.items():
        if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 < float(fraction) < 1:
            raise ArgumentError(f"{message} Received: {name}={fraction!r}. Expected a number between 0 and 1.")


def is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
