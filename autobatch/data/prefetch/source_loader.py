"""Samples in order, read ahead by threads, within a bound of bytes, and cut when they are taken."""

import os
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from autobatch._arguments import require_count
from autobatch.data.batch import Batch, concatenate
from autobatch.data.epoch import Order, sequential, shuffled
from autobatch.data.source import Loader, Source
from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Window:
    """Which samples make up a chunk: `indices`, in order, of a pass of `of` samples."""

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
    """What came of reading a chunk: the samples before the first that can't be read, and why that one can't."""

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
    """A chunk that is being read or partly used, of a pass of `of` samples; its bytes are reserved until then."""

    size: int
    of: int
    nbytes: int
    reading: "Future[Reading]"
    used: int = 0

    @property
    def left(self) -> int:
        return self.size - self.used

    def peek(self, number: int) -> Batch:
        """The next `number` samples; waits for them, takes nothing, and raises what reading them raised.

        The whole of a fresh chunk is handed over as it is, anything less as views.
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


_CHUNK_BYTES = 4 * 2**20
_CHUNK_SAMPLES = 8, 32
_CHUNKS_PER_WORKER = 8
_NOTHING = "There would be nothing to read."


class SourceLoader(Loader):
    """Hands out the samples of pass after pass, any number at a time, and reads ahead meanwhile.

    Worker threads read small chunks in the order of use, from the moment the loader is made. How many samples are taken
    at a time has no influence on what is read: chunks are split and joined as they are taken, and nothing is dropped.
    Ahead are at most 8 chunks for each worker, or what the two largest batches so far would take, within `max_bytes`,
    but one chunk is always allowed; bytes count from when a chunk's reading is ordered until it is taken. The arrays of
    a batch belong to the caller. `take` and `close` are for one thread at a time.
    """

    def __init__(
        self,
        source: Source,
        *,
        order: Order | None = None,
        shuffle: bool = True,
        start_epoch: int = 0,
        passes: int | None = None,
        workers: int | None = None,
        max_bytes: int = 256 * 2**20,
        chunk: int | None = None,
    ) -> None:
        workers = min(8, usable_cores()) if workers is None else workers
        require_count(_NOTHING, workers=workers, max_bytes=max_bytes, chunk=chunk, passes=passes)
        if order is None:
            order = shuffled(source.seed, len(source)) if shuffle else sequential(len(source))
        self._source = source
        self._sample_bytes = source.sample_bytes
        self._max_bytes = max_bytes
        self._chunk = chunk or _chunk_samples(self._sample_bytes, max_bytes, workers)
        self._most_chunks = _CHUNKS_PER_WORKER * workers
        self._plan = windows(order, self._chunk, start_epoch, passes)
        self._planned = next(self._plan, None)
        self._ahead: deque[Chunk] = deque()
        self._bytes_ahead = 0
        self.epoch, self.position = start_epoch, 0
        self._length = self._planned.of if self._planned else 0
        self._closed = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="autobatch-loader")
        # A loader that is dropped without being closed must not leave its threads reading.
        self._abandon = weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._read_ahead()

    @property
    def remaining(self) -> int:
        return self._length - self.position

    @property
    def ended(self) -> bool:
        return self.remaining == 0

    def window(self, effective: int) -> int:
        return min(effective, self.remaining or self._ahead[0].of) if self._ahead else 0

    @property
    def bytes_ahead(self) -> int:
        """Bytes of the chunks that are waiting to be read, being read, or read and not yet wholly taken."""
        return self._bytes_ahead

    def take(self, number: int) -> Batch:
        require_count(_NOTHING, number=number)
        if self._closed:
            raise ArgumentError("The loader is closed. Received: take() after close(). Expected a loader in use.")
        if not self._ahead:
            raise ArgumentError(f"The last pass (epoch {self.epoch}) is used up. Received: take(number={number}).")
        fresh = self.remaining == 0
        left = self.remaining or self._ahead[0].of
        if number > left:
            message = f"The pass of epoch {self.epoch + fresh} has {left:,} samples left, and a batch never spans two."
            raise ArgumentError(f"{message} Received: number={number}. Expected at most {left}.")
        # Tiny samples would be read ahead for hours if bytes alone were the bound.
        self._most_chunks = max(self._most_chunks, -(-2 * number // self._chunk))
        batch = self._gather(number)
        if fresh:
            self.epoch, self.position, self._length = self.epoch + 1, 0, left
        self.position += number
        return batch

    def close(self) -> None:
        """Waits for the reads that are running, cancels the rest, and leaves no thread behind."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._abandon.detach()  # not before: Ctrl-C may come between the two
        self._ahead.clear()
        self._bytes_ahead = 0

    def _gather(self, number: int) -> Batch:
        head = self._ahead[0]
        if number == head.size == head.left:
            batch = head.peek(number)
            self._use(head, number)
            return batch
        batch, filled = head.peek(min(number, head.left)).room_for(number), 0
        try:
            while filled < number:
                head = self._ahead[0]
                count = min(head.left, number - filled)
                batch.fill(filled, head.peek(count))
                filled += count
                self._use(head, count)
        except BaseException:
            self._give_back(batch, filled, head.of)
            raise
        return batch

    def _use(self, head: Chunk, count: int) -> None:
        head.used += count
        if head.left == 0:
            self._ahead.popleft()
            self._bytes_ahead -= head.nbytes
        self._read_ahead()

    def _give_back(self, batch: Batch, filled: int, of: int) -> None:
        """Puts samples that were gathered before a failure in front again; for once, the bound may be exceeded."""
        if filled == 0:
            return
        done: Future[Reading] = Future()
        done.set_result(Reading(batch[:filled]))
        nbytes = filled * self._sample_bytes
        self._ahead.appendleft(Chunk(filled, of, nbytes, done))
        self._bytes_ahead += nbytes

    def _read_ahead(self) -> None:
        while self._planned is not None:
            window = self._planned
            nbytes = len(window.indices) * self._sample_bytes
            full = self._bytes_ahead + nbytes > self._max_bytes or len(self._ahead) >= self._most_chunks
            if full and self._ahead:
                return
            reading = self._pool.submit(read_chunk, self._source, window.indices, window.epoch)
            self._ahead.append(Chunk(len(window.indices), window.of, nbytes, reading))
            self._bytes_ahead += nbytes
            self._planned = None  # so that nothing is read twice should the caller's order raise
            self._planned = next(self._plan, None)


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunk_samples(sample_bytes: int, max_bytes: int, workers: int) -> int:
    """Samples in a chunk: about 4 MiB, but so few that each worker has one while another waits to be taken."""
    fewest, most = _CHUNK_SAMPLES
    wanted = min(most, max(fewest, _CHUNK_BYTES // max(1, sample_bytes)))
    return max(1, min(wanted, max_bytes // max(1, sample_bytes * (workers + 1))))
