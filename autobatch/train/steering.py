"""From what a probe has found to the controllers of a run: which sizes there are, and what each of them needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autobatch.data.cut import rungs
from autobatch.memory.peak import PeakModel
from autobatch.memory.read import read_memory
from autobatch.memory.reading import MemoryReading
from autobatch.probing.question import Question
from autobatch.probing.result import ProbeResult
from autobatch.probing.runner import WORST
from autobatch.probing.trial import Outcome
from autobatch.step.backend import accelerator_index, device_bytes, idle_pool_bytes
from autobatch.step.sharing import give_back
from autobatch.train.controller import Controller, GivenBack, Outside
from autobatch.train.diary import Change, Diary
from autobatch.train.needs import need_of
from autobatch.train.policy import Policy, Settings
from autobatch.train.watch import Watch

Read = Callable[[], MemoryReading]
Need = Callable[[int], int]
TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True, slots=True)
class Seams:
    """What a run asks of the world; tests put something else in its place.

    Attributes:
        read: Takes a reading of the memory.
        clock: Seconds that never go back.
        sleep: Waits for some seconds.
        give_back: Hands memory that is no longer needed back to the system.
        settings: How careful the policy is.
        least_s: Seconds between two readings, at least.
        patience_s: Seconds to wait while not even the smallest micro-batch fits.
    """

    read: Read = read_memory
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    give_back: Callable[[], GivenBack] = give_back
    settings: Settings = field(default_factory=Settings)
    least_s: float = 0.05
    patience_s: float = 60.0


class Steering:
    """Makes the controllers of one run.

    Args:
        found: What the probe has found.
        question: What it was asked.
        before: A reading of this process before its engine was made.
        diary: Is told what happens.
        cuttable: Whether updates may be run in several micro-batches.
        accumulator_bytes: What gradients take that are kept for an update in several micro-batches.
        running: Told the size of the micro-batches of training before they run.
        urge: Called at every shrink.
        seams: What a run asks of the world.
    """

    def __init__(
        self,
        found: ProbeResult,
        question: Question,
        before: MemoryReading,
        diary: Diary,
        *,
        cuttable: bool,
        accumulator_bytes: int = 0,
        running: Callable[[int], None] | None = None,
        urge: Callable[[], None] | None = None,
        seams: Seams | None = None,
    ) -> None:
        self._found, self._question, self._diary, self._cuttable = found, question, diary, cuttable
        self._running, self._urge, self._seams = running, urge, seams or Seams()
        gpu = accelerator_index()
        self.watch = Watch(
            self._seams.read, question.reserve, gpu=gpu, clock=self._seams.clock, least_s=self._seams.least_s
        )
        self._needs = _needs(found, _baselines(before, question, gpu))
        # With an effective batch that was given, the trials accumulated, and their peaks say so.
        self._accumulators = ("host" if gpu is None else "device", 0 if question.effective else accumulator_bytes)

    def policy(self, effective: int, micro: int | None = None) -> Policy:
        """The policy for an effective batch, with the sizes that it can be cut into.

        Sizes above those that were tried are among them, up to what failed in a trial: they are entered when the peak
        model, with a margin that grows with the distance, says that they fit.

        Args:
            effective: Samples behind one update.
            micro: The size to begin with, which is a rung in any case.
        """
        needs = self._needs_of(effective)
        if not self._cuttable:
            return Policy((micro or effective,), needs, self._seams.settings)
        sizes = {*rungs(effective, max(1, min(effective, self._largest()))), *([micro] if micro else [])}
        return Policy(tuple(sorted(sizes, reverse=True)), needs, self._seams.settings)

    def controller(self, phase: str, effective: int, micro: int) -> Controller:
        """A controller for `"training"` or `"validation"`; each has sizes of its own.

        Args:
            phase: Which of the two.
            effective: Samples behind one update or one step of validation.
            micro: Samples in a micro-batch at first.
        """

        def changed(change: Change) -> None:
            self._diary.changed(phase, change)
            if phase == TRAINING:
                self._write_down(change.after)
            if change.after <= change.before and self._urge is not None:
                self._urge()

        if phase == TRAINING:
            self._write_down(micro)

        outside = Outside(
            changed=changed,
            watch=self.watch,
            seen=lambda view, size, headroom: self._diary.seen(phase, view, size, headroom),
            note=self._diary.note,
            give_back=self._seams.give_back,
            sleep=self._seams.sleep,
            patience_s=self._seams.patience_s,
        )
        return Controller(self.policy(effective, micro), micro, outside)

    def _write_down(self, micro: int) -> None:
        if self._running is None:
            return
        try:
            self._running(micro)
        except OSError as error:
            self._diary.note(f"The size that is running could not be written down ({error}).")

    def _needs_of(self, effective: int) -> dict[str, Need]:
        resource, kept_bytes = self._accumulators
        needs = dict(self._needs)
        if resource in needs and kept_bytes:
            needs[resource] = _with_accumulators(needs[resource], effective, kept_bytes)
        return needs

    def _largest(self) -> int:
        """The largest size that may be entered one day."""
        if not self._needs:
            return self._found.largest  # nothing could say that more fits
        judged = {Outcome.RAN, Outcome.OVER_BUDGET}
        failed = min((trial.size for trial in self._found.trials if trial.outcome not in judged), default=None)
        cap = self._question.cap
        return cap if failed is None else max(self._found.largest, min(cap, failed - 1))


def _baselines(before: MemoryReading, question: Question, gpu: int | None) -> dict[str, int]:
    """Per resource, what this process occupies whatever the size of its micro-batches, in bytes."""
    host = max(0, before.process.rss_bytes - idle_pool_bytes()) + question.read_ahead_bytes
    device = next((one for one in before.devices if one.index == gpu), None)
    if device is None:
        return {"host": host}
    used, in_use = device.used_by_this_process_bytes, device_bytes()
    # TensorFlow may have taken the whole GPU at its start: then only what it uses of that counts.
    took_all = used is None or used - in_use > device.total_bytes // 2
    return {"host": host, "device": in_use if took_all or used is None else used}


def _needs(found: ProbeResult, baselines: dict[str, int]) -> dict[str, Need]:
    needs = {}
    for name, baseline in baselines.items():
        model = found.models.get(name)
        if model is None:
            continue
        ran = [trial for trial in found.trials if trial.outcome.ran and name in trial.peaks]
        needs[name] = need_of(baseline, model, {trial.size: trial.peaks[name] for trial in ran})
    if "host" in needs and WORST in found.models:
        needs["host"] = _careful_beyond(
            max(trial.size for trial in found.trials if trial.outcome.ran and "host" in trial.peaks),
            needs["host"],
            found.models[WORST],
            baselines["host"] - found.reserves.get("host", 0),
        )
    return needs


def _with_accumulators(need: Need, effective: int, kept_bytes: int) -> Need:
    """Adds the gradients that an update in several micro-batches keeps; never above the need of one in one piece."""

    def kept(size: int) -> int:
        return need(size) if size >= effective else min(need(size) + kept_bytes, need(effective))

    return kept


def _careful_beyond(tried: int, need: Need, worst: PeakModel, offset_bytes: int) -> Need:
    """Beyond the sizes that were tried, what the worst may come to has to fit with the reserve, as in the search."""

    def careful(size: int) -> int:
        return need(size) if size <= tried else max(need(size), worst.upper(size) + offset_bytes)

    return careful
