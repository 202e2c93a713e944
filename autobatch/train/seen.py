"""What is kept of a reading: few enough numbers that a run of days can keep thousands of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.memory.reading import MemoryReading
from autobatch.train.sight import Room

# Between two that are kept lies at least so much of the run so far, and so many seconds: see `Thinning`.
_SHARE = 1 / 1000
_LEAST_S = 0.5
_SOONER = 1 / 10
_MOVED = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading of memory while training.

    Attributes:
        at_s: Seconds since the run began.
        epoch: The epoch, counted from 0.
        update: The update of that epoch, counted from 0.
        phase: `"training"` or `"validation"`.
        micro: Samples in a micro-batch.
        headroom_bytes: What was left above the need of such a micro-batch, `None` where the need is not known.
        rss_bytes: What the process occupied on the host.
        device_bytes: What it occupied on all devices together, `None` where nobody tells.
        budget_bytes: The most that it should have occupied of the binding limit.
        limit: Which limit that was.
    """

    at_s: float
    epoch: int
    update: int
    phase: str
    micro: int
    headroom_bytes: int | None
    rss_bytes: int
    device_bytes: int | None
    budget_bytes: int | None
    limit: str | None


class Thinning:
    """Says which readings are worth keeping.

    One is kept when the last one is older than a thousandth of the run, and than half a second; already after a tenth
    of that when the micro-batch is another, or the headroom has moved by more than 2 % of the reach. So after t seconds
    there are at most 1,001 + 1,000 ln(t / 500 s) of them while memory is calm (6,200 after a day), and never more than
    ten times as many, whatever happens.
    """

    def __init__(self) -> None:
        self._last: tuple[float, int, int | None] | None = None

    def keeps(self, at_s: float, micro: int, headroom_bytes: int | None, reach_bytes: int) -> bool:
        """Whether to keep a reading; it counts as kept then.

        Args:
            at_s: Seconds since the run began.
            micro: Samples in a micro-batch.
            headroom_bytes: What is left above its need.
            reach_bytes: The most that this process could occupy.
        """
        if self._last is not None and not self._is_due(at_s, micro, headroom_bytes, reach_bytes):
            return False
        self._last = at_s, micro, headroom_bytes
        return True

    def _is_due(self, at_s: float, micro: int, headroom_bytes: int | None, reach_bytes: int) -> bool:
        assert self._last is not None  # noqa: S101 - asked from the second reading on
        last_s, last_micro, last_headroom = self._last
        interval_s = max(_LEAST_S, at_s * _SHARE)
        if at_s - last_s >= interval_s:
            return True
        changed = micro != last_micro or _moved(last_headroom, headroom_bytes, reach_bytes)
        return changed and at_s - last_s >= interval_s * _SOONER


def binding(rooms: Mapping[str, Room]) -> Room | None:
    """The tightest of what each resource allows, `None` where there is nothing."""
    return min(rooms.values(), key=_free, default=None)


def device_bytes(reading: MemoryReading) -> int | None:
    """What this process occupies on all devices together, `None` where nobody tells."""
    known = [one.used_by_this_process_bytes for one in reading.devices if one.used_by_this_process_bytes is not None]
    return sum(known) if known else None


def _free(room: Room) -> int:
    return room.available_bytes - room.reserve_bytes


def _moved(before: int | None, now: int | None, reach_bytes: int) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(now - before) > _MOVED * reach_bytes
