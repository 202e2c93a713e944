"""What a run decides, sees and notes, passed on to its report, its log and the `on_event` hook.

Everything that a run has to tell comes through the `Recorder`. Another exporter (MLflow, TensorBoard) is told here,
next to the log (`jsonl_log.py`), or listens as `on_event`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

from autobatch._logging import say
from autobatch.backend import read_memory_here
from autobatch.memory.reading import MemoryReading
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Decision, Event, Observation, RunReport
from autobatch.results.trial import Trial
from autobatch.train.control.state import PolicyDecision, Snapshot, binding
from autobatch.train.jsonl_log import JsonlLog, open_jsonl_log

# Between two that are kept lies at least so much of the run so far, and so many seconds: see `Thinning`.
_SHARE, _LEAST_S = 1 / 1000, 0.5
_SOONER, _MOVED = 1 / 10, 0.02


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
        if self._last is not None:
            last_s, last_micro, last_headroom = self._last
            changed = micro != last_micro or _moved(last_headroom, headroom_bytes, reach_bytes)
            if at_s - last_s < max(_LEAST_S, at_s * _SHARE) * (_SOONER if changed else 1):
                return False
        self._last = at_s, micro, headroom_bytes
        return True


def device_bytes(reading: MemoryReading) -> int | None:
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


class Recorder:
    """Is told everything that a run decides, sees and notes, and keeps report, log and hook informed.

    Notes from before the run begins are said together with its size, later ones at once; each is said once.

    Attributes:
        progress: Where the run stands; the loop keeps it up to date.
        report: The report of the run, `None` before it begins.
    """

    def __init__(
        self,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        log: JsonlLog | None = None,
        verbose: Any = 0,
    ) -> None:
        self.progress = Progress()
        self.report: RunReport | None = None
        self._on_event, self._clock, self._verbose = on_event, clock, verbose
        self._log, self._thinning = log or JsonlLog(clock=clock), Thinning()
        self._began_s = self._log.began_s
        self._readings: list[MemoryReading] = []
        self._notes: list[str] = []
        self._said: set[str] = set()
        self._log.tell = self.warn
        if self._log.failure is not None:  # it has been said
            self._notes.append(self._log.failure)
            self._said.add(self._log.failure)

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, log_dir: str | PathLike[str] | None, on_event: Callable[[Event], None] | None, verbose: Any
    ) -> Iterator[Self]:
        """A recorder with a log, if there is a folder for it, that also says how the run ended."""
        with open_jsonl_log(log_dir, lambda text: say(text, verbose)) as log:
            yield cls(on_event, log=log, verbose=verbose)

    def note(self, *texts: str) -> None:
        """Says something once, and keeps it."""
        for text in texts:
            if self.report is not None:
                self.warn(text)
            elif text not in self._notes:
                self._notes.append(text)

    def warn(self, text: str) -> None:
        """Says what goes wrong once, at once, and keeps it."""
        if text in self._notes:
            return
        self._notes.append(text)
        self._said.add(text)
        if self.report is not None:
            self.report.notes = (*self.report.notes, text)
            self._log.add_note(text)
        say(text, self._verbose)

    def add_trial(self, trial: Trial) -> None:
        self._log.add_trial(trial)

    def add_probe(self, found: ProbeResult) -> None:
        self._log.add_probe(found)
        self.note(*found.notes)

    def add_reading(self) -> None:
        """Reads the memory and keeps what it reads."""
        try:
            self._readings.append(read_memory_here())
        except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the training does not depend on it
            self.note(f"Memory could not be read ({error!r}).")

    def begin(self, found: ProbeResult, effective: int, micro: int, seed: int) -> RunReport:
        """The run begins with these sizes: says so with all notes so far."""
        log_file = None if self._log.path is None else str(self._log.path)
        said = [text for text in self._notes if text in self._said]
        unsaid = tuple(text for text in self._notes if text not in said)
        self.report = RunReport(effective, micro, seed, found, self._readings, unsaid, log_file=log_file)
        self.report.say(self._verbose)
        self._log.add_begin(self.report)
        for text in said:
            self._log.add_note(text)
        self.report.notes = tuple(self._notes)
        return self.report

    def decide(
        self,
        phase: str,
        decision: PolicyDecision,
        headroom_bytes: int | None = None,
        returned_bytes: int | None = None,
        held_bytes: int | None = None,
    ) -> None:
        """Writes a decision down, says it and passes it on; what the figures mean says `ControllerHooks`."""
        at_s, place = self._clock() - self._began_s, (self.progress.epoch, self.progress.update)
        sizes = (decision.before, decision.after)
        told = Decision(*place, phase, *sizes, decision.reason, at_s, headroom_bytes, returned_bytes, held_bytes)
        if self.report is not None:
            self.report.decisions.append(told)
        self._log.add_decision(told)
        say(str(told), self._verbose)
        if self._on_event is not None:
            self._on_event(told)

    def observe(self, phase: str, snapshot: Snapshot, micro: int, headroom_bytes: int | None) -> None:
        """Keeps a reading, unless it tells nothing new, and passes it on."""
        reading, budget = snapshot.reading, binding(snapshot.budgets)
        assert reading is not None  # noqa: S101 - sensors have taken it
        seen = Observation(
            snapshot.at_s - self._began_s,
            self.progress.epoch,
            self.progress.update,
            phase,
            micro,
            headroom_bytes,
            rss_bytes=reading.process.rss_bytes,
            device_bytes=device_bytes(reading),
            budget_bytes=None if budget is None else budget.budget_bytes,
            limit=None if budget is None else budget.limit,
            reading=reading,
        )
        if self._thinning.keeps(seen.at_s, micro, headroom_bytes, 0 if budget is None else budget.reach_bytes):
            if self.report is not None:
                self.report.observations.append(seen.without_reading())
            self._log.add_observation(seen, None if budget is None else budget.available_bytes)
        if self._on_event is not None:
            self._on_event(seen)

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Writes the logs of an epoch down, and what memory is like after it."""
        self._log.add_epoch(epoch, logs)
        self.add_reading()
