"""What people may give as a batch size, a bound or a time, and what it means."""

from collections.abc import Mapping
from typing import Any, Literal

from autobatch._arguments import is_whole
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
    if is_whole(batch_size) and batch_size >= 1:
        return "micro", int(batch_size)
    msg = (
        "This is no batch size. "
        f"Received: batch_size={batch_size!r}. Expected 'auto', 'largest' or a whole number of at least 1."
    )
    raise ArgumentError(msg)


def require_class_weight(class_weight: Any) -> None:
    """Refuses class weights that are no mapping.

    Raises:
        ArgumentError: Says what they are.
    """
    if class_weight is not None and not isinstance(class_weight, Mapping):
        msg = f"Received: class_weight={class_weight!r}. Expected a dictionary from class numbers to weights."
        raise ArgumentError(msg)
