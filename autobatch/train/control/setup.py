"""From what a probe has found to the controllers of a run: which sizes there are, and what each of them needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autobatch.backend import accelerator, read_memory_here
from autobatch.backend.base import Accelerator
from autobatch.backend.release import ReleasedMemory, release_memory
from autobatch.data.epoch import rungs
from autobatch.memory.reading import MemoryReading
from autobatch.probing.request import ProbeRequest
from autobatch.probing.step_budgets import own_limit
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome
from autobatch.train.checkpoint.saver import TRAINING, Saver
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.controller import Controller, ControllerHooks
from autobatch.train.control.footprint import RunFootprints, baselines
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import PolicyDecision
from autobatch.train.control.watcher import RunBudgets, Watcher
from autobatch.train.recorder import Recorder


@dataclass(frozen=True, slots=True)
class ControlSeams:
    """What a run asks of the world; tests put something else in its place."""

    read: Callable[[], MemoryReading] = read_memory_here  # takes a reading of the memory
    clock: Callable[[], float] = time.monotonic  # seconds that never go back
    sleep: Callable[[float], None] = time.sleep  # waits for some seconds
    release_memory: Callable[[], ReleasedMemory] = release_memory  # hands unneeded memory back to the system
    config: ControllerConfig = field(default_factory=ControllerConfig)  # how careful the policy is
    gpu: Callable[[], Accelerator | None] = accelerator  # tells of the GPU that steps run on, `None` on a CPU


class ControllerSetup:
    def __init__(
        self,
        found: ProbeResult,
        question: ProbeRequest,
        before: MemoryReading,
        recorder: Recorder,
        *,
        cuttable: bool,
        accumulator_bytes: int = 0,
        saver: Saver | None = None,
        remarks: Callable[[int, int], list[str]] | None = None,
        seams: ControlSeams | None = None,
    ) -> None:
        self._found, self._question, self._recorder, self._cuttable = found, question, recorder, cuttable
        # What is to be said when updates are first run in several micro-batches.
        self._remarks, self._effective = remarks, 0
        self._group = question.group  # which a validation may cut
        self._saver, self._seams = saver, seams or ControlSeams()
        world = self._seams
        gpu = world.gpu()
        occupied = baselines(before, question.beside_bytes, gpu)
        own = None if gpu is None else own_limit(gpu, occupied.get("device", gpu.in_use_bytes))
        budgets = RunBudgets(question.reserve, None if gpu is None else gpu.number, own)
        self.watch = Watcher(world.read, budgets, clock=world.clock, note=recorder.note)
        self._footprints = RunFootprints(
            found,
            occupied,
            # Only a training keeps anything from one micro-batch to the next.
            accumulated=question.effective_batch_size if question.step == "train" else None,
            gradient_bytes=accumulator_bytes,
            gradients_on="host" if gpu is None else "device",
        )

    def policy(self, effective: int, micro: int | None = None, group: int = 1) -> Policy:
        """The policy for an effective batch, with the sizes that it can be cut into without cutting a group.

        Sizes above those that were tried are among them, up to what failed in a trial: they are entered when the peak
        model, with a margin that grows with the distance, says that they fit.
        """
        footprints, config, proven = self._footprints.of(effective), self._seams.config, self._found.max_batch_size
        if not self._cuttable:
            return Policy((micro or effective,), footprints, config, proven)
        sizes = {*rungs(effective, max(1, min(effective, self._largest())), group), *([micro] if micro else [])}
        return Policy(tuple(sorted(sizes, reverse=True)), footprints, config, proven)

    def controller(self, phase: str, effective: int, micro: int) -> Controller:
        """A controller for `"training"` or `"validation"`; each has sizes of its own."""

        def decided(decision: PolicyDecision, *figures: int | None) -> None:
            self._recorder.decide(phase, decision, *figures)
            self._begins(decision.after, phase)
            if decision.after <= decision.before and self._saver is not None:
                self._saver.hurry()

        if phase == TRAINING:
            self._effective = effective
            self._write_down(micro, phase)
        hooks = ControllerHooks(
            decided=decided,
            begins=lambda size: self._write_down(size, phase),
            watch=self.watch,
            seen=lambda snapshot, size, headroom: self._recorder.observe(phase, snapshot, size, headroom),
            note=self._recorder.note,
            release_memory=self._seams.release_memory,
            sleep=self._seams.sleep,
        )
        return Controller(self.policy(effective, micro, self._group if phase == TRAINING else 1), micro, hooks)

    def next_policy(self, effective: int) -> Policy:
        """The policy of training from now on, with another effective batch."""
        self._effective = effective
        return self.policy(effective, group=self._group)

    def _begins(self, micro: int, phase: str) -> None:
        self._write_down(micro, phase)
        if phase == TRAINING and self._remarks is not None and micro < self._effective:
            self._recorder.note(*self._remarks(micro, self._effective))
            self._remarks = None

    def _write_down(self, micro: int, phase: str) -> None:
        if self._saver is not None:
            self._saver.write_in_flight(micro, phase)

    def _largest(self) -> int:
        """The largest size that may be entered one day."""
        if not self._footprints.known:
            return self._found.max_batch_size
        judged = {Outcome.RAN, Outcome.OVER_BUDGET}
        failed = min((trial.size for trial in self._found.trials if trial.outcome not in judged), default=None)
        cap = self._question.cap
        return cap if failed is None else max(self._found.max_batch_size, min(cap, failed - 1))
