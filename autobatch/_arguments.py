"""Checks of arguments that many functions take: counts and times."""

from numbers import Integral
from typing import Any

import numpy as np

from autobatch.errors import ArgumentError


def require_whole(message: str, **numbers: Any) -> None:
    """Checks that numbers are whole and above 0.

    Raises:
        ArgumentError: One isn't; it begins with `message`.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ArgumentError(f"{message} Received: {name}={number!r}. Expected a whole number of at least 1.")


def require_count(*, least: int = 1, **numbers: Any) -> None:
    """Refuses what is given and not a whole number of at least `least`.

    Raises:
        ArgumentError: Names the argument.
    """
    for name, number in numbers.items():
        if number is not None and not (is_whole(number) and number >= least):
            raise ArgumentError(f"Received: {name}={number!r}. Expected a whole number of at least {least}.")


def require_seconds(**times: Any) -> None:
    """Refuses what is not a positive number of seconds.

    Raises:
        ArgumentError: Names the argument.
    """
    for name, seconds in times.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ArgumentError(f"Received: {name}={seconds!r}. Expected a number of seconds above 0.")


def is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
