"""An effective batch that changes from epoch to epoch, and where a run stands that had several.

Raising the batch can take the place of decaying the learning rate (Smith et al. 2018, arXiv 1711.00489).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, NamedTuple, get_args

from autobatch._arguments import require_count
from autobatch.data.epoch import number_of_updates, rungs
from autobatch.errors import ArgumentError
from autobatch.probing.request import BatchSize
from autobatch.train.learning_rate import Rule, parse_rule, scale


class Schedule:
    """The effective batch of every epoch, counted from 0.

    A function is asked once for each epoch, so that the sizes that were proven are those that are run.

    Example:
        >>> schedule = Schedule(lambda epoch: 64 * 2**epoch)
        >>> schedule.at(2), schedule.sizes(3), schedule.largest(3)
        (256, (64, 128, 256), 256)
    """

    def __init__(self, of: Callable[[int], Any]) -> None:
        self._of = of
        self._known: dict[int, int] = {}

    def at(self, epoch: int) -> int:
        if epoch not in self._known:
            size = self._of(epoch)
            if not _is_whole(size, 1):
                msg = (
                    f"The batch size of epoch {epoch} is none. "
                    f"Received: batch_size({epoch})={size!r}. Expected a whole number of samples of at least 1."
                )
                raise ArgumentError(msg)
            self._known[epoch] = int(size)
        return self._known[epoch]

    def sizes(self, epochs: int, first: int = 0) -> tuple[int, ...]:
        """The effective batches from epoch `first` to before `epochs`."""
        return tuple(self.at(epoch) for epoch in range(first, epochs))

    def largest(self, epochs: int, first: int = 0) -> int:
        """The largest of `sizes`; the effective batch of `first` where there are none."""
        return max(self.sizes(max(epochs, first + 1), first))


def parse_schedule(batch_size: Any) -> Schedule | None:
    """The schedule that was given as a batch size, `None` where it is none.

    Args:
        batch_size: Pairs of an epoch and the effective batch from then on, or a function from the number of an epoch to
            its effective batch. Anything else is not for this function.

    Example:
        >>> parse_schedule([(0, 64), (5, 128)]).sizes(7)
        (64, 64, 64, 64, 64, 128, 128)
        >>> parse_schedule(64) is None
        True
    """
    if isinstance(batch_size, list | tuple):
        return _from_pairs(batch_size)
    return Schedule(batch_size) if callable(batch_size) else None


def _from_pairs(pairs: Sequence[Any]) -> Schedule:
    if not _are_steps(pairs):
        msg = (
            f"These pairs are no schedule of batch sizes. Received: batch_size={pairs!r}. Expected pairs of an epoch "
            "and a whole number of samples of at least 1, the first for epoch 0, the epochs rising."
        )
        raise ArgumentError(msg)
    starts, sizes = zip(*pairs, strict=True)
    return Schedule(lambda epoch: sizes[bisect_right(starts, epoch) - 1])


def _are_steps(pairs: Sequence[Any]) -> bool:
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return False
    starts, sizes = zip(*pairs, strict=True)
    if not all(_is_whole(epoch, 0) for epoch in starts) or not all(_is_whole(size, 1) for size in sizes):
        return False
    return starts[0] == 0 and all(one < other for one, other in pairwise(starts))


def _is_whole(number: Any, least: int) -> bool:
    return not isinstance(number, bool) and isinstance(number, Integral) and int(number) >= least


class Position(NamedTuple):
    number: int  # the pass over the samples, counted from 0
    taken: int  # samples of that pass that were used already, fewer than it has

    @property
    def passes(self) -> int:
        """The passes that were needed to come here, a begun one included."""
        return self.number + (self.taken > 0)


BEGINNING = Position(0, 0)


def position_after(epochs: Iterable[tuple[int, int | None]], samples: int, start: Position = BEGINNING) -> Position:
    """Where a run stands after some epochs, each with an effective batch of its own.

    Neither an update nor an epoch spans two passes: they take the effective batch, or the steps that were asked for, or
    what the pass has left. Costs a division an epoch, however many updates that has.

    Example:
        >>> position_after([(4, 2), (4, 2), (8, 1)], samples=10)
        Position(number=1, taken=8)
    """
    for effective, steps in epochs:
        if steps is not None and steps < number_of_updates(samples - start.taken, effective):
            start = Position(start.number, start.taken + steps * effective)
        else:
            start = Position(start.number + 1, 0)
    return start


OnMemoryPressure = Literal["accumulate", "resize"]
BatchStatistics = int | Literal["micro"]
EffectiveBatch = BatchSize | Sequence[tuple[int, int]] | Callable[[int], int]


class Batching:
    """How the updates of a training are to be sized: its arguments, checked."""

    def __init__(
        self,
        batch_size: Any = "auto",
        on_memory_pressure: Any = "accumulate",
        scale_learning_rate: Any = None,
        batch_statistics: Any = "micro",
    ) -> None:
        if on_memory_pressure not in get_args(OnMemoryPressure):
            msg = (
                "A training cannot respond to memory pressure this way. "
                f"Received: on_memory_pressure={on_memory_pressure!r}. Expected 'accumulate' or 'resize'."
            )
            raise ArgumentError(msg)
        if batch_statistics != "micro":
            message = "Batch statistics are those of a micro-batch ('micro'), or of groups of samples."
            require_count(message, least=2, optional=False, batch_statistics=batch_statistics)
        self.group = 1 if batch_statistics == "micro" else int(batch_statistics)
        self.on_memory_pressure: OnMemoryPressure = on_memory_pressure
        self.rule: Rule | None = parse_rule(scale_learning_rate)
        self.schedule = parse_schedule(batch_size)
        self.batch_size = batch_size

    @property
    def resizes(self) -> bool:
        return self.on_memory_pressure == "resize"

    @property
    def varies(self) -> bool:
        """Whether the effective batch may change in a run."""
        return self.resizes or self.schedule is not None

    def sought(self, epochs: int, first: int) -> Any:
        """The batch size to look for: that of `fit`, the largest of a schedule."""
        return self.batch_size if self.schedule is None else self.schedule.largest(epochs, first)

    def resizing(self, reference: int) -> "Resizing | None":
        """How the learning rate and the updates follow the effective batch; `None` where they do not."""
        if not self.resizes and (self.rule is None or self.schedule is None):
            return None
        return Resizing(self.resizes, lambda size: scale(self.rule, size, reference), reference)


@dataclass(frozen=True, slots=True)
class Resizing:
    follows_memory: bool  # whether each micro-batch is an update of its own
    rate: Callable[[int], float]  # from the effective batch in force to the factor on the learning rate
    reference: int  # the effective batch that the learning rate was chosen for: the unit of a schedule's clock

    def updates_of(self, window: int, effective: int) -> float:
        """Updates of the reference batch that a window stands for; the short one at the end of a pass is whole."""
        return window / self.reference if window == effective else math.ceil(window / self.reference)


@dataclass(frozen=True, slots=True)
class Sizes:
    effective_batch_size: int  # samples behind one update of the first epoch
    micro_batch_size: int  # samples in a micro-batch at first
    largest: int  # the most samples behind one update of any epoch
    reference: int  # the effective batch that the learning rate is for: that of epoch 0
    at: Callable[[int], int] | None = None  # from the epoch to its effective batch, `None` where it is always the same


def choose_sizes(
    asked: int | None, found: int, schedule: Schedule | None, *, samples: int | None, first_epoch: int, group: int = 1
) -> Sizes:
    """The sizes of a run, in which no group of samples is cut.

    Example:
        >>> choose_sizes(256, 100, None, samples=1000, first_epoch=0)
        Sizes(effective_batch_size=256, micro_batch_size=86, largest=256, reference=256, at=None)
    """
    largest = asked or found
    at = None if schedule is None else lambda epoch: min(schedule.at(epoch), samples or schedule.at(epoch))
    effective = largest if at is None else at(first_epoch)
    return Sizes(effective, first_rung(effective, found, group), largest, effective if at is None else at(0), at)


def first_rung(effective: int, micro: int, group: int = 1) -> int:
    """The largest size that an effective batch is cut into, up to `micro`."""
    return rungs(effective, min(micro, effective), group)[0]
