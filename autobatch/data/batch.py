"""A handful of samples as arrays: what counts as one, in what form it is, and how to cut and join such handfuls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autobatch.errors import ArgumentError, DataError


def leaves(tree: Any) -> Iterator[Any]:
    """Yields the arrays of a nest of lists, tuples and dicts, in a fixed order; `None` yields nothing."""
    if tree is None:
        return
    if isinstance(tree, dict):
        for key in tree:
            yield from leaves(tree[key])
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from leaves(item)
    else:
        yield tree


def map_leaves(function: Any, *trees: Any) -> Any:
    """Applies `function` to the arrays that stand at the same place in nests of the same shape."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, list | tuple):
        items = (map_leaves(function, *parts) for parts in zip(*trees, strict=True))
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    return function(*trees)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as Keras takes them."""

    x: Any  # an array of shape `(size, ...)`, or a list, tuple or dict of such arrays
    y: Any = None  # in the same forms, or `None`
    sample_weight: Any = None  # of shape `(size,)` or in the form of `y`, or `None`
    bare: bool = False  # a step gets the inputs as they are, not `(x,)`: Keras hands over arrays without targets so

    @property
    def nest(self) -> tuple[Any, Any, Any]:
        return self.x, self.y, self.sample_weight

    def like(self, nest: tuple[Any, Any, Any]) -> "Batch":
        """A batch of other inputs, targets and weights for the same step."""
        return Batch(*nest, bare=self.bare)

    @property
    def size(self) -> int:
        return int(next(leaves(self.x)).shape[0])

    @property
    def nbytes(self) -> int:
        return sum(int(array.nbytes) for array in leaves(self.nest))

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, rounded up."""
        return -(-self.nbytes // self.size)

    def __getitem__(self, window: slice) -> "Batch":
        """The samples of a window, as views: nothing is copied."""
        return self.like(map_leaves(lambda array: array[window], self.nest))

    def room_for(self, size: int) -> "Batch":
        """A batch of `size` samples in this one's form, to be filled: what its arrays hold is undefined."""
        return self.like(map_leaves(lambda array: np.empty((size, *array.shape[1:]), array.dtype), self.nest))

    def fill(self, start: int, part: "Batch") -> None:
        """Copies the samples of `part`, a batch of the same form, into this one from `start` on."""
        map_leaves(np.copyto, self[start : start + part.size].nest, part.nest)

    def take(self, indices: Any) -> "Batch":
        """The samples at `indices`, in that order, repeated as often as they are named."""
        return self.like(map_leaves(lambda array: np.take(array, indices, axis=0), self.nest))


def split(batch: Batch, sizes: Iterable[int]) -> Iterator[Batch]:
    """The batch in parts of these sizes, in samples."""
    start = 0
    for size in sizes:
        yield batch[start : start + size]
        start += size


def concatenate(parts: Sequence[Batch]) -> Batch:
    """Joins batches of the same form into one, in order; a single part is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    nests = [part.nest for part in parts]
    return parts[0].like(map_leaves(lambda *arrays: np.concatenate(arrays), *nests))


_TEXT, _OBJECT = "UST", "O"


def holds_objects(array: Any) -> bool:
    """Whether an array holds text or other Python objects rather than numbers."""
    return getattr(array.dtype, "kind", None) in {*_TEXT, _OBJECT}


def is_text(array: Any) -> bool:
    """Whether an array holds text, as far as its first element tells."""
    if not holds_objects(array):
        return False
    return array.dtype.kind != _OBJECT or all(isinstance(first, str | bytes) for first in array.ravel()[:1])


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    # Text of a fixed width would be cut off where it is put among shorter ones.
    return np.dtype(object) if dtype.kind in _TEXT else dtype


def form_of(batch: Batch) -> str:
    """The form of a batch's samples as text: equal for two batches exactly if they can be joined as they are."""
    named = zip(("x", "y", "sample_weight"), batch.nest, strict=True)
    return "; ".join(f"{name}: {_written(nest, dtypes=True)}" for name, nest in named if nest is not None)


def conform(batch: Batch, first: Batch, what: str, *, lengths: bool = True) -> Batch:
    """The batch in the form of the first one from the same `what`: as it is, or with numbers of the same kind cast.

    Without `lengths` only the number of dimensions has to be the same.
    """
    if form_of(batch) == form_of(first):
        return batch
    ours, theirs = first.nest, batch.nest
    shapes = [_written(nest, dtypes=False, lengths=lengths) for nest in (ours, theirs)]
    pairs = zip(leaves(ours), leaves(theirs), strict=True)
    castable = (np.can_cast(array.dtype, model.dtype, "same_kind") for model, array in pairs)
    if shapes[0] != shapes[1] or not all(castable):
        raise DataError(
            f"The batches of {what} can't be cut and joined, because their samples differ in form. Make them one shape "
            "(pad, resize) and one type, or give their own size as batch_size=. "
            f"Received: {form_of(batch)}. Expected as in the first batch: {form_of(first)}."
        )
    return batch.like(map_leaves(lambda model, array: array.astype(model.dtype, copy=False), ours, theirs))


def _written(nest: Any, *, dtypes: bool, lengths: bool = True) -> str:
    if nest is None:
        return "None"
    if isinstance(nest, dict):
        inner = (f"{key!r}: {_written(nest[key], dtypes=dtypes, lengths=lengths)}" for key in sorted(nest, key=str))
        return "{" + ", ".join(inner) + "}"
    if isinstance(nest, list | tuple):
        return "[" + ", ".join(_written(item, dtypes=dtypes, lengths=lengths) for item in nest) + "]"
    shape = tuple(int(length) if lengths else None for length in nest.shape[1:])
    return f"{nest.dtype} {shape}" if dtypes else str(shape)


def with_class_weight(batch: Batch, class_weight: Mapping[int, float] | None) -> Batch:
    """The batch with each sample weighted by its class; unchanged without class weights."""
    if class_weight is None:
        return batch
    if batch.sample_weight is not None:
        raise ArgumentError("The samples carry weights already. Received: class_weight beside them. Expected only one.")
    if batch.y is None or getattr(batch.y, "ndim", 0) not in {1, 2}:
        raise ArgumentError(
            "Only samples with class targets have classes. Received: class_weight without such targets."
        )
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    return Batch(batch.x, batch.y, class_weight_to_sample_weights(batch.y, dict(class_weight)))


EXPECTED = (
    "Expected x, (x,), (x, y) or (x, y, sample_weight) as a tuple, all of them arrays (or lists, tuples and dicts of "
    "arrays) whose first dimension is the batch."
)


def as_batch(item: Any, what: str) -> Batch | None:
    """The batch that an item from `what` stands for, read as Keras reads it; `None` for an empty one."""
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


def as_batches(items: Iterable[Any], what: str) -> Iterator[Batch]:
    """The batches that items stand for, without empty ones."""
    for item in items:
        batch = as_batch(item, what)
        if batch is not None:
            yield batch


def refusal(leaf: Any) -> str | None:
    """Why an array-like can't be cut by samples, `None` if it can."""
    if hasattr(leaf, "row_splits") or hasattr(leaf, "ragged_rank"):
        return "it is ragged, and samples of different lengths make no array; pad it (`.to_tensor()`)"
    return None


def dense(leaf: Any) -> Any:
    """What is sparse, scipy's or a tensor, as an array; anything else as it is."""
    if hasattr(leaf, "toarray"):
        return leaf.toarray()
    if not hasattr(leaf, "dense_shape"):
        return leaf
    values = np.asarray(leaf.values)
    array = np.zeros(tuple(np.asarray(leaf.dense_shape)), values.dtype)
    array[tuple(np.asarray(leaf.indices).T)] = values
    return array


def shown(item: Any) -> str:
    """An item in short: types, dtypes and shapes, no contents."""
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list | tuple):
        inner = ", ".join(shown(value) for value in item[:4]) + (", ..." if len(item) > 4 else "")
        return f"[{inner}]" if isinstance(item, list) else f"({inner})"
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        dtype = item.dtype.name if isinstance(item, np.ndarray | np.generic) else item.dtype
        return f"{type(item).__name__} of {dtype} {item.shape}"
    return repr(item) if item is None or isinstance(item, int | float) else type(item).__name__


def _arrays(nest: Any, what: str, item: Any) -> Any:
    if nest is None:
        return None
    nest = dense(nest)
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


def bytes_of_one(nest: Any) -> int:
    arrays = (np.asarray(leaf) for leaf in leaves(nest))
    return sum(array.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
