"""A few samples on their way from a source to the training: the unit in which a loader reads ahead."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from autobatch.data.batch import Batch, concatenate
from autobatch.data.order import Order
from autobatch.data.source import Source
from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Window:
    """Which samples make up a chunk.

    Attributes:
        epoch: The pass it belongs to.
        indices: The samples, in order.
        of: Samples in the whole pass.
    """

    epoch: int
    indices: npt.NDArray[np.int64]
    of: int


def windows(order: Order, size: int, start_epoch: int, passes: int | None) -> Iterator[Window]:
    """The chunks of pass after pass, at most `size` samples each; no chunk spans two passes."""
    for epoch in count(start_epoch) if passes is None else range(start_epoch, start_epoch + passes):
        indices = order(epoch)
        if len(indices) == 0:
            raise ArgumentError(f"A pass needs samples. Received: none for epoch {epoch}. Expected at least one.")
        for start in range(0, len(indices), size):
            yield Window(epoch, indices[start : start + size], len(indices))


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a chunk.

    Attributes:
        batch: The samples before the first that can't be read, `None` if there are none.
        error: Why that one can't be read, `None` if all could.
    """

    batch: Batch | None
    error: Exception | None = None


def read_chunk(source: Source, indices: Any, epoch: int) -> Reading:
    """Reads the samples of a chunk, as far as they can be read.

    A chunk that fails is read once more, sample by sample: those before the bad one are good, and a fault that has
    passed meanwhile (a file server that hiccuped) costs nothing.
    """
    try:
        return Reading(source.read(indices, epoch))
    except Exception:  # noqa: BLE001 - whatever it is, the sample that raises it is found below
        return _read_singly(source, indices, epoch)


def _read_singly(source: Source, indices: Any, epoch: int) -> Reading:
    parts: list[Batch] = []
    for place in range(len(indices)):
        try:
            parts.append(source.read(indices[place : place + 1], epoch))
        except Exception as error:  # noqa: BLE001 - raised unchanged in the thread that asks for the sample
            return Reading(concatenate(parts) if parts else None, error)
    return Reading(concatenate(parts))


@dataclass(slots=True)
class Chunk:
    """A chunk that is being read or partly used.

    Attributes:
        size: Samples in it.
        of: Samples in its pass.
        nbytes: Bytes reserved for it until the last of them is taken.
        reading: The read, waiting, running or done.
        used: Samples already taken.
    """

    size: int
    of: int
    nbytes: int
    reading: "Future[Reading]"
    used: int = 0

    @property
    def left(self) -> int:
        """Samples not taken yet."""
        return self.size - self.used

    def peek(self, number: int) -> Batch:
        """The next `number` samples; waits until they have been read, and takes nothing.

        The whole of a fresh chunk is handed over as it is, anything less as views.

        Raises:
            Exception: What reading one of these samples raised.
        """
        outcome = self.reading.result()
        stop = self.used + number
        batch = outcome.batch
        if outcome.error is not None and (batch is None or batch.size < stop):
            raise outcome.error
        assert batch is not None  # noqa: S101 - a reading without an error has samples
        if outcome.error is None and batch.size != self.size:
            raise RuntimeError(f"The source was asked for {self.size} samples and returned {batch.size}.")
        return batch if number == batch.size else batch[self.used : stop]
