"""What a run was begun with, as far as it decides which samples an update gets and what is done with them.

A run that goes on with anything else here would use samples twice or never, or end elsewhere than the whole run, so it
is kept with the checkpoint and compared. Epochs may become more.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from os import PathLike, fspath
from typing import Any, Protocol

from autobatch.train.schedule import parse_schedule

PICTURES, SIZES, EPOCHS = "pictures", "batch_size", "epochs"


class Pictures(Protocol):
    """Which pictures there are, in order (`autobatch.data.directory.DirectorySource`)."""

    @property
    def filepaths(self) -> list[str]:
        """The file of each sample."""

    @property
    def class_indices(self) -> dict[str, int]:
        """From the name of a class to its number."""


def facts_of(
    pictures: Pictures,
    directory: str | PathLike[str],
    class_weight: Mapping[int, float] | None,
    **options: Any,
) -> dict[str, Any]:
    """What does not change in a run, ready for JSON.

    Args:
        pictures: What it is trained on.
        directory: The folder they are in; it may be moved.
        class_weight: From class number to weight.
        **options: Arguments of `fit`, as they were given.
    """
    weights = None if class_weight is None else {str(int(one)): float(class_weight[one]) for one in class_weight}
    return {PICTURES: _digest(pictures, fspath(directory)), "class_weight": weights, **options}


def sizes_of(at: Callable[[int], int], epochs: int) -> dict[str, Any]:
    """The effective batch of the epochs before `epochs`, as pairs of an epoch and the size from then on.

    Example:
        >>> sizes_of(lambda epoch: 64 if epoch < 5 else 128, 9)
        {'batch_size': [[0, 64], [5, 128]], 'epochs': 9}
    """
    groups = groupby(range(epochs), key=at)
    return {SIZES: [[next(group), size] for size, group in groups], EPOCHS: epochs}


def first_difference(pairs: Sequence[Sequence[int]], at: Callable[[int], int], epochs: int) -> int | None:
    """The first epoch before `epochs` for which pairs of an epoch and a size say something else than `at`, if any."""
    known = parse_schedule(list(pairs))
    return next((epoch for epoch in range(epochs) if known is not None and known.at(epoch) != at(epoch)), None)


def _digest(pictures: Pictures, directory: str) -> str:
    """Of the names in the folder, in order, and of the numbers of the classes."""
    digest = hashlib.blake2b(repr(sorted(pictures.class_indices.items())).encode(), digest_size=16)
    for name in _inside(pictures.filepaths, directory):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _inside(paths: Iterable[str], directory: str) -> Iterable[str]:
    return (path.removeprefix(directory).replace("\\", "/").lstrip("/") for path in paths)
