"""The samples of a run, in order: taken in any number, and put back when a micro-batch has to be cut again."""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from autobatch.data.batch import Batch, concatenate, with_class_weight


class Taker(Protocol):
    """What a feed draws from (`autobatch.data.prefetch.loader.Loader`)."""

    def take(self, number: int) -> Batch:
        """The next samples of the current pass."""


class Feed:
    """Hands out samples in order, each once.

    Args:
        loader: Where they come from.
        class_weight: From class number to weight.
    """

    def __init__(self, loader: Taker, class_weight: Mapping[int, float] | None = None) -> None:
        self._loader = loader
        self._class_weight = class_weight
        self._returned: deque[Batch] = deque()

    def take(self, number: int) -> Batch:
        """The next `number` samples: those that were put back first, then new ones."""
        parts: list[Batch] = []
        while number and self._returned:
            head = self._returned.popleft()
            if head.size > number:
                self._returned.appendleft(head[number:])
                head = head[:number]
            parts.append(head)
            number -= head.size
        if number:
            parts.append(with_class_weight(self._loader.take(number), self._class_weight))
        return concatenate(parts)

    def put_back(self, batch: Batch) -> None:
        """Puts the samples that were taken last in front again."""
        self._returned.appendleft(batch)
