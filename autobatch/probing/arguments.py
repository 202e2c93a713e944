"""What people may give as a batch size, a bound or a time, and what it means."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal

from autobatch.errors import ArgumentError
from autobatch.results.probe import Mode

BatchSize = int | Literal["auto", "largest"]


def parse_batch_size(batch_size: Any) -> tuple[Mode, int | None]:
    """What to look for, and the effective batch where one was given.

    Raises:
        ArgumentError: Neither "auto", "largest" nor a whole number of at least 1.

    Example:
        >>> parse_batch_size(256)
        ('micro', 256)
        >>> parse_batch_size("largest")
        ('largest', None)
    """
    if isinstance(batch_size, str) and batch_size in {"auto", "largest"}:
        return batch_size, None  # type: ignore[return-value]
    if _whole(batch_size) and batch_size >= 1:
        return "micro", int(batch_size)
    msg = (
        "This is no batch size. "
        f"Received: batch_size={batch_size!r}. Expected 'auto', 'largest' or a whole number of at least 1."
    )
    raise ArgumentError(msg)


def require_count(*, least: int = 1, **numbers: Any) -> None:
    """Refuses what is given and not a whole number of at least `least`.

    Raises:
        ArgumentError: Names the argument.
    """
    for name, number in numbers.items():
        if number is not None and not (_whole(number) and number >= least):
            raise ArgumentError(f"Received: {name}={number!r}. Expected a whole number of at least {least}.")


def require_class_weight(class_weight: Any) -> None:
    """Refuses class weights that are no mapping.

    Raises:
        ArgumentError: Says what they are.
    """
    if class_weight is not None and not isinstance(class_weight, Mapping):
        msg = f"Received: class_weight={class_weight!r}. Expected a dictionary from class numbers to weights."
        raise ArgumentError(msg)


def require_seconds(**times: Any) -> None:
    """Refuses what is not a positive number of seconds.

    Raises:
        ArgumentError: Names the argument.
    """
    for name, seconds in times.items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ArgumentError(f"Received: {name}={seconds!r}. Expected a number of seconds above 0.")


def _whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
