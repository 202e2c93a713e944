"""A mixture of which a part comes as a stream: interleaved in exact proportions."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import Any, cast

import numpy as np

from autobatch.data.adapters.mixture import interleaved, require_one_form, shares
from autobatch.data.batch import Batch, concatenate, conform
from autobatch.data.epoch import permutation
from autobatch.data.source import Source, Stream, is_source, without_saving
from autobatch.errors import ArgumentError, DataError

_BATCH = 32


class MixStream:
    """Samples of several sources and streams, which must be of one form, as one stream.

    Each part goes on in the next epoch where it stopped, and begins anew when it has come to its end. A source comes in
    an order shuffled by its own seed, a stream in its own.
    """

    repeatable = True

    def __init__(
        self,
        parts: Sequence[Source | Stream],
        weights: Sequence[float] | None = None,
        samples: int | None = None,
        *,
        seed: int,
    ) -> None:
        self.seed = seed
        self._parts = tuple(parts)
        self.given = _given(self._parts, weights, samples)
        self._few = [_few(part) for part in parts]
        require_one_form(self._few)
        self._taps: tuple[PartReader, ...] | None = None
        theirs = (note for part in parts for note in getattr(part, "notes", ()))
        share = " : ".join(f"{number:,}" for number in self.given)
        self.notes: tuple[str, ...] = (
            f"An epoch of the mixture has {sum(self.given):,} samples, {share} of its parts, evenly spread.",
            *dict.fromkeys(theirs),
        )

    @property
    def samples(self) -> int:
        return sum(self.given)

    @property
    def sample_bytes(self) -> int:
        return max(part.sample_bytes for part in self._parts)

    @property
    def batches(self) -> int:
        return -(-self.samples // _BATCH)

    def few(self) -> Batch:
        return concatenate(self._few)

    def close(self) -> None:
        """Lets go of the parts; the next pass begins them anew."""
        for tap in self._taps or ():
            tap.close()
        self._taps = None

    def open(self, epoch: int) -> Iterator[Batch]:
        if self._taps is None:
            self._taps = tuple(
                PartReader(part, first, f"part {number} of the mixture", epoch)
                for number, (part, first) in enumerate(zip(self._parts, self._few, strict=True))
            )
        order = interleaved(self.given)
        for start in range(0, len(order), _BATCH):
            yield _woven(self._taps, order[start : start + _BATCH])


class PartReader:
    """Gives the samples of one part without an end, any number at a time; `first` sets their form."""

    def __init__(self, part: Source | Stream, first: Batch, name: str, epoch: int) -> None:
        self._part, self._first, self._name = part, first.take([0]), name
        self._passes = self._pass_after_pass(epoch)
        self._ready: deque[Batch] = deque()

    def take(self, number: int) -> list[Batch]:
        parts = []
        while number:
            head = self._ready.popleft() if self._ready else next(self._passes)
            if head.size > number:
                self._ready.appendleft(head[number:])
                head = head[:number]
            parts.append(head)
            number -= head.size
        return parts

    def close(self) -> None:
        """Lets go of the part, whose threads and files may be open in the middle of a pass."""
        self._passes.close()

    def _pass_after_pass(self, first: int) -> Generator[Batch, None, None]:
        begin, end = getattr(self._part, "begin", None), getattr(self._part, "end", None)
        for epoch in count(first):
            if begin is not None:
                begin(epoch)
            empty = True
            for batch in _open(self._part, epoch):
                empty = False
                yield conform(batch, self._first, self._name)
            if end is not None:
                end(epoch)
            if empty or not getattr(self._part, "repeatable", True):
                raise DataError(
                    f"The samples of {self._name} have come to an end, so its proportion can't be kept. Expected a "
                    "part that begins anew, or fewer samples and epochs."
                )


def _woven(taps: Sequence[PartReader], parts: Any) -> Batch:
    """A batch whose first, second, ... sample comes from the part with that number."""
    taken = [batch for part, tap in enumerate(taps) for batch in tap.take(int(np.count_nonzero(parts == part)))]
    return concatenate(taken).take(np.argsort(np.argsort(parts, kind="stable")))


def _open(part: Source | Stream, epoch: int) -> Iterator[Batch]:
    if is_source(part):
        order = permutation(part.seed, epoch, len(part))
        for start in range(0, len(order), _BATCH):
            yield part.read(order[start : start + _BATCH], epoch)
    else:
        yield from cast("Stream", part).open(epoch)


def _few(part: Source | Stream) -> Batch:
    if is_source(part):
        return without_saving(part).read(range(min(4, len(part))), 0)
    return cast("Stream", part).few()


def _given(parts: Sequence[Source | Stream], weights: Sequence[float] | None, samples: int | None) -> tuple[int, ...]:
    if weights is not None and samples is not None:
        return shares(weights, samples)
    sizes = [len(part) if is_source(part) else getattr(part, "samples", None) for part in parts]
    if None in sizes:
        number, kind = sizes.index(None), type(parts[sizes.index(None)]).__name__
        raise ArgumentError(
            f"Part {number} of the mixture ({kind}) doesn't tell how many samples it has, so how long an epoch is must "
            f"be said. Received: weights={weights}, samples={samples}. Expected mix(parts, weights=[...], samples=...)."
        )
    known = [size for size in sizes if size is not None]
    return tuple(known) if weights is None else shares(weights, sum(known))
