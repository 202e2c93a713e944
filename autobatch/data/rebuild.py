"""The same flow of an `ImageDataGenerator` at another batch size, without walking its folder again."""

import copy
import inspect
import threading
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from autobatch.data.keras_flow import require_flow
from autobatch.data.whole import require_whole
from autobatch.errors import ArgumentError

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
    require_whole("A batch has a whole number of samples.", batch_size=batch_size)
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
    new.index_generator = _going_on(new, start) if start else new._flow_index()
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


def _going_on(flow: Any, start: int) -> Iterator[Any]:
    """The indices of each batch: the rest of the pass from `start`, and then Keras' own way."""
    # Not 0, which means that a pass is due.
    flow.batch_index = max(1, start // flow.batch_size)
    setattr(flow, _RESUMED, start)
    return _indices(flow)


def _indices(flow: Any) -> Iterator[Any]:
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
