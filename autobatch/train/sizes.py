"""The effective batch and the micro-batch that a run begins with, from what was asked and what was found."""

from collections.abc import Callable
from dataclasses import dataclass

from autobatch.data.splitting import rungs
from autobatch.train.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many samples stand behind an update, and how many are run at once.

    Attributes:
        effective: Samples behind one update of the first epoch.
        micro: Samples in a micro-batch at first.
        largest: The most samples behind one update of any epoch.
        reference: The effective batch that the learning rate is for: that of epoch 0.
        at: From the epoch to its effective batch, `None` where it is always the same.
    """

    effective: int
    micro: int
    largest: int
    reference: int
    at: Callable[[int], int] | None = None


def sizes_for(
    asked: int | None, found: int, schedule: Schedule | None, *, samples: int | None, first_epoch: int
) -> Sizes:
    """The sizes of a run.

    Args:
        asked: The effective batch that was looked for, `None` where what was found is to be it.
        found: The size that was found.
        schedule: The effective batch of each epoch, if it changes.
        samples: How many samples there are, `None` if that is not known.
        first_epoch: The epoch that the run begins with.

    Example:
        >>> sizes_for(256, 100, None, samples=1000, first_epoch=0)
        Sizes(effective=256, micro=86, largest=256, reference=256, at=None)
    """
    largest = asked or found
    at = None if schedule is None else lambda epoch: min(schedule.at(epoch), samples or schedule.at(epoch))
    effective = largest if at is None else at(first_epoch)
    return Sizes(effective, first_rung(effective, found), largest, effective if at is None else at(0), at)


def first_rung(effective: int, micro: int) -> int:
    """The largest size that an effective batch is cut into, up to `micro`."""
    return rungs(effective, min(micro, effective))[0]
