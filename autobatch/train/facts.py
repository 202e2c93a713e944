"""What a run was begun with, as far as it decides which samples an update gets and what is done with them.

A run that goes on with anything else here would use samples twice or never, or end elsewhere than the whole run, so it
is kept with the checkpoint and compared. Epochs may become more.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from os import PathLike, fspath
from typing import Any

import numpy as np

from autobatch.data.batch import leaves
from autobatch.data.open import few_of
from autobatch.data.source import Source
from autobatch.train.schedule import parse_schedule

PICTURES, SIZES, EPOCHS = "pictures", "batch_size", "epochs"


def facts_of(
    source: Source,
    directory: Any,
    class_weight: Mapping[int, float] | None,
    **options: Any,
) -> dict[str, Any]:
    """What does not change in a run, ready for JSON.

    Args:
        source: What it is trained on.
        directory: The folder that its files are in, if they are in one; it may be moved.
        class_weight: From class number to weight.
        **options: Arguments of `fit`, as they were given.
    """
    weights = None if class_weight is None else {str(int(one)): float(class_weight[one]) for one in class_weight}
    return {PICTURES: _digest(source, directory), "class_weight": weights, **options}


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


def _digest(source: Any, directory: Any) -> str:
    """Of the names of its files, in order, and of the numbers of the classes; of some samples where there are none."""
    digest = hashlib.blake2b(digest_size=16)
    if getattr(source, "filepaths", None) is None:
        few = few_of(source)
        for array in leaves(few.nest):
            digest.update(f"{len(source)} {array.dtype} {array.shape}".encode() + _bytes_of(array))
        return digest.hexdigest()
    digest.update(repr(sorted((source.class_indices or {}).items())).encode())
    folder = fspath(directory) if isinstance(directory, str | PathLike) else ""
    for name in _inside(source.filepaths, folder):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _bytes_of(array: Any) -> bytes:
    # Text is kept as objects, whose bytes are only where they lie in memory.
    return repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()


def _inside(paths: Iterable[str], directory: str) -> Iterable[str]:
    return (path.removeprefix(directory).replace("\\", "/").lstrip("/") for path in paths)
