"""Batches from a `keras.utils.PyDataset`: its own batches, each once a pass, in an order of ours."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

from autobatch.data.batch import Batch, as_batches
from autobatch.data.epoch import permutation
from autobatch.errors import DataError


class PyDatasetStream:
    """The batches of a `PyDataset` of the user's, in an order drawn from the seed as in `fit`, or as they are.

    Its `on_epoch_begin` is called when the first sample of a pass is asked for, its `on_epoch_end` when the last has
    been taken, so neither runs ahead of the training. With `workers` above 1 so many threads call its `__getitem__`.
    """

    repeatable = True
    samples: int | None = None
    open_lengths: bool | None = None

    def __init__(self, dataset: Any, *, seed: int = 0, shuffle: bool = True) -> None:
        self.seed = seed
        self._dataset = dataset
        self._shuffle = shuffle
        self._workers = max(1, int(dataset.workers))
        self._first: Batch | None = None
        self.notes: tuple[str, ...] = tuple(self._notes())

    @property
    def batches(self) -> int | None:
        """How many batches a pass has now, `None` if there is no end; the dataset may change it between passes."""
        number = self._dataset.num_batches
        return None if number is None else int(number)

    @property
    def infinite(self) -> bool:
        return self.batches is None

    @property
    def sample_bytes(self) -> int:
        return self.few().sample_bytes

    def few(self) -> Batch:
        """Batch 0, or the first that isn't empty, read once; `fit` looks at the first batches beforehand likewise."""
        if self._first is None:
            self._first = next(self._batches(self._read(self._in_order())), None)
        if self._first is None:
            name = type(self._dataset).__name__
            raise DataError(f"{name} has no samples. Expected at least one batch with a sample.")
        return self._first

    def begin(self, epoch: int) -> None:  # noqa: ARG002 - the user's method takes nothing
        self._dataset.on_epoch_begin()

    def end(self, epoch: int) -> None:  # noqa: ARG002 - the user's method takes nothing
        self._dataset.on_epoch_end()

    def open(self, epoch: int) -> Iterator[Batch]:
        indices = self._indices(epoch)
        return self._batches(self._read(indices) if self._workers == 1 else self._read_ahead(indices))

    def _batches(self, items: Iterable[Any]) -> Iterator[Batch]:
        # Keras hands over what such a dataset gives as a tuple, always.
        tuples = (item if isinstance(item, list | tuple) else (item,) for item in items)
        return as_batches(tuples, f"{type(self._dataset).__name__}.__getitem__")

    def _in_order(self) -> Iterable[int]:
        number = self.batches
        return count() if number is None else range(number)

    def _indices(self, epoch: int) -> Iterator[int]:
        number = self.batches
        if number is None or not self._shuffle:
            return iter(self._in_order())
        return (int(index) for index in permutation(self.seed, epoch, number))

    def _read(self, indices: Iterable[int]) -> Iterator[Any]:
        for index in indices:
            yield self._dataset[index]

    def _read_ahead(self, indices: Iterator[int]) -> Iterator[Any]:
        ahead: deque[Future[Any]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="autobatch-py-dataset")
        try:
            for index in indices:
                ahead.append(pool.submit(self._dataset.__getitem__, index))
                if len(ahead) > self._workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _notes(self) -> Iterator[str]:
        name, order = type(self._dataset).__name__, "are put in a new order by the seed in each pass"
        if self.infinite:
            order = "come in order without an end, so an epoch needs steps_per_epoch"
        elif not self._shuffle:
            order = "come in order"
        yield (
            f"The batches of {name} {order}; they are cut and joined as they come, each batch of a pass once. Which "
            "samples are in one, and any augmentation, are its own."
        )
        yield "One batch is read beforehand, besides the passes, to learn what samples look like, as model.fit does."
        if self._dataset.use_multiprocessing:
            yield (
                f"use_multiprocessing has no effect: {name} is read by {self._workers} thread(s) of this process, so "
                "that no process is forked beside a running TensorFlow."
            )
