"""Batches from a Python generator: one pass, as they come."""

import inspect
from collections import deque
from collections.abc import Iterator
from typing import Any

from autobatch.data.batch import Batch, as_batches, shown
from autobatch.errors import ArgumentError, DataError

_NOTES = (
    "The order and any augmentation are the batch generator's own: its batches are cut and joined, each sample once.",
    "One batch is drawn from the batch generator ahead, to learn what samples look like; the training gets it first.",
    "A batch generator can't go back: what has been read ahead when the training stops is not seen again.",
    "Where the batch generator ends, the training ends, whatever epochs says.",
)


class BatchGeneratorStream:
    """The batches of a Python generator, or of any iterator, in its own order and only once."""

    repeatable = False
    batches: int | None = None
    samples: int | None = None
    open_lengths: bool | None = None

    def __init__(self, generator: Iterator[Any], *, seed: int = 0) -> None:
        if not hasattr(generator, "__next__"):
            raise ArgumentError(
                "A batch generator is read batch after batch, and this has no next one. If it is a function that "
                f"yields, call it. Received: data={shown(generator)}. Expected a batch generator or another iterator."
            )
        self.seed = seed
        self._generator = generator
        self._drawn: deque[Batch] = deque()
        self._sample_bytes: int | None = None
        self.notes: tuple[str, ...] = _NOTES

    @property
    def sample_bytes(self) -> int:
        if self._sample_bytes is None:
            self.few()
        return self._sample_bytes or 1

    def few(self) -> Batch:
        """The first batch that is still to come; the pass begins with it all the same."""
        if not self._drawn:
            first = next(self._rest(), None)
            if first is None:
                raise DataError("The batch generator has no batch to give. If it has been used before, make a new one.")
            self._drawn.append(first)
        self._sample_bytes = self._drawn[0].sample_bytes
        return self._drawn[0]

    def open(self, epoch: int) -> Iterator[Batch]:  # noqa: ARG002 - there is only one pass
        """The batches from where the generator stands; closing this iterator does not close the generator."""
        while self._drawn:
            yield self._drawn.popleft()
        yield from self._rest()

    def _rest(self) -> Iterator[Batch]:
        return as_batches(self._items(), "the batch generator")

    def _items(self) -> Iterator[Any]:
        for item in self._generator:
            if isinstance(item, list):
                # Keras reads a list from a generator neither as (x, y) nor as several inputs: it refuses it.
                raise DataError(
                    "A list from the batch generator could be (x, y) or several inputs. "
                    f"Received: {shown(item)}. Expected a tuple: (x, y), or ([x1, x2],)."
                )
            yield item


def is_uncalled(data: Any) -> bool:
    """Whether it is a function that makes a batch generator (also a method, a `functools.partial`), not yet called."""
    return inspect.isgeneratorfunction(data)
