"""The same data in batches of another size: a flow rebuilt, or consecutive batches joined."""

import copy
import inspect
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import keras
import numpy as np

from autobatch._arguments import require_count
from autobatch.data.batch import map_leaves
from autobatch.data.images.flow import flow_kind, require_flow
from autobatch.errors import ArgumentError, DataError


def accumulate_batches(data: Any, n: int) -> Any:
    """Larger batches, each made of `n` consecutive ones; the last of a pass of as many as are left.

    Batches may be arrays or tensors in any nest of tuples, lists and dicts, with sample weights or without; `None`
    stays `None`. The samples, their order and their number are those of `data`.

    Args:
        data: A `keras.utils.PyDataset`, a flow of an `ImageDataGenerator`, a `tf.data.Dataset`, or anything else that
            hands out batches.
        n: How many batches to join.

    Returns:
        A `keras.utils.PyDataset` of `ceil(len(data) / n)` batches if `data` is one; that of a flow has `next`, too,
        without end as the flow itself, and no batch spans two passes. For anything else an iterator over one pass.

    Raises:
        ArgumentError: `n` isn't a whole number above 0, or there are no batches to be had of `data`.
        DataError: The batches of a group can't be joined, because they differ in form (raised when it is drawn).

    Example:
        ```python
        flow = datagen.flow_from_directory("data/train", batch_size=32)
        x, y = next(autobatch.accumulate_batches(flow, 3))  # 96 samples
        ```
    """
    require_count("A larger batch is made of whole batches.", optional=False, n=n)
    if flow_kind(data) is not None:
        return _FlowGroups(data, int(n))
    if isinstance(data, keras.utils.PyDataset):
        return _Groups(data, int(n))
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | dict):
        message = "There are no batches to join. "
        expected = "Expected a PyDataset, a flow, a tf.data.Dataset or an iterable of batches."
        raise ArgumentError(f"{message}Received: data={data!r:.200}. {expected}")
    return _groups(data, int(n))


