"""What the user's code hands over, checked and made a batch, as `keras.Model.fit` reads it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from autobatch.data.batch import Batch, leaves
from autobatch.data.text import kept_type
from autobatch.errors import DataError

EXPECTED = (
    "Expected x, (x,), (x, y) or (x, y, sample_weight) as a tuple, all of them arrays (or lists, tuples and dicts of "
    "arrays) whose first dimension is the batch."
)


def as_batch(item: Any, what: str) -> Batch | None:
    """The batch that an item stands for; `None` for an empty one.

    A list counts as a tuple and a dict as named inputs, as in `keras.utils.unpack_x_y_sample_weight`.

    Args:
        item: What came.
        what: Where it came from, for the message.

    Raises:
        DataError: It is no batch; the message says what came.
    """
    parts = tuple(item) if isinstance(item, list | tuple) else (item,)
    if not 1 <= len(parts) <= 3:
        raise _no_batch(what, f"there are {len(parts)} parts", item)
    x, y, sample_weight = (_arrays(part, what, item) for part in (*parts, None, None)[:3])
    sizes = [len(array) for array in leaves((x, y, sample_weight))]
    if next(leaves(x), None) is None:
        raise _no_batch(what, "there are no inputs", item)
    if len(set(sizes)) > 1:
        raise _no_batch(what, f"first dimensions differ ({', '.join(map(str, sizes))})", item)
    bare = not isinstance(item, list | tuple)
    return Batch(x, y, sample_weight, bare=bare) if sizes[0] else None


def refusal(leaf: Any) -> str | None:
    """Why an array-like can't be cut by samples, `None` if it can."""
    if hasattr(leaf, "row_splits") or hasattr(leaf, "ragged_rank"):
        return "it is ragged, and samples of different lengths make no array; pad it (`.to_tensor()`)"
    if hasattr(leaf, "tocsr") or hasattr(leaf, "dense_shape") or type(leaf).__name__ == "SparseTensorSpec":
        return "it is sparse; make it dense (`tf.sparse.to_dense`, `.toarray()`)"
    return None


def shown(item: Any) -> str:
    """An item in short: types, dtypes and shapes, no contents."""
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list | tuple):
        inner = ", ".join(shown(value) for value in item[:4]) + (", ..." if len(item) > 4 else "")
        return f"[{inner}]" if isinstance(item, list) else f"({inner})"
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        return f"{type(item).__name__} of {np.dtype(item.dtype).name if _numpy(item) else item.dtype} {item.shape}"
    return repr(item) if item is None or isinstance(item, int | float) else type(item).__name__


def _numpy(item: Any) -> bool:
    return isinstance(item, np.ndarray | np.generic)


def _arrays(nest: Any, what: str, item: Any) -> Any:
    if nest is None:
        return None
    if isinstance(nest, Mapping):
        return {key: _arrays(value, what, item) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        kind = list if isinstance(nest, list) else tuple
        return kind(_arrays(value, what, item) for value in nest)
    reason = refusal(nest)
    if reason is not None:
        raise _no_batch(what, f"of one of its parts: {reason}", item)
    # Whoever yields one buffer again and again, filled anew, would change what waits to be taken.
    array = nest.copy() if isinstance(nest, np.ndarray) and nest.flags.writeable else np.asarray(nest)
    if array.ndim == 0:
        raise _no_batch(what, "a part is a single value (a list of numbers is no array: use np.asarray)", item)
    return array.astype(kept_type(array.dtype), copy=False)


def _no_batch(what: str, reason: str, item: Any) -> DataError:
    return DataError(f"What came from {what} is no batch: {reason}. Received: {shown(item)}. {EXPECTED}")
