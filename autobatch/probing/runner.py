"""Runs trials of one model and measures them: real training steps and an evaluation, at one size.

The peak on the host is the process's own high-water mark above what it held when the model had just been built. A
framework's memory pool never shrinks, so after a larger size the mark says nothing about a smaller one; then no peak is
reported.
"""

import time
from collections.abc import Mapping
from typing import Any

from autobatch.data.batch import Batch
from autobatch.data.cut import near_equal
from autobatch.memory.process import peak_rss_bytes, read_process, reset_peak_rss
from autobatch.probing.parcel import repeat, unpack
from autobatch.step.backend import apply_settings, device_bytes, engine_for
from autobatch.step.engine import Engine, Whole

LEAST_UPDATES = 3  # peaks vary by a few per cent from step to step: the largest of three counts
MOST_UPDATES = 20
ENOUGH_S = 0.5


class Runner:
    """Trials of one compiled model in this process.

    Args:
        model: It is trained for real: hand in one that may be spoiled.
        samples: A few real samples.

    Attributes:
        facts: What the process held when the model was built, in bytes.
    """

    def __init__(self, model: Any, samples: Batch) -> None:
        self._samples = samples
        self._model = model
        self._baseline, self._device_baseline = rss_bytes(), device_bytes()
        self._engine: Engine = engine_for(model, samples)
        self._largest = 0
        self.facts = {"baseline_bytes": self._baseline}

    def run(self, size: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a few updates and an evaluation pass at one size.

        Args:
            size: Samples in the micro-batch.
            options: `effective`: samples behind one update if that is more than `size`, so that gradients are
                accumulated.

        Returns:
            `seconds` of each micro-batch, `peaks` in bytes per resource, and `held_bytes`, what the process holds
            above its baseline now.
        """
        reset_peak_rss()
        self._engine.reset_peak()
        batch = repeat(self._samples, size)
        seconds = self._train(batch, accumulated=int(options.get("effective") or size) > size)
        self._engine.evaluate(batch, Whole.of(batch))
        peaks = self._peaks(size)
        self._largest = max(self._largest, size)
        return {"seconds": seconds, "peaks": peaks, "held_bytes": rss_bytes() - self._baseline}

    def abandon(self) -> None:
        """Forgets what a trial that failed half-way had accumulated."""
        self._engine.abandon()

    def _train(self, batch: Batch, *, accumulated: bool) -> list[float]:
        # Two micro-batches an update are enough to fill the accumulators and to add to them.
        whole = Whole.of(batch, batch) if accumulated else Whole.of(batch)
        seconds: list[float] = []
        while len(seconds) < LEAST_UPDATES or (sum(seconds[1:]) < ENOUGH_S and len(seconds) < MOST_UPDATES):
            began = time.perf_counter()
            for _ in near_equal(whole.size, batch.size):
                logs = self._engine.accumulate(batch, whole)
            self._engine.apply()
            _wait_for(logs)
            seconds.append((time.perf_counter() - began) * batch.size / whole.size)
        return seconds

    def _peaks(self, size: int) -> dict[str, int]:
        if size < self._largest:
            return {}
        mark = peak_rss_bytes()
        peaks = {} if mark is None else {"host": max(0, mark - self._baseline)}
        device = self._engine.device_peak_bytes()
        return peaks if device is None else peaks | {"device": max(0, device - self._device_baseline)}


def open_runner(payload: dict[str, Any]) -> Runner:
    """The runner for what the caller has packed; called in the worker process."""
    apply_settings(payload["framework"])
    model, samples = unpack(payload)
    return Runner(model, samples)


def rss_bytes() -> int:
    """What this process holds in memory now."""
    return read_process()[0].rss_bytes


def _wait_for(logs: Mapping[str, Any]) -> None:
    """Reads one value, so that work queued on an accelerator is done before the clock is read."""
    for value in logs.values():
        float(value)
        return
