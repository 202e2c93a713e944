"""What is written down while a run goes on: where it stands, what was decided, what was seen."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autobatch._logging import say
from autobatch.memory.reading import MemoryReading
from autobatch.results.run import Decision, Event, Observation, RunReport
from autobatch.train.control.state import binding
from autobatch.train.control.watcher import View
from autobatch.train.run_log import RunLog

# Between two that are kept lies at least so much of the run so far, and so many seconds: see `Thinning`.
_SHARE = 1 / 1000

_LEAST_S = 0.5

_SOONER = 1 / 10

_MOVED = 0.02


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
        """Whether to keep a reading; it counts as kept then."""
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


def device_bytes(reading: MemoryReading) -> int | None:
    """What this process occupies on all devices together, `None` where nobody tells."""
    known = [one.used_by_this_process_bytes for one in reading.devices if one.used_by_this_process_bytes is not None]
    return sum(known) if known else None


def _moved(before: int | None, now: int | None, reach_bytes: int) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(now - before) > _MOVED * reach_bytes


@dataclass(slots=True)
class Progress:
    """Where a run stands: the epoch and the update of that epoch, both counted from 0."""

    epoch: int = 0
    update: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A new size of micro-batches, as the controller reports it."""

    before: int  # samples until then
    after: int  # samples from then on
    reason: str  # why
    headroom_bytes: int | None = None  # what was left above the need of `before`, `None` where nothing was read
    returned_bytes: int | None = None  # what the system got back by it, `None` where that is not known
    held_bytes: int | None = None  # what is no longer needed and cannot be given back, `None` where that is not known


class Recorder:
    """Keeps a run's report up to date, and tells whoever wants to know."""

    def __init__(
        self,
        report: RunReport,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        log: RunLog | None = None,
        verbose: Any = 0,
    ) -> None:
        self.progress = Progress()
        self._report, self._on_event, self._clock, self._verbose = report, on_event, clock, verbose
        self._log, self._thinning = log or RunLog(clock=clock), Thinning()
        self._began_s = self._log.began_s
        self._log.tell = self.note
        if self._log.failure is not None:
            report.notes = (*report.notes, self._log.failure)  # it has been said
            self._log.noted(self._log.failure)

    def changed(self, phase: str, change: Change) -> None:
        """Writes a decision down, says it and passes it on."""
        decision = Decision(
            self.progress.epoch,
            self.progress.update,
            phase,
            change.before,
            change.after,
            change.reason,
            self._clock() - self._began_s,
            change.headroom_bytes,
            change.returned_bytes,
            change.held_bytes,
        )
        self._report.decisions.append(decision)
        self._log.decided(decision)
        say(str(decision), self._verbose)
        if self._on_event is not None:
            self._on_event(decision)

    def seen(self, phase: str, view: View, micro: int, headroom_bytes: int | None) -> None:
        """Keeps a reading, unless it tells nothing new, and passes it on."""
        at_s, place = view.at_s - self._began_s, (self.progress.epoch, self.progress.update)
        room = binding(view.rooms)
        observation = Observation(
            at_s,
            *place,
            phase,
            micro,
            headroom_bytes,
            rss_bytes=view.reading.process.rss_bytes,
            device_bytes=device_bytes(view.reading),
            budget_bytes=None if room is None else room.budget_bytes,
            limit=None if room is None else room.limit,
            reading=view.reading,
        )
        if self._thinning.keeps(at_s, micro, headroom_bytes, 0 if room is None else room.reach_bytes):
            self._report.observations.append(observation.without_reading())
            self._log.observed(observation, None if room is None else room.available_bytes)
        if self._on_event is not None:
            self._on_event(observation)

    def note(self, text: str) -> None:
        """Says something once, and keeps it."""
        if text not in self._report.notes:
            self._report.notes = (*self._report.notes, text)
            self._log.noted(text)
            say(text, self._verbose)

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Writes the logs of an epoch down."""
        self._log.epoch_ended(epoch, logs)
