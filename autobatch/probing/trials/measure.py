"""Runs trials of one model and measures them. What a trial runs, and how often, is said in `steps.py`.

The peak on the host is the process's own high-water mark above what it held when the model had just been built. A
framework's memory pool never shrinks, so after a larger size the mark says nothing about a smaller one; then no peak is
reported. What compiling takes, once and whatever the size, is measured apart: it would hide what a sample adds.

The mark creeps: the order in which a step's operations end differs from update to update, and now and then their
memory finds no hole in the pool that fits, so that it grows. Twenty updates show most of that, three hardly any. So
beside what was measured stands what it may come to in the end: `WORST`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from autobatch.backend import accelerator, apply_settings, current_backend
from autobatch.backend.base import Recording
from autobatch.data.batch import Batch
from autobatch.data.check import Step
from autobatch.memory.peak_model import Allocation, AllocationProfile
from autobatch.memory.sensors.gpu import read_devices
from autobatch.memory.sensors.procfs import peak_rss_bytes, read_process, reset_peak_rss
from autobatch.probing.trials.serialize import deserialize, repeat
from autobatch.probing.trials.steps import ENOUGH_S, LEAST_STEPS, MOST_STEPS, steps_for

_ENOUGH = 2


class Recordings:
    """Records one step at each of the first two sizes."""

    def __init__(self, make: Callable[[], Recording] | None) -> None:
        self._make = make
        self._open: tuple[int, Recording] | None = None
        self._kept: dict[int, Sequence[Allocation]] = {}

    def record(self, size: int) -> AbstractContextManager[Any]:
        """Where to run a step of `size` samples; it is recorded if that is still needed."""
        self._open = None
        if self._make is None or len(self._kept) == _ENOUGH or size in self._kept:
            return contextlib.nullcontext()
        recording = self._make()
        self._open = size, recording
        return recording

    def keep(self) -> None:
        """Reads what was recorded; call it once peaks have been read, for it takes memory itself."""
        if self._open is not None:
            size, recording = self._open
            self._open, self._kept[size] = None, recording.read()

    def profile(self) -> AllocationProfile | None:
        """What a step asks for at any size, `None` until that is known."""
        return AllocationProfile.of(*self._kept.items()) if len(self._kept) == _ENOUGH else None


WORST = "host_at_worst"


class TrialMeasurer:
    """Trials of one model in this process.

    Its steps are run for real: hand in a model that may be spoiled. Of recorded steps the framework's profiler tells on
    stderr. Its `facts` say what the process held when the model was built, in bytes.
    """

    def __init__(
        self, model: Any, samples: Batch, step: Step = "train", group: int = 1, *, records: bool = True
    ) -> None:
        self._samples = samples
        self._model = model
        self._pool_growth = current_backend().pool_growth
        self._baseline, self._device_baseline, self._own_baseline = rss_bytes(), device_bytes(), own_device_bytes()
        self._trial_steps = steps_for(step, model, samples, group)
        self._engine = self._trial_steps.engine
        self._largest = 0
        self._device_pool = 0
        self._warm = False
        self._beside_pool = 0
        self._recordings = Recordings(self._engine.recording if records else None)
        self.facts = {"baseline_bytes": self._baseline}

    def run(self, size: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a few steps at one size; after those of a training an evaluation pass.

        Of the options, `effective` is the number of samples behind one update: gradients are accumulated if it is more
        than `size`. After `enough_s` seconds no more updates are run, but at least three. The peaks, and what is held
        and own (`None` where the driver doesn't tell), are bytes above what the process held when the model was built;
        `profiles` are what a larger size would ask for.
        """
        accumulated = int(options.get("effective") or size) > size
        start_peaks = {} if self._warm else self._start(self._samples[:size], accumulated=accumulated)
        self._reset()
        batch = repeat(self._samples, size)
        seconds = self._steps(batch, float(options.get("enough_s") or ENOUGH_S), accumulated=accumulated)
        self._trial_steps.last(batch)
        peaks = self._peaks(size)
        self._recordings.keep()
        self._largest = max(self._largest, size)
        own, before = own_device_bytes(), self._own_baseline
        own = None if own is None or before is None else own - before
        held = {"host": rss_bytes() - self._baseline, "device": max(self._device_pool, own or 0)}
        told = {"peaks": peaks, "start_peaks": start_peaks, "held": held, "profiles": self._profiles()}
        return {"seconds": seconds, **told, "own_device_bytes": own}

    def abandon(self) -> None:
        """Forgets what a trial that failed half-way had accumulated."""
        self._trial_steps.abandon()

    def _start(self, samples: Batch, *, accumulated: bool) -> dict[str, int]:
        """Compiles the steps; returns the peaks of that."""
        self._reset()
        self._trial_steps.warm_up(samples, accumulated=accumulated)
        self._warm = True
        peaks = self._peaks(0)
        self._beside_pool = max(0, rss_bytes() - self._baseline - self._pool_peak())
        return {name: peak for name, peak in peaks.items() if name != WORST}

    def _reset(self) -> None:
        reset_peak_rss()
        self._engine.reset_peak()  # a peak that cannot be reset is too large rather than too small

    def _steps(self, batch: Batch, enough_s: float, *, accumulated: bool) -> list[float]:
        seconds: list[float] = []
        while len(seconds) < LEAST_STEPS or (sum(seconds[1:]) < enough_s and len(seconds) < MOST_STEPS):
            began = time.perf_counter()
            # The first, whose time does not count: it may compile.
            with contextlib.nullcontext() if seconds else self._recordings.record(batch.size):
                self._trial_steps.once(batch, accumulated=accumulated)
            seconds.append((time.perf_counter() - began) / (2 if accumulated else 1))
        return seconds

    def _profiles(self) -> dict[str, list[list[int]]]:
        profile = self._recordings.profile()
        if profile is None:
            return {}
        if self._engine.device_peak_bytes() is not None:
            return {"device": profile.to_list()}
        return {"host": profile.to_list(), WORST: profile.times(self._pool_growth).to_list()}

    def _peaks(self, size: int) -> dict[str, int]:
        device = self._engine.device_peak_bytes()
        device = None if device is None else max(0, device - self._device_baseline)
        self._device_pool = max(self._device_pool, device or 0)
        if size < self._largest:
            return {}
        mark = peak_rss_bytes()
        peaks = {} if mark is None else {"host": max(0, mark - self._baseline)}
        if device is not None:
            return peaks | {"device": device}
        if peaks and self._pool_peak():
            peaks[WORST] = max(peaks["host"], self._beside_pool + int(self._pool_growth * self._pool_peak()))
        return peaks

    def _pool_peak(self) -> int:
        """Peak bytes in use in the pool on the host; 0 where none keeps a count or the model runs elsewhere."""
        figures = self._engine.allocator_bytes() if self._engine.device_peak_bytes() is None else None
        return figures[1] if figures else 0


def open_measurer(payload: dict[str, Any]) -> TrialMeasurer:
    """The measurer for what the caller has serialized; called in the worker process."""
    apply_settings(payload["framework"])
    model, samples = deserialize(payload)
    return TrialMeasurer(model, samples, payload["step"], payload["group"])


def rss_bytes() -> int:
    return read_process()[0].rss_bytes


def device_bytes() -> int:
    """What tensors take of the GPU that steps run on, 0 on a CPU."""
    gpu = accelerator()
    return 0 if gpu is None else gpu.in_use_bytes


def own_device_bytes() -> int | None:
    """What the driver books on this process on the GPU that steps run on; `None` on a CPU and where it doesn't."""
    gpu = accelerator()
    devices = () if gpu is None else read_devices(os.getpid())[0]
    return next((one.used_by_this_process_bytes for one in devices if gpu and one.index == gpu.number), None)
