"""Where the samples of a run come from: pass after pass over a source, or a stream as it comes.

An epoch is so many updates, or one pass. What is known beforehand differs: a source tells how many samples a pass has,
a stream only once it has ended.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from autobatch.data.batch import Batch, concatenate, with_class_weight
from autobatch.data.epoch import number_of_updates, sequential, shuffled
from autobatch.data.open import most_samples
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.data.source import Loader, Source, Stream, is_source
from autobatch.train.checkpoint.store import CheckpointState
from autobatch.train.schedule import Position, position_after


@dataclass(frozen=True, slots=True)
class PassOptions:
    effective_of: Callable[[int], int]  # from the epoch to its effective batch
    steps_per_epoch: int | None = None  # updates in an epoch; one pass if `None`
    shuffle: bool = True  # whether samples are put in a new order in every pass; a stream has its own
    workers: int | None = None  # threads that read a source
    max_bytes: int = 64 * 2**20  # the most to read ahead


def one_pass(data: Source | Stream, *, workers: int | None, max_bytes: int) -> SourceLoader | StreamLoader:
    """One pass over all samples in their own order."""
    if is_source(data):
        return SourceLoader(data, shuffle=False, passes=1, workers=workers, max_bytes=max_bytes)
    return StreamLoader(cast("Stream", data), passes=1, max_bytes=max_bytes)


class SourcePasses:
    """Passes over samples that can be read in any order."""

    loader: Loader  # what samples are taken from, once it is open
    only_one = False  # whether there is one pass only, which may come to its end before the last epoch does

    def __init__(self, source: Source, reading: PassOptions) -> None:
        self._source, self._reading, self.seed = source, reading, source.seed
        self._first_pass = 0
        self._of_epoch = -1, 0  # an epoch, and the updates that its pass has left
        self.skipped = 0  # samples of the first pass that an earlier run has used

    @property
    def length(self) -> int:
        return len(self._source)

    def updates(self, epoch: int) -> int:
        if epoch != self._of_epoch[0]:
            left = self.length - self._position_before(epoch).taken
            self._of_epoch = epoch, number_of_updates(left, self._reading.effective_of(epoch))
        return min(self._of_epoch[1], self._reading.steps_per_epoch or self._of_epoch[1])

    def open(self, first: int, epochs: int, resumed: CheckpointState | None) -> Loader:
        """The samples from the next one on, as a run from the beginning would have come to them."""
        first_pass, taken = self._position_before(first)
        if resumed is not None and resumed.epoch == first:
            first_pass, taken = resumed.pass_number, resumed.position
        self._first_pass, self.skipped = first_pass, taken
        order = shuffled(self.seed, self.length) if self._reading.shuffle else sequential(self.length)

        def remaining(number: int) -> Any:
            return order(number)[taken:] if number == first_pass else order(number)

        self.loader = SourceLoader(
            self._source,
            order=remaining,
            start_epoch=first_pass,
            # None may be left, if only the end of the last epoch is still to come.
            passes=max(1, self._position_before(epochs).passes - first_pass),
            workers=self._reading.workers,
            max_bytes=self._reading.max_bytes,
        )
        return self.loader

    def end_pass(self) -> int:
        """Samples of the pass that has just been used up."""
        return self.length

    def position(self) -> tuple[int, int]:
        """The pass that the next update draws from, and the samples taken from it."""
        number, taken = self.loader.epoch, self.loader.position
        taken += self.skipped if number == self._first_pass else 0
        return (number + 1, 0) if taken == self.length else (number, taken)

    def _position_before(self, epoch: int) -> Position:
        reading = self._reading
        return position_after(((reading.effective_of(e), reading.steps_per_epoch) for e in range(epoch)), self.length)


class StreamPasses:
    """Passes over batches as they come."""

    loader: Loader
    skipped = 0

    def __init__(self, stream: Stream, reading: PassOptions) -> None:
        self._stream, self._reading, self.seed = stream, reading, stream.seed
        # Those of the last pass, or as many as it may have; `None` where that is not known, or tells no updates.
        self._apart = bool(getattr(stream, "apart", None))
        self.length: int | None = None if self._apart else most_samples(stream)
        self.only_one = not stream.repeatable

    def updates(self, epoch: int) -> int | None:
        """How many updates an epoch has at most; `None` if it goes on until the pass is used up."""
        del epoch
        return self._reading.steps_per_epoch

    def open(self, first: int, epochs: int, resumed: CheckpointState | None) -> Loader:
        """The samples from the beginning: a stream cannot be entered in the middle."""
        assert resumed is None  # noqa: S101 - checkpoints of streams are refused before
        whole = self._reading.steps_per_epoch is None
        self.loader = StreamLoader(
            self._stream,
            passes=epochs - first if whole else None,
            start_epoch=first if whole else 0,
            max_bytes=self._reading.max_bytes,
        )
        return self.loader

    def end_pass(self) -> int:
        """Samples of the pass that has just ended; the next one is expected to have as many."""
        self.length = None if self._apart else self.loader.position
        return self.loader.position

    def position(self) -> tuple[int, int]:
        return self.loader.epoch, self.loader.position


Passes = SourcePasses | StreamPasses


def passes_of(data: Source | Stream, reading: PassOptions) -> Passes:
    return SourcePasses(data, reading) if is_source(data) else StreamPasses(cast("Stream", data), reading)


class Feed:
    """Hands out samples in order, each once."""

    def __init__(self, loader: Loader, class_weight: Mapping[int, float] | None = None) -> None:
        self._loader = loader
        self._class_weight = class_weight
        self._returned: deque[Batch] = deque()

    def take(self, number: int) -> Batch:
        """The next samples: those that were put back first, then new ones."""
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
