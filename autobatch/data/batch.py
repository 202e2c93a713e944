"""A handful of samples as arrays, and how to cut and join such handfuls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
    """Samples as Keras takes them.

    Attributes:
        x: Inputs: an array of shape `(size, ...)`, or a list, tuple or dict of such arrays.
        y: Targets in the same forms, or `None`.
        sample_weight: Weights of shape `(size,)` or in the form of `y`, or `None`.
        bare: Whether a step gets the inputs as they are, not `(x,)`: Keras hands over arrays without targets so.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    bare: bool = False

    @property
    def nest(self) -> tuple[Any, Any, Any]:
        """Inputs, targets and weights."""
        return self.x, self.y, self.sample_weight

    def like(self, nest: tuple[Any, Any, Any]) -> "Batch":
        """A batch of other inputs, targets and weights for the same step."""
        return Batch(*nest, bare=self.bare)

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(next(leaves(self.x)).shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays occupy."""
        return sum(int(array.nbytes) for array in leaves(self.nest))

    def __getitem__(self, window: slice) -> "Batch":
        """The samples of a window, as views: nothing is copied."""
        return self.like(map_leaves(lambda array: array[window], self.nest))

    def room_for(self, size: int) -> "Batch":
        """A batch of `size` samples in this one's form, to be filled: what its arrays hold is undefined."""

        def empty(array: Any) -> Any:
            return np.empty((size, *array.shape[1:]), dtype=array.dtype)

        return self.like(map_leaves(empty, self.nest))

    def fill(self, start: int, part: "Batch") -> None:
        """Copies the samples of `part`, a batch of the same form, into this one from `start` on."""
        window = self[start : start + part.size]
        ours = (window.x, window.y, window.sample_weight)
        map_leaves(np.copyto, ours, (part.x, part.y, part.sample_weight))

    def take(self, indices: Any) -> "Batch":
        """The samples at `indices`, in that order, repeated as often as they are named."""
        return self.like(map_leaves(lambda array: np.take(array, indices, axis=0), self.nest))


def concatenate(parts: Sequence[Batch]) -> Batch:
    """Joins batches of the same form into one, in order; a single part is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    nests = [part.nest for part in parts]
    return parts[0].like(map_leaves(lambda *arrays: np.concatenate(arrays), *nests))
