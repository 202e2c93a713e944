"""What is written down while a run goes on: where it stands, what was decided, what was seen."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from autobatch.train.report import Decision, Event, Observation, RunReport
from autobatch.train.watch import View

_log = logging.getLogger("autobatch")


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

    Attributes:
        progress: Where the run stands; the loop keeps it up to date.
    """

    def __init__(
        self,
        report: RunReport,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress = Progress()
        self._report, self._on_event, self._clock = report, on_event, clock
        self._began_s = clock()

    def changed(self, phase: str, change: Change) -> None:
        """Writes a decision down, logs it and passes it on."""
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
        _log.warning("%s", decision)
        if self._on_event is not None:
            self._on_event(decision)

    def seen(self, phase: str, view: View, micro: int, headroom_bytes: int | None) -> None:
        """Passes a reading on."""
        if self._on_event is not None:
            at_s = view.at_s - self._began_s
            place = self.progress.epoch, self.progress.update
            self._on_event(Observation(at_s, *place, phase, micro, headroom_bytes, view.reading))

    def note(self, text: str) -> None:
        """Says something once, and keeps it."""
        if text not in self._report.notes:
            self._report.notes = (*self._report.notes, text)
            _log.warning("%s", text)
