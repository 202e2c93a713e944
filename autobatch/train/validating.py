"""Validation after an epoch, in sizes of its own that are safe."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any, Protocol, cast

from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.data.source import Source, Stream, Supply
from autobatch.step.engine import Engine, Evaluating
from autobatch.train.feed import Feed
from autobatch.train.passes import one_pass
from autobatch.train.updating import Cutter

_PATIENCE_S = 1.0  # a generator may be waiting for ever
_DRY = "The data for validation come to an end"


class Validation(Protocol):
    """Something to evaluate a model on."""

    def run(self, model: Any, engine: Engine, callbacks: Any) -> dict[str, float]:
        """The metrics of the model as it stands, by name."""

    def close(self) -> None:
        """Stops reading; called when the training is over."""


class DataValidation:
    """Evaluates on data, each sample of a pass once.

    Args:
        data: The samples.
        effective: Samples behind one step of validation, as Keras counts them.
        cutter: Keeps the size of its own micro-batches.
        steps: Steps to run, a whole pass if left out.
        workers: Threads that read a source.
        max_bytes: The most to read ahead.
    """

    def __init__(
        self,
        data: Source | Stream,
        *,
        effective: int,
        cutter: Cutter,
        steps: int | None,
        workers: int | None,
        max_bytes: int,
    ) -> None:
        self._data, self._effective, self._cutter, self._steps = data, effective, cutter, steps
        self._workers, self._max_bytes = workers, max_bytes
        self._going_on: StreamLoader | None = None

    def run(self, model: Any, engine: Evaluating, callbacks: Any) -> dict[str, float]:
        """Evaluates once, in the order that Keras' `evaluate` calls callbacks."""
        model.stop_evaluating = False
        callbacks.on_test_begin()
        logs: Any = {}
        model.reset_metrics()
        self._cutter.controller.pause()
        with self._open() as supply:
            feed = Feed(supply)
            for step in count() if self._steps is None else range(self._steps):
                size = supply.window(self._effective)
                if not size:
                    warnings.warn(f"{_DRY} after {step} of {self._steps} steps.", stacklevel=1)
                    break
                callbacks.on_test_batch_begin(step)
                logs = self._cutter.evaluate(engine, feed, size)
                callbacks.on_test_batch_end(step, logs)
                if model.stop_evaluating or (self._steps is None and supply.ended):
                    break
        results = as_numbers(model, logs)
        callbacks.on_test_end(results)
        return results

    def close(self) -> None:
        """Stops reading."""
        if self._going_on is not None:
            self._going_on.close(wait_s=_PATIENCE_S)

    def _open(self) -> AbstractContextManager[Supply]:
        """The same samples every time; of a generator, which cannot begin anew, the next ones."""
        if getattr(self._data, "repeatable", True):
            return one_pass(self._data, workers=self._workers, max_bytes=self._max_bytes)
        if self._going_on is None:
            self._going_on = StreamLoader(cast("Stream", self._data), max_bytes=self._max_bytes)
        return nullcontext(self._going_on)


def as_numbers(model: Any, logs: Any) -> dict[str, float]:
    """The model's metrics as Python numbers, as Keras hands them to callbacks at the end of an epoch."""
    from keras.src.utils.python_utils import pythonify_logs

    return dict(pythonify_logs(model._get_metrics_result_or_logs(logs)))
