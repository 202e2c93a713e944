"""Batches of a stream on their way to the training: one thread reads them in order, within a bound of bytes."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from autobatch.data.batch import Batch, conform
from autobatch.data.source import Stream
from autobatch.errors import DataError

_FEWEST_AHEAD = 16


@dataclass(slots=True)
class WaitingBatch:
    """A batch of which `used` samples have been taken; views of a part keep the whole in memory."""

    batch: Batch
    used: int = 0

    @property
    def left(self) -> int:
        return self.batch.size - self.used


@dataclass(frozen=True, slots=True)
class EndOfPass:
    """Stands behind the last batch of a pass."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands where an error stopped the reading; `ending` if the stream's `end` raised it, after the pass."""

    error: BaseException
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many samples are ready, as far as they belong together, and what stops them; no stop if more may come."""

    samples: int
    stop: EndOfPass | Failure | None


class StreamQueue:
    """The queue between the thread that reads and the one that takes; the items in it are in order.

    A stream with the methods `begin(epoch)` and `end(epoch)` is told of its passes in step with the training: a pass is
    begun when it is asked for, and ended when its last sample has been taken, and nothing is read in between.

    At most `max_bytes` of batches wait. One is always allowed, and while somebody waits for more samples than that, as
    many as it takes. Small ones are at most 16, or twice what was asked for at once.
    """

    def __init__(self, stream: Stream, epochs: Iterator[int], max_bytes: int) -> None:
        self._stream, self._epochs, self._max_bytes = stream, epochs, max_bytes
        self._items: deque[WaitingBatch | EndOfPass | Failure] = deque()
        self._changed = threading.Condition()
        self._stops: deque[EndOfPass | Failure] = deque()
        self._ready = self._bytes = self._largest = 0
        self._wanted = self._most_wanted = self._asked = self._left_behind = 0
        self._first: Batch | None = None
        self._closed = self._finished = False

    @property
    def bytes_ahead(self) -> int:
        return self._bytes

    def outlook(self, samples: int) -> Outlook:
        """Waits until so many samples are ready, or it is known what comes before that."""
        with self._changed:
            self._wanted, self._asked = samples, self._left_behind + 1
            self._most_wanted = max(self._most_wanted, samples)
            self._changed.notify_all()
            # The thread reads past its bound of bytes while somebody wants more than lies ready, else both would wait.
            self._changed.wait_for(lambda: self._ready >= samples or self._stands_still())
            self._wanted = 0
            return Outlook(self._ready, self._stops[0] if self._stops else None)

    def left_of_next(self) -> int:
        """How many samples the next batch has left; call it when there are some."""
        with self._changed:
            head = self._items[0]
            return head.left if isinstance(head, WaitingBatch) else 0

    def pop(self, samples: int) -> list[Batch]:
        parts = []
        with self._changed:
            while samples:
                head = self._items[0]
                assert isinstance(head, WaitingBatch)  # noqa: S101 - the caller has looked
                number = min(samples, head.left)
                whole = number == head.batch.size
                parts.append(head.batch if whole else head.batch[head.used : head.used + number])
                head.used += number
                samples -= number
                self._ready -= number
                if not head.left:
                    self._items.popleft()
                    self._bytes -= head.batch.nbytes
            self._changed.notify_all()
        return parts

    def leave_pass(self) -> None:
        """Goes past the end of a pass, which must come next."""
        with self._changed:
            self._items.popleft()
            self._stops.popleft()
            self._left_behind += 1
            self._ready = _samples_before_a_stop(self._items)
            self._changed.notify_all()

    @property
    def failed_ending(self) -> BaseException | None:
        """What ending a pass raised, whether or not somebody has asked for more samples since."""
        with self._changed:
            ending = (stop.error for stop in self._stops if isinstance(stop, Failure) and stop.ending)
            return next(ending, None)

    def close(self) -> None:
        """Lets the thread come to an end after the batch that it is reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._items.clear()
            self._stops.clear()
            self._ready, self._bytes, self._first = 0, 0, None

    def run(self) -> None:
        """Reads until the last pass has ended, something fails or the queue is closed: what the thread does."""
        try:
            for number, epoch in enumerate(self._epochs):
                if not self._one_pass(number, epoch):
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where its sample is asked for
            self._put(Failure(error))
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _one_pass(self, number: int, epoch: int) -> bool:
        """Reads a pass; `False` if the queue was closed meanwhile."""
        begin, end = getattr(self._stream, "begin", None), getattr(self._stream, "end", None)
        if begin is not None:
            if not self._wait(lambda: self._asked > number):
                return False
            begin(epoch)
        if not self._read(epoch):
            return False
        self._put(EndOfPass())
        if end is not None:
            # A pass that is wholly taken has ended, even if the training stops there.
            with self._changed:
                self._changed.wait_for(lambda: self._is_used_up(number) or self._closed)
                used_up = self._is_used_up(number)
            if used_up:
                return self._end(end, epoch) and not self._closed
        return not self._closed

    def _end(self, end: Callable[[int], None], epoch: int) -> bool:
        try:
            end(epoch)
        except BaseException as error:  # noqa: BLE001 - it is raised where more is asked for, or when the loader is left
            self._put(Failure(error, ending=True))
            return False
        return True

    def _read(self, epoch: int) -> bool:
        batches, none_yet = self._stream.open(epoch), True
        try:
            while self._wait(self._has_room):
                batch = next(batches, None)
                if batch is None:
                    if none_yet:
                        raise DataError(f"The data have come to an end: there are no samples in pass {epoch}.")
                    return True
                self._put(WaitingBatch(self._conforming(batch)))
                none_yet = False
            return False
        finally:
            close_if_it_can(batches)

    def _conforming(self, batch: Batch) -> Batch:
        if self._first is None:
            self._first = batch.take([0])  # copied, because a view would keep the whole batch
        lengths = not getattr(self._stream, "apart", None)
        return conform(batch, self._first, f"this {type(self._stream).__name__}", lengths=lengths)

    def _stands_still(self) -> bool:
        return self._finished or self._closed or bool(self._stops)

    def _is_used_up(self, number: int) -> bool:
        """Whether all samples of a pass have been taken; its end has been put."""
        return self._left_behind > number or isinstance(self._items[0], EndOfPass)

    def _has_room(self) -> bool:
        few = len(self._items) < _FEWEST_AHEAD or self._ready < 2 * self._most_wanted
        fits = few and self._bytes + self._largest <= self._max_bytes
        # Nothing waits, or somebody does.
        return fits or self._bytes == 0 or (not self._stops and self._ready < self._wanted)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition; `False` if the queue has been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or condition())
            return not self._closed

    def _put(self, item: WaitingBatch | EndOfPass | Failure) -> None:
        with self._changed:
            self._items.append(item)
            if isinstance(item, WaitingBatch):
                self._bytes += item.batch.nbytes
                self._largest = max(self._largest, item.batch.nbytes)
                self._ready += 0 if self._stops else item.left
            else:
                self._stops.append(item)
            self._changed.notify_all()


def _samples_before_a_stop(items: Iterable[WaitingBatch | EndOfPass | Failure]) -> int:
    samples = 0
    for item in items:
        if not isinstance(item, WaitingBatch):
            break
        samples += item.left
    return samples


def close_if_it_can(holder: Any) -> None:
    """Ends what holds threads or files of ours; what the user made is not ended, only what wraps it."""
    close = getattr(holder, "close", None)
    if close is not None:
        close()