class _Groups(keras.utils.PyDataset):
    """A `PyDataset` whose batches are several of another's."""

    def __init__(self, inner: Any, n: int) -> None:
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner = inner
        self._n = n

    @property
    def num_batches(self) -> int | None:
        count: int | None = self._inner.num_batches
        return None if count is None else -(-count // self._n)

    def __len__(self) -> int:
        count = self.num_batches
        if count is None:
            raise TypeError("The data have no end, so their batches can't be counted.")
        return count

    def __getitem__(self, index: int) -> Any:
        count = self._inner.num_batches
        stop = (index + 1) * self._n
        stop = stop if count is None else min(stop, count)
        if index < 0 or index * self._n >= stop:
            raise IndexError(f"There are {self.num_batches} batches, numbered from 0. Received: {index}")
        return joined([self._inner[place] for place in range(index * self._n, stop)])

    def on_epoch_begin(self) -> None:
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._inner.on_epoch_end()


class _FlowGroups(_Groups):
    """The same for a flow of Keras', which can also be drawn from without end."""

    def __init__(self, inner: Any, n: int) -> None:
        super().__init__(inner, n)
        self._turn = threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._turn:
            batches = [next(self._inner)]
            while len(batches) < self._n and self._inner.batch_index:  # 0 once a pass is used up
                batches.append(next(self._inner))
        return joined(batches)


def _groups(batches: Iterable[Any], n: int) -> Iterator[Any]:
    batches = iter(batches)
    while group := list(islice(batches, n)):
        yield joined(group)


def joined(batches: Sequence[Any]) -> Any:
    """Batches in any nest of arrays or tensors as one, in numpy."""
    nests = [map_leaves(lambda _: "array", batch) for batch in batches]
    if any(nest != nests[0] for nest in nests):
        other = next(nest for nest in nests if nest != nests[0])
        message = "Batches that are to be joined are nested differently. "
        raise DataError(f"{message}Received: {nests[0]!r:.200} and {other!r:.200}. Expected the same nest of arrays.")
    return map_leaves(_concatenate, *batches)


def _concatenate(*leaves: Any) -> Any:
    arrays = [leaf if isinstance(leaf, np.ndarray) else keras.ops.convert_to_numpy(leaf) for leaf in leaves]
    shapes = sorted({array.shape[1:] for array in arrays if array.ndim})
    if len(shapes) != 1 or not all(array.ndim for array in arrays):
        message = "The samples of batches that are to be joined have several shapes. "
        received = f"arrays of shape {', '.join(str(array.shape) for array in arrays[:5])}"
        raise DataError(f"{message}Received: {received}. Expected the same but for the first dimension.")
    return np.concatenate(arrays)


Position = Literal["start", "next"]
_RESUMED = "_autobatch_resumed_at"


def rebuild(flow: Any, *, batch_size: int, position: Position = "start") -> Any:
    """The same flow at another batch size; files, labels and arrays are shared, nothing is walked or copied.

    The flow that is given stays as it was, and both can be used from then on.

    Args:
        flow: What an `ImageDataGenerator`'s `flow`, `flow_from_directory` or `flow_from_dataframe` returned, or what
            this function returned.
        batch_size: Samples in a batch.
        position: `"start"` is the flow as it would be if it were built with that size. `"next"` goes on with the very
            sample that `next(flow)` would have handed out first: the rest of the current pass in its order, the last
            batch as short as need be, then whole passes. That is for `next(flow)`; `model.fit` asks for batches by
            their number and so takes whole passes of any flow, wherever `next` stands.

    Returns:
        A flow of the same class, for `model.fit`, `next(flow)` and whatever else flows are for.

    Raises:
        ArgumentError: It is none of Keras' flows, or the size isn't a whole number above 0.

    Example:
        ```python
        flow = datagen.flow_from_directory("data/train", batch_size=32)
        x, y = next(flow)  # 32 samples
        flow = autobatch.rebuild(flow, batch_size=8, position="next")
        x, y = next(flow)  # the next 8
        ```
    """
    require_flow(flow)
    require_count("A batch has a whole number of samples.", optional=False, batch_size=batch_size)
    if position not in {"start", "next"}:
        message = "A flow begins anew or goes on. "
        raise ArgumentError(f"{message}Received: position={position!r}. Expected 'start' or 'next'.")
    with flow.lock:
        new = copy.copy(flow)
        start = _taken(flow) if position == "next" else 0
    new.batch_size = int(batch_size)
    new.lock = threading.Lock()
    new.batch_index = 0
    vars(new).pop(_RESUMED, None)
    if position == "start":
        new.index_array, new.total_batches_seen = None, 0
    if start:
        new.batch_index = max(1, start // new.batch_size)  # not 0, which means that a pass is due
        setattr(new, _RESUMED, start)
    new.index_generator = _indices(new) if start else new._flow_index()
    return new


def _taken(flow: Any) -> int:
    """Samples of the current pass that `next(flow)` has handed out; 0 if a new pass is due."""
    resumed: int | None = vars(flow).get(_RESUMED)
    # Keras' reset() sets the number of the batch to 0, and a pass that is used up does so, too.
    if flow.batch_index == 0:
        return 0
    if resumed is not None:
        return resumed
    if inspect.isgenerator(flow.index_generator) and inspect.getgeneratorstate(flow.index_generator) == "GEN_CREATED":
        return 0
    return int(flow.batch_index * flow.batch_size)


def _indices(flow: Any) -> Iterator[Any]:
    """The indices of each batch: the rest of the pass that is resumed, and then Keras' own way."""
    while flow.batch_index:
        if flow.seed is not None:
            # As Keras does: what is drawn for the pictures of a batch follows from its number.
            np.random.seed(flow.seed + flow.total_batches_seen)
        start = getattr(flow, _RESUMED)
        stop = min(start + flow.batch_size, flow.n)
        flow.batch_index = flow.batch_index + 1 if stop < flow.n else 0
        setattr(flow, _RESUMED, stop if stop < flow.n else None)
        flow.total_batches_seen += 1
        yield flow.index_array[start:stop]
    setattr(flow, _RESUMED, None)
    yield from flow._flow_index()
