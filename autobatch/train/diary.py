"""What is written down while a run goes on: where it stands, what was decided, what was seen."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autobatch.train.report import Decision, Event, Observation, RunReport
from autobatch.train.run_log import RunLog
from autobatch.train.saying import say
from autobatch.train.seen import Seen, Thinning, binding, device_bytes
from autobatch.train.watch import View


@dataclass(slots=True)
class Progress:
    """Where a run stands: the epoch and the update of that epoch, both counted from 0."""

    epoch: int = 0
    update: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A new size of micro-batches, as the controller reports it.

    Attributes:
        before: Samples until then.
        after: Samples from then on.
        reason: Why.
        headroom_bytes: What was left above the need of `before`, `None` where nothing was read.
        returned_bytes: What the system got back by it, `None` where that is not known.
        held_bytes: What is no longer needed and cannot be given back, `None` where that is not known.
    """

    before: int
    after: int
    reason: str
    headroom_bytes: int | None = None
    returned_bytes: int | None = None
    held_bytes: int | None = None


class Diary:
    """Keeps a run's report up to date, and tells whoever wants to know.

    Args:
        report: The report.
        on_event: Called with every decision and every observation; what it raises ends the training.
        clock: Seconds that never go back.
        log: The run's log on disk; it says when the run began.
        verbose: 0 prints nothing; decisions and notes are logged then, and nothing else.

    Attributes:
        progress: Where the run stands; the loop keeps it up to date.
    """

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
        if self._thinning.keeps(at_s, micro, headroom_bytes, 0 if room is None else room.reach_bytes):
            seen = Seen(
                at_s,
                *place,
                phase,
                micro,
                headroom_bytes,
                rss_bytes=view.reading.process.rss_bytes,
                device_bytes=device_bytes(view.reading),
                budget_bytes=None if room is None else room.budget_bytes,
                limit=None if room is None else room.limit,
            )
            self._report.observations.append(seen)
            self._log.observed(seen, None if room is None else room.available_bytes, view.reading)
        if self._on_event is not None:
            self._on_event(Observation(at_s, *place, phase, micro, headroom_bytes, view.reading))

    def note(self, text: str) -> None:
        """Says something once, and keeps it."""
        if text not in self._report.notes:
            self._report.notes = (*self._report.notes, text)
            self._log.noted(text)
            say(text, self._verbose)

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Writes the logs of an epoch down."""
        self._log.epoch_ended(epoch, logs)
