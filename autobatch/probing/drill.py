"""What a trial runs, over and over: the steps of a training, of an evaluation or of a prediction."""

from collections.abc import Mapping
from typing import Any, Protocol

from autobatch.backend import engine_for, forward_engine_for
from autobatch.backend.base import BatchTotals, Engine, ForwardEngine, Measured
from autobatch.data.batch import Batch
from autobatch.data.check import Step
from autobatch.probing.warming import update, warm_up, warm_up_forward


class Drill(Protocol):
    """One kind of step of one model."""

    @property
    def engine(self) -> Measured:
        """What tells of the framework's memory."""

    def warm_up(self, samples: Batch, *, accumulated: bool) -> None:
        """Compiles the steps on a few samples and gives back what that has left over."""

    def once(self, batch: Batch, *, accumulated: bool) -> None:
        """Runs one step to its end, at the size of a batch.

        Args:
            batch: The samples of a micro-batch.
            accumulated: Whether micro-batches are parts of an update.
        """

    def last(self, batch: Batch) -> None:
        """Runs, once, what comes after many steps."""

    def abandon(self) -> None:
        """Forgets what a step that failed half-way has kept."""


def drill_for(step: Step, model: Any, samples: Batch) -> Drill:
    """The drill for a kind of step.

    Args:
        step: Which.
        model: It is run for real: hand in one that may be spoiled. What is not built yet is built.
        samples: A few real samples.
    """
    if step == "train":
        return _Training(engine_for(model, samples), tells_loss=model.loss is not None)
    evaluates = step == "evaluate"
    return _Forward(forward_engine_for(model, samples, evaluates=evaluates), evaluates=evaluates)


class _Training:
    """Updates, and an evaluation after them.

    Args:
        engine: What runs them.
        tells_loss: Whether the model is compiled with a loss. If only a `train_step` of the user's knows it, there may
            be no evaluation: Keras has none for such a model either.
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
            self.engine.evaluate(batch, BatchTotals.of(batch))

    def abandon(self) -> None:
        self.engine.abandon()


class _Forward:
    """Micro-batches of an evaluation or of a prediction: nothing is kept from one to the next."""

    def __init__(self, engine: ForwardEngine, *, evaluates: bool) -> None:
        self.engine, self._evaluates = engine, evaluates

    def warm_up(self, samples: Batch, *, accumulated: bool) -> None:
        del accumulated
        warm_up_forward(self.engine, samples, evaluates=self._evaluates)

    def once(self, batch: Batch, *, accumulated: bool) -> None:
        del accumulated
        if self._evaluates:
            _wait_for(self.engine.evaluate(batch, BatchTotals.of(batch)))
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
