"""Finds the size for one model: asks the search for sizes, has them tried, and judges what was measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobatch.backend import accelerator, read_memory_here
from autobatch.backend.base import Accelerator
from autobatch.data.batch import Batch
from autobatch.errors import ProbeError
from autobatch.memory.peak_model import AllocationProfile
from autobatch.memory.reading import MemoryReading
from autobatch.probing.cache import Cache, cache_key
from autobatch.probing.peak_bound import OutsideAllocator
from autobatch.probing.reasons import (
    bound_reason,
    choice_reason,
    no_answer_error,
    no_rung_error,
    nothing_left_error,
    timeout_error,
    unseen_notes,
)
from autobatch.probing.recall import fingerprint, less, recall, with_search
from autobatch.probing.request import ProbeRequest
from autobatch.probing.search import (
    largest,
    levels_off,
    most_efficient,
    next_size,
    next_throughput_size,
    peak_models,
    verdict,
)
from autobatch.probing.step_budgets import StepBudgets
from autobatch.probing.trials.executor import Executor, wait_until_free
from autobatch.probing.trials.ipc import NEVER, Deadline, Reply
from autobatch.probing.trials.measure import WORST
from autobatch.probing.trials.steps import LONG_S
from autobatch.results.probe import ProbeResult, in_whole_bytes
from autobatch.results.trial import Measurement, Outcome, Trial

OnTrial = Callable[[Trial], None]
OnStart = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class TunerSeams:
    """What a probe asks of the world; tests put something else in its place."""

    read: Callable[[], MemoryReading] = read_memory_here  # takes a reading of the memory
    executor: Callable[..., Executor] = Executor  # makes the place where trials run
    deadline: Deadline = NEVER  # when the probe has to be done
    gpu: Callable[[], Accelerator | None] = accelerator  # tells of the GPU that steps run on, `None` on a CPU
    patience_s: float = 2.0  # seconds to wait, at most, until what the worker had of a GPU is free again


def find_batch_size(
    model: Any,
    samples: Batch,
    request: ProbeRequest,
    *,
    cache: Cache | None = None,
    on_trial: OnTrial | None = None,
    on_start: OnStart | None = None,
    seams: TunerSeams | None = None,
) -> ProbeResult:
    """The batch size for a model, proven by trials."""
    return Tuner(model, samples, request, on_trial, on_start, seams).find(cache)


class Tuner:
    """Looks for the size for one model, once."""

    def __init__(
        self,
        model: Any,
        samples: Batch,
        request: ProbeRequest,
        on_trial: OnTrial | None = None,
        on_start: OnStart | None = None,
        seams: TunerSeams | None = None,
    ) -> None:
        self._model, self._samples, self._request = model, samples, request
        self._on_trial = on_trial or (lambda _: None)
        self._on_start = on_start or (lambda _: None)
        self._seams = seams or TunerSeams()
        self.budgets = StepBudgets(request, self._seams.read, self._seams.gpu)
        self._trials: list[Trial] = []
        self._outside = OutsideAllocator()
        self._last_error: Exception | None = None
        self._notes = list(self.budgets.reading.notes)

    def find(self, cache: Cache | None) -> ProbeResult:
        """The answer: an earlier one that still holds, or a new one, which is kept."""
        self.require_budget()
        key = self._key() if cache else None
        if cache and key and (earlier := self._recall(cache, key)) is not None:
            return earlier
        self._require_time()
        with self._open() as executor:
            self._search(executor)
            self._notes += executor.notes
        if executor.where == "worker":
            self._wait_until_free()
        result = self._result(from_cache=False)
        if cache and key:
            beside_bytes = self.budgets.beside_bytes() if executor.where == "worker" else {}
            note = cache.put(key, with_search(cache.get(key), self._trials, beside_bytes))
            result = replace(result, notes=(*result.notes, note)) if note else result
        return result

    def earlier(self, cache: Cache | None) -> ProbeResult | None:
        """The answer of an earlier probe, if it holds under today's budget."""
        key = self._key() if cache else None
        return self._recall(cache, key) if cache and key else None

    def require_budget(self) -> None:
        """Refuses to look where nothing is left before anything has been tried."""
        for name, budget in self.budgets.now.items():
            if budget <= 0:
                raise nothing_left_error(name, self.budgets.tightest(name), self.budgets.limit(name), self._request)

    def _open(self) -> Executor:
        request, deadline = self._request, self._seams.deadline
        return self._seams.executor(
            self._model,
            self._samples,
            step=request.step,
            group=request.group,
            open_timeout_s=request.trial_timeout_s,
            caller_reason=self.budgets.pool_reason(),
            deadline=deadline,
        )

    def _wait_until_free(self) -> None:
        budgets, seams = self.budgets, self._seams
        before = budgets.on_device(budgets.machine)
        if before is None:
            return
        patience_s = seams.deadline.at_most(seams.patience_s)
        left = wait_until_free(lambda: budgets.on_device(seams.read()), before, patience_s)
        self._notes += [] if left is None else [left]

    def _search(self, executor: Executor) -> None:
        self._find_largest(executor)
        best = self._largest()
        if best is None:
            return
        if self._request.mode == "auto":
            while (size := next_throughput_size(self._trials, rungs=self._request.rungs)) is not None:
                self._try(executor, size)
        self._try_rungs(executor, [rung for rung in self._request.rungs if rung <= best.size])

    def _find_largest(self, executor: Executor) -> None:
        confirmed: set[int] = set()
        while True:
            while (size := self._next_size(executor)) is not None:
                self._try(executor, size, fresh=True)
            answer = self._answer()
            if answer is None or answer.size in confirmed or self.budgets.fits_at_worst(answer):
                return
            self._require_time()
            executor.renew()
            self._try(executor, answer.size, enough_s=LONG_S)
            confirmed.add(answer.size)

    def _next_size(self, executor: Executor) -> int | None:
        if self._request.only_whole:
            return None if self._trials else self._request.cap
        budgets = self.budgets.renew(executor.held, executor.where)
        for_speed = self._request.mode == "auto"
        if for_speed and levels_off(self._trials):
            return None
        guards, request = self.budgets.guards(self._trials), self._request
        return next_size(self._trials, budgets, request.cap, guards, rungs=request.rungs, for_speed=for_speed)

    def _largest(self) -> Trial | None:
        return largest(self._trials, self.budgets.now)

    def _answer(self) -> Trial | None:
        """The trial of the largest safe size among those that count."""
        return largest(self._trials, self.budgets.now, self._request.rungs)

    def _try_rungs(self, executor: Executor, ladder: Sequence[int]) -> None:
        """Makes sure that the largest of the sizes that count has run."""
        for rung in ladder:
            if all(trial.size != rung for trial in self._trials):
                self._try(executor, rung)
            answer = self._answer()
            if answer is not None and answer.size >= rung:
                return

    def _try(self, executor: Executor, size: int, *, fresh: bool = False, enough_s: float | None = None) -> None:
        self._require_time()
        options = {"effective": self._request.effective_batch_size, "enough_s": enough_s}
        where, best = executor.where, self._largest()
        self._on_start(size)
        answer = executor.trial(size, options, timeout_s=self._request.trial_timeout_s, fresh=fresh)
        if answer.outcome is Outcome.ERROR:
            raise answer.exception or ProbeError(f"A trial of {size} samples failed: {answer.detail}", self._trials)
        self._last_error = answer.exception or self._last_error
        trial = self._judged(size, answer)
        self._trials.append(replace(trial, where=executor.where if answer.outcome is Outcome.RAN else where))
        self._on_trial(self._trials[-1])
        if answer.outcome is Outcome.TIMED_OUT:
            # If it was broken off, it proves nothing of its size, which may have run before.
            self._require_time(best)

    def _judged(self, size: int, answer: Reply) -> Trial:
        if answer.outcome is not Outcome.RAN:
            return Trial(size, answer.outcome, wall_s=answer.wall_s, detail=answer.detail)
        budgets = self.budgets.now
        peaks, start = self._whole(answer.payload), answer.payload.get("start_peaks", {})
        if verdict(start, budgets) is not Outcome.RAN:
            peaks = start  # what compiling takes is needed at any size, so none fits
        profiles = {
            name: AllocationProfile.from_list(lines) for name, lines in answer.payload.get("profiles", {}).items()
        }
        measurement = Measurement(tuple(answer.payload["seconds"]), peaks, profiles)
        outcome = verdict(measurement.peaks, budgets)
        return Trial.measured(size, outcome, measurement, wall_s=answer.wall_s, where="worker")

    def _whole(self, payload: Mapping[str, Any]) -> Mapping[str, int]:
        """The peaks of a trial, on a device with what the process takes of it outside its allocator."""
        peaks: Mapping[str, int] = payload["peaks"]
        if "device" not in peaks:
            return peaks
        outside = self._outside.after(payload.get("own_device_bytes"), peaks["device"])
        return {**peaks, "device": peaks["device"] + outside}

    def _require_time(self, best: Trial | None = None) -> None:
        deadline = self._seams.deadline
        if deadline.passed:
            raise timeout_error(deadline.timeout_s or 0.0, self._trials, best or self._largest())

    def _key(self) -> str | None:
        request = {**self._request.lasting(), "gpu": self.budgets.gpu}
        parts = fingerprint(self._model, self._samples, self.budgets.machine, request, self._request.step)
        if parts is None:
            self._notes.append("This answer is not kept for later: the model's configuration or code has no text.")
            return None
        return cache_key(parts)

    def _recall(self, cache: Cache, key: str) -> ProbeResult | None:
        earlier = recall(cache.get(key), self._request, self.budgets)
        if earlier is None:
            return None
        self._trials = earlier.trials
        self._notes.append("The trials are those of an earlier probe; cache=False measures anew.")
        return self._result(from_cache=True, beside_bytes=earlier.beside_bytes)

    def _result(self, *, from_cache: bool, beside_bytes: Mapping[str, int] | None = None) -> ProbeResult:
        request, budgets = self._request, self.budgets
        best = self._largest()
        if best is None:
            name = min(budgets.now, key=lambda resource: budgets.now[resource])
            raise no_answer_error(self._trials, budgets.now[name], budgets.limit(name), request) from self._last_error
        best = self._answer()
        if best is None:
            raise no_rung_error(self._trials, request)
        fast = most_efficient(self._trials, budgets=budgets.now, rungs=request.rungs)
        chosen = fast.size if request.mode == "auto" and fast is not None else best.size
        return ProbeResult(
            batch_size=chosen,
            mode=request.mode,
            max_batch_size=best.size,
            efficient_batch_size=fast.size if fast else None,
            effective_batch_size=request.effective_batch_size,
            trials=tuple(self._trials),
            models={name: in_whole_bytes(model) for name, model in peak_models(self._trials).items()},
            budgets=dict(budgets.now),
            limits=budgets.limits,
            reserves=budgets.reserves,
            from_cache=from_cache,
            reasons=self._reasons(chosen, best, fast, beside_bytes or {}),
            notes=(*self._notes, *unseen_notes(self._trials, budgets.now)),
        )

    def _reasons(
        self, chosen: int, best: Trial, fast: Trial | None, beside_bytes: Mapping[str, int]
    ) -> tuple[str, ...]:
        why = choice_reason(self._request, chosen, fast)
        if chosen == self._request.effective_batch_size:
            return (why,)
        taken = {**beside_bytes, WORST: beside_bytes.get("host", 0)}
        budgets = less({**self.budgets.now, **self.budgets.guards(self._trials)}, taken)
        beside = self.budgets.squeezed or any(beside_bytes.values())
        return why, bound_reason(self._request, best.size, self._trials, budgets, beside_worker=beside)
