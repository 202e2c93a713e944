"""Finds the size for one model: asks the search for sizes, has them tried, and judges what was measured.

Budgets are bytes that a process may still take. While a worker is alive it counts among the others, so the sizes it can
prove are bounded by what is left beside the caller and itself; the answer says so where that was the bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autobatch.data.batch import Batch
from autobatch.data.cut import rungs
from autobatch.errors import ProbeError
from autobatch.memory.read import read_memory
from autobatch.memory.reading import Budget, MemoryReading
from autobatch.probing.answer import Answer
from autobatch.probing.cache import Cache, cache_key
from autobatch.probing.explain import no_answer, no_room, why_chosen, why_no_larger
from autobatch.probing.identity import identity
from autobatch.probing.question import Question
from autobatch.probing.result import ProbeResult
from autobatch.probing.runner import LONG_S, WORST
from autobatch.probing.search import (
    largest,
    most_efficient,
    next_size,
    next_throughput_size,
    peak_models,
    verdict,
)
from autobatch.probing.site import Site
from autobatch.probing.trial import Measurement, Outcome, Trial
from autobatch.step.backend import accelerator_index, device_bytes, idle_pool_bytes

OnTrial = Callable[[Trial], None]
_WORTH_A_NEW_PROBE = 1.1  # with an earlier answer at hand, look again only if more than this is to be gained


def find(
    model: Any, samples: Batch, question: Question, *, cache: Cache | None = None, on_trial: OnTrial | None = None
) -> ProbeResult:
    """The batch size for a model, proven by trials.

    Args:
        model: A Keras model, compiled unless it is to predict; it is the same, bit for bit, afterwards.
        samples: A few real samples.
        question: What to look for.
        cache: Where earlier answers are, `None` to neither look nor keep.
        on_trial: Called after each trial.

    Raises:
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.
    """
    return _Finder(model, samples, question, on_trial).find(cache)


class _Finder:
    def __init__(self, model: Any, samples: Batch, question: Question, on_trial: OnTrial | None) -> None:
        self._model, self._samples, self._question = model, samples, question
        self._on_trial = on_trial or (lambda _: None)
        self._gpu = accelerator_index()
        self._reading = read_memory()
        self._budgets = self._free(self._reading, {"host": idle_pool_bytes()})
        self._squeezed = False  # whether the worker's own needs lowered a budget
        self._trials: list[Trial] = []
        self._last_error: Exception | None = None
        self._notes = list(self._reading.notes)

    def find(self, cache: Cache | None) -> ProbeResult:
        self._require_room()
        key = self._key() if cache else None
        if cache and key and self._recall(cache, key):
            self._notes.append("The trials are those of an earlier probe; cache=False measures anew.")
            return self._result(from_cache=True)
        timeout_s = self._question.trial_timeout_s
        step, stay_in = self._question.step, self._why_stay_in()
        with Site(self._model, self._samples, step=step, open_timeout_s=timeout_s, stay_in=stay_in) as site:
            self._search(site)
            self._notes += site.notes
        result = self._result(from_cache=False)
        if cache and key:
            ran = [trial.to_dict() for trial in self._trials if trial.outcome.ran]
            note = cache.put(key, {"trials": ran})
            result = replace(result, notes=(*result.notes, note)) if note else result
        return result

    def _search(self, site: Site) -> None:
        best = self._find_largest(site)
        if best is None:
            return
        if self._question.mode == "auto":
            while (size := next_throughput_size(self._trials)) is not None:
                self._try(site, size)
        if self._question.effective is not None:
            self._try_rungs(site, rungs(self._question.effective, best.size))

    def _find_largest(self, site: Site) -> Trial | None:
        confirmed: set[int] = set()
        while True:
            while (size := self._next_size(self._current(site))) is not None:
                self._try(site, size, fresh=True)
            best = largest(self._trials, self._budgets)
            if best is None or best.size in confirmed or self._has_room_to_grow(best):
                return best
            site.renew()
            self._try(site, best.size, enough_s=LONG_S)
            confirmed.add(best.size)

    def _next_size(self, budgets: Mapping[str, int]) -> int | None:
        return next_size(self._trials, budgets, self._question.cap, self._guards())

    def _has_room_to_grow(self, trial: Trial) -> bool:
        """Whether a trial stays within the budget, whatever more updates than it has run may add."""
        return trial.peaks.get(WORST, 0) <= self._budgets["host"]

    def _try_rungs(self, site: Site, ladder: Sequence[int]) -> None:
        """Makes sure that the largest size that the effective batch can be cut into has run."""
        for rung in ladder:
            if all(trial.size != rung for trial in self._trials):
                self._try(site, rung)
            if self._has_run(rung):
                return

    def _has_run(self, size: int) -> bool:
        return any(trial.size == size and trial.outcome is Outcome.RAN for trial in self._trials)

    def _try(self, site: Site, size: int, *, fresh: bool = False, enough_s: float | None = None) -> None:
        options = {"effective": self._question.effective, "enough_s": enough_s}
        where = site.where
        answer = site.trial(size, options, timeout_s=self._question.trial_timeout_s, fresh=fresh)
        if answer.outcome is Outcome.ERROR:
            raise answer.exception or ProbeError(f"A trial of {size} samples failed: {answer.detail}", self._trials)
        self._last_error = answer.exception or self._last_error
        trial = self._judged(size, answer)
        self._trials.append(replace(trial, where=site.where if answer.outcome is Outcome.RAN else where))
        self._on_trial(self._trials[-1])

    def _judged(self, size: int, answer: Answer) -> Trial:
        if answer.outcome is not Outcome.RAN:
            return Trial(size, answer.outcome, wall_s=answer.wall_s, detail=answer.detail)
        peaks, start = answer.payload["peaks"], answer.payload.get("start_peaks", {})
        if verdict(start, self._budgets) is not Outcome.RAN:
            peaks = start  # what compiling takes is needed at any size, so none fits
        measurement = Measurement(tuple(answer.payload["seconds"]), peaks)
        outcome = verdict(measurement.peaks, self._budgets)
        return Trial.measured(size, outcome, measurement, wall_s=answer.wall_s, where="worker")

    def _current(self, site: Site) -> dict[str, int]:
        """What a step may take: in training, when the worker is gone, and in the next trial, beside the worker."""
        now = self._free(read_memory(), site.held)
        self._squeezed = self._squeezed or any(now[name] < budget for name, budget in self._budgets.items())
        self._budgets = {name: min(budget, now[name]) for name, budget in self._budgets.items()}
        return self._budgets

    def _guards(self) -> dict[str, int]:
        """What an untried size may come to at worst: that may take the reserve, but no more."""
        if all(WORST not in trial.peaks for trial in self._trials):
            return {}
        return {WORST: self._budgets["host"] + self._reading.host_budget(self._question.reserve).reserve_bytes}

    def _free(self, reading: MemoryReading, own: Mapping[str, int]) -> dict[str, int]:
        """Per resource, what the process of a step may take on top of what it held before its first.

        Args:
            reading: Of now.
            own: What that process has taken since and will use again.
        """
        reserve = self._question.reserve
        host = reading.host_budget(reserve).free_bytes + own.get("host", 0) - self._question.beside_bytes
        device = None if self._gpu is None else reading.device_budget(reserve, self._gpu)
        if device is None:
            return {"host": host}
        return {"host": host, "device": device.free_bytes + own.get("device", 0) + self._pool_bytes(reading)}

    def _pool_bytes(self, reading: MemoryReading) -> int:
        """What the caller's framework holds of the GPU without using it, as far as NVML tells."""
        used = next((d.used_by_this_process_bytes for d in reading.devices if d.index == self._gpu), None)
        return max(0, (used or 0) - device_bytes())

    def _why_stay_in(self) -> str | None:
        """TensorFlow takes a whole GPU at its start, unless told otherwise: a worker would find nothing left."""
        total = next((d.total_bytes for d in self._reading.devices if d.index == self._gpu), 0)
        if self._gpu is None or self._pool_bytes(self._reading) <= total // 2:
            return None
        return "this process holds most of the GPU (memory growth is off)"

    def _require_room(self) -> None:
        for name, budget in self._budgets.items():
            if budget <= 0:
                raise no_room(name, self._tightest(name), self._question)

    def _tightest(self, resource: str) -> Budget:
        device = self._reading.device_budget(self._question.reserve, self._gpu) if resource == "device" else None
        return device or self._reading.host_budget(self._question.reserve)

    def _key(self) -> str | None:
        question = {**self._question.lasting(), "gpu": self._gpu}
        parts = identity(self._model, self._samples, self._reading, question, self._question.step)
        if parts is None:
            self._notes.append("This answer is not kept for later: the model's configuration or code has no text.")
            return None
        return cache_key(parts)

    def _recall(self, cache: Cache, key: str) -> bool:
        """Whether earlier trials answer the question under today's budget."""
        stored = cache.get(key)
        try:
            trials = [Trial.from_dict(trial) for trial in (stored or {})["trials"]]
        except (KeyError, TypeError, ValueError):
            return False
        trials = [trial for trial in trials if trial.size <= self._question.cap]
        if any(trial.peaks and not self._budgets.keys() <= trial.peaks.keys() for trial in trials):
            return False
        # Judged anew: what was over the budget of that day may be within that of today, and the other way round.
        self._trials = [replace(t, outcome=verdict(t.peaks, self._budgets)) if t.peaks else t for t in trials]
        best = largest(self._trials, self._budgets)
        if best is not None and self._answers(best):
            return True
        self._trials = []
        return False

    def _answers(self, best: Trial) -> bool:
        if not self._has_room_to_grow(best) and sum(trial.size == best.size for trial in self._trials) < 2:
            return False  # it was not the answer then, so it has run a few updates only
        upcoming = self._next_size(self._budgets)
        if upcoming is not None and upcoming > _WORTH_A_NEW_PROBE * best.size:
            return False
        if self._question.mode == "auto":
            return next_throughput_size(self._trials) is None
        if self._question.effective is not None:
            return self._has_run(rungs(self._question.effective, best.size)[0])
        return True

    def _result(self, *, from_cache: bool) -> ProbeResult:
        question = self._question
        best = largest(self._trials, self._budgets)
        if best is None:
            name = min(self._budgets, key=lambda resource: self._budgets[resource])
            raise no_answer(self._trials, self._budgets[name], self._tightest(name)) from self._last_error
        fast = most_efficient(self._trials, budgets=self._budgets)
        chosen = best.size
        if question.mode == "auto" and fast is not None:
            chosen = fast.size
        if question.effective is not None:
            ladder = rungs(question.effective, best.size)
            chosen = next((rung for rung in ladder if self._has_run(rung)), 0)
            if not chosen:
                raise ProbeError(f"No micro-batch that {question.effective} samples are cut into ran.", self._trials)
        budget = self._reading.host_budget(question.reserve)
        device = None if self._gpu is None else self._reading.device_budget(question.reserve, self._gpu)
        limits = {"host": budget.limit.kind} | ({"device": "device"} if device else {})
        reserves = {"host": budget.reserve_bytes} | ({"device": device.reserve_bytes} if device else {})
        return ProbeResult(
            batch_size=chosen,
            mode=question.mode,
            largest=best.size,
            efficient=fast.size if fast else None,
            trials=tuple(self._trials),
            models=peak_models(self._trials),
            budgets=dict(self._budgets),
            limits=dict(limits),
            reserves=reserves,
            from_cache=from_cache,
            reasons=self._reasons(chosen, best, fast),
            notes=tuple(self._notes),
        )

    def _reasons(self, chosen: int, best: Trial, fast: Trial | None) -> tuple[str, ...]:
        why = why_chosen(self._question, chosen, fast)
        if chosen == self._question.effective:
            return (why,)
        budgets = {**self._budgets, **self._guards()}
        return why, why_no_larger(self._question, best.size, self._trials, budgets, beside_worker=self._squeezed)
