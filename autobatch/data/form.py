"""In what form samples come (nest, dtypes, shapes), and whether two batches have the same."""

from typing import Any

import numpy as np

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.errors import DataError


def form_of(batch: Batch) -> str:
    """The form of a batch's samples as text: equal for two batches exactly if they can be joined as they are.

    Example:
        >>> form_of(Batch(np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64)))
        'x: uint8 (8, 8); y: int64 ()'
    """
    named = (("x", batch.x), ("y", batch.y), ("sample_weight", batch.sample_weight))
    return "; ".join(f"{name}: {_written(nest, dtypes=True)}" for name, nest in named if nest is not None)


def conform(batch: Batch, first: Batch, what: str) -> Batch:
    """The batch in the form of the first one: the same, or with numbers of the same kind cast.

    Args:
        batch: What came.
        first: The batch that set the form.
        what: Where it came from, for the message.

    Raises:
        DataError: The two can't be joined.
    """
    if form_of(batch) == form_of(first):
        return batch
    ours, theirs = first.nest, batch.nest
    if _written(ours, dtypes=False) != _written(theirs, dtypes=False) or not _castable(ours, theirs):
        raise DataError(
            f"The batches of {what} can't be cut and joined, because their samples differ in form. Make them one shape "
            f"(pad, resize) and one type. Received: {form_of(batch)}. Expected as in the first batch: {form_of(first)}."
        )
    return batch.like(map_leaves(lambda model, array: array.astype(model.dtype, copy=False), ours, theirs))


def _castable(ours: Any, theirs: Any) -> bool:
    pairs = zip(leaves(ours), leaves(theirs), strict=True)
    return all(np.can_cast(array.dtype, model.dtype, "same_kind") for model, array in pairs)


def _written(nest: Any, *, dtypes: bool) -> str:
    if nest is None:
        return "None"
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key!r}: {_written(nest[key], dtypes=dtypes)}" for key in sorted(nest, key=str)) + "}"
    if isinstance(nest, list | tuple):
        return "[" + ", ".join(_written(item, dtypes=dtypes) for item in nest) + "]"
    shape = tuple(int(length) for length in nest.shape[1:])
    return f"{nest.dtype} {shape}" if dtypes else str(shape)
