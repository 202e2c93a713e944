"""What a trial runs, and how often: the steps of a training, of an evaluation or of a prediction; and their warm-up.

Compiling a step takes memory of its own, which has nothing to do with the size: for a deep model several hundred MiB,
most of which is free again afterwards, but stays with the process. In a first step at full size both would be needed
at once. So trials and training warm up the same way, and what was measured in a trial holds in training.
"""

import gc
from collections.abc import Mapping
from typing import Any, Protocol

from autobatch.backend import current_backend, engine_for, forward_engine_for
from autobatch.backend.base import BatchTotals, Engine, ForwardEngine, Measured
from autobatch.data.batch import Batch
from autobatch.data.check import Step
from autobatch.data.epoch import near_equal
from autobatch.memory.sensors.malloc import return_freed_memory

# A trial runs at least so many steps (updates, where it trains), and more until as many or as many seconds are enough.
LEAST_STEPS, MOST_STEPS = 3, 20
ENOUGH_S = 0.5
LONG_S = 30.0  # for the size that is to be the answer

WARM_UP_SIZE = 2  # samples


def warm_up(engine: Engine, samples: Batch, *, accumulated: bool, evaluated: bool) -> None:
    """Runs an update and gives back what compiling it has left over. The model is trained by it."""
    few = samples[: engine.fixed_batch_size or WARM_UP_SIZE]
    update(engine, few, accumulated=accumulated)
    if evaluated:
        engine.evaluate(few, BatchTotals(few.size))
    gc.collect()
    return_freed_memory()


def warm_up_forward(engine: ForwardEngine, samples: Batch, *, evaluates: bool) -> None:
    """As `warm_up`, for an engine that evaluates or predicts; the model stays as it is."""
    few = samples[: engine.fixed_batch_size or WARM_UP_SIZE]
    engine.untouched(lambda: engine.evaluate(few, BatchTotals(few.size)) if evaluates else engine.predict(few))
    gc.collect()
    return_freed_memory()


def warm_up_untouched(model: Any, engine: Engine, samples: Batch, *, accumulated: bool, evaluated: bool) -> None:
    """As `warm_up`, but the model stays as it is, bit for bit.

    Nothing is done where each size is compiled for itself, and where nothing is compiled.
    """
    if not engine.compiles_once:
        return
    with current_backend().preserved(model):
        warm_up(engine, samples, accumulated=accumulated, evaluated=evaluated)
    engine.empty()


def update(engine: Engine, batch: Batch, *, accumulated: bool) -> Any:
    """One update: of two micro-batches if accumulated, which fills the accumulators and adds to them; else of one."""
    whole = engine.totals(batch, batch) if accumulated else BatchTotals(batch.size)
    logs: Any = {}
    for _ in near_equal(whole.size, batch.size):
        logs = engine.accumulate(batch, whole)
    engine.apply()
    return logs


class TrialSteps(Protocol):
    """One kind of step of one model."""

    engine: Measured  # tells of the framework's memory

    def warm_up(self, samples: Batch, *, accumulated: bool) -> None:
        """Compiles the steps on a few samples and gives back what that has left over."""

    def once(self, batch: Batch, *, accumulated: bool) -> None:
        """Runs one step to its end, at the size of a batch."""

    def last(self, batch: Batch) -> None:
        """Runs, once, what comes after many steps."""

    def abandon(self) -> None:
        """Forgets what a step that failed half-way has kept."""


def steps_for(step: Step, model: Any, samples: Batch, group: int = 1) -> TrialSteps:
    """The steps of one kind; the model is run for real and built if need be: hand in one that may be spoiled."""
    if step == "train":
        return _TrainingTrialSteps(engine_for(model, samples, group=group), tells_loss=model.loss is not None)
    evaluates = step == "evaluate"
    return _ForwardTrialSteps(forward_engine_for(model, samples, evaluates=evaluates), evaluates=evaluates)


class _TrainingTrialSteps(TrialSteps):
    """Updates, and an evaluation after them.

    If only a `train_step` of the user's knows a loss, there may be no evaluation: Keras has none for it either.
    """

    def __init__(self, engine: Engine, *, tells_loss: bool) -> None:
        self.engine, self._tells_loss, self._evaluates = engine, tells_loss, True

    def warm_up(self, samples: Batch, *, accumulated: bool) -> None:
        try:
            warm_up(self.engine, samples, accumulated=accumulated, evaluated=self._evaluates)
        except ValueError:
            if self._tells_loss or not self._evaluates:
                raise
            self._evaluates = False
            self.warm_up(samples, accumulated=accumulated)

    def once(self, batch: Batch, *, accumulated: bool) -> None:
        _wait_for(update(self.engine, batch, accumulated=accumulated))

    def last(self, batch: Batch) -> None:
        if self._evaluates:
            self.engine.evaluate(batch, BatchTotals(batch.size))

    def abandon(self) -> None:
        self.engine.abandon()


class _ForwardTrialSteps(TrialSteps):
    """Micro-batches of an evaluation or of a prediction: nothing is kept from one to the next."""

    def __init__(self, engine: ForwardEngine, *, evaluates: bool) -> None:
        self.engine, self._evaluates = engine, evaluates

    def warm_up(self, samples: Batch, *, accumulated: bool) -> None:
        del accumulated
        warm_up_forward(self.engine, samples, evaluates=self._evaluates)

    def once(self, batch: Batch, *, accumulated: bool) -> None:
        del accumulated
        if self._evaluates:
            _wait_for(self.engine.evaluate(batch, BatchTotals(batch.size)))
        else:
            self.engine.predict(batch)

    def last(self, batch: Batch) -> None:
        """Nothing comes after."""

    def abandon(self) -> None:
        """Nothing is kept."""


def _wait_for(logs: Mapping[str, Any]) -> None:
    """Reads one value, so that work queued on an accelerator is done before the clock is read."""
    for value in logs.values():
        float(value)
        return
