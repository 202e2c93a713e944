"""Validation after an epoch: our own source in safe sizes, or whatever else Keras can evaluate."""

import gc
from contextlib import AbstractContextManager
from typing import Any, Protocol

from autobatch.data.cut import number_of_updates, updates
from autobatch.data.loader import Loader
from autobatch.data.source import Source
from autobatch.errors import OutOfMemoryError
from autobatch.step.engine import Engine
from autobatch.step.oom import Cause, classify
from autobatch.train.controller import Controller
from autobatch.train.feed import Feed
from autobatch.train.updating import Cutter


class Validation(Protocol):
    """Something to evaluate a model on."""

    def run(self, model: Any, engine: Engine, callbacks: Any) -> dict[str, float]:
        """The metrics of the model as it stands, by name."""


class SourceValidation:
    """Evaluates on a source, each sample once.

    Args:
        source: The samples.
        effective: Samples behind one step of validation, as Keras counts them.
        cutter: Keeps the size of its own micro-batches.
        steps: Steps to run, all if left out.
        workers: Threads that read.
        max_bytes: The most to read ahead.
    """

    def __init__(
        self,
        source: Source,
        *,
        effective: int,
        cutter: Cutter,
        steps: int | None,
        workers: int | None,
        max_bytes: int,
    ) -> None:
        self._source, self._effective, self._cutter = source, effective, cutter
        self._steps = min(number_of_updates(len(source), effective), steps or len(source))
        self._loader = {"workers": workers, "max_bytes": max_bytes, "shuffle": False, "passes": 1}

    def run(self, model: Any, engine: Engine, callbacks: Any) -> dict[str, float]:
        """Evaluates once, in the order that Keras' `evaluate` calls callbacks."""
        model.stop_evaluating = False
        callbacks.on_test_begin()
        logs: Any = {}
        model.reset_metrics()
        self._cutter.controller.pause()
        with self._open() as loader:
            feed = Feed(loader)
            for step, (start, stop) in enumerate(updates(len(self._source), self._effective)[: self._steps]):
                callbacks.on_test_batch_begin(step)
                logs = self._cutter.evaluate(engine, feed, stop - start)
                callbacks.on_test_batch_end(step, logs)
                if model.stop_evaluating:
                    break
        results = as_numbers(model, logs)
        callbacks.on_test_end(results)
        return results

    def _open(self) -> AbstractContextManager[Loader]:
        return Loader(self._source, **self._loader)  # type: ignore[arg-type]


class KerasValidation:
    """Leaves evaluation to `model.evaluate`: for arrays, datasets and generators.

    Arrays are evaluated in smaller batches when memory runs out, from the start. Datasets and generators bring batches
    of their own, which nothing here has proven.

    Args:
        data: What `validation_data` of `model.fit` may be.
        controller: Keeps the size of batches of arrays.
        steps: Steps to run, all if left out.
    """

    def __init__(self, data: Any, *, controller: Controller, steps: int | None) -> None:
        self._data, self._steps, self._controller = data, steps, controller

    def run(self, model: Any, engine: Engine, callbacks: Any) -> dict[str, float]:
        """Evaluates once."""
        del engine
        options: dict[str, Any] = {"callbacks": callbacks, "return_dict": True, "steps": self._steps, "verbose": 0}
        self._controller.pause()
        if not isinstance(self._data, list | tuple):
            return dict(model.evaluate(self._data, **options))
        x, y, weight = (*self._data, None, None)[:3]
        while True:
            self._controller.pause()
            self._controller.look()
            size = self._controller.micro
            try:
                return dict(model.evaluate(x, y, sample_weight=weight, batch_size=size, **options))
            except Exception as error:
                if classify(error) is not Cause.OUT_OF_MEMORY:
                    raise
                msg = f"A validation batch of {size} samples did not fit in memory."
                self._controller.ran_out(OutOfMemoryError(msg, size), error.with_traceback(None))
            gc.collect()


def as_numbers(model: Any, logs: Any) -> dict[str, float]:
    """The model's metrics as Python numbers, as Keras hands them to callbacks at the end of an epoch."""
    from keras.src.utils.python_utils import pythonify_logs

    return dict(pythonify_logs(model._get_metrics_result_or_logs(logs)))
