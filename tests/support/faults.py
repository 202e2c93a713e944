"""Models whose steps fail on demand, in the middle: after the forward pass has begun to change the model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from nets import compiled, conv_net

from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.data.batch import Batch
from autobatch.data.epoch import rungs
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed

EFFECTIVE = 16


def out_of_memory() -> Exception:
    """As TensorFlow says it."""
    return MemoryError("OOM when allocating tensor with shape[16,8,8,8]")


class FaultyLoss(keras.losses.Loss):
    """Cross-entropy whose n-th evaluation runs out of memory as TensorFlow does, once BatchNorm has moved."""

    def __init__(self, fails: Callable[[int], bool], error: Callable[[], Exception] = out_of_memory) -> None:
        super().__init__(name="faulty")
        self.calls = 0
        self.fails = fails
        self.error = error

    def call(self, y_true: Any, y_pred: Any) -> Any:
        passed = tf.numpy_function(self._maybe_fail, [y_pred], tf.float32)
        passed.set_shape(y_pred.shape)
        return keras.losses.categorical_crossentropy(y_true, passed + (y_pred - tf.stop_gradient(y_pred)))

    def _maybe_fail(self, y_pred: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.fails(self.calls):
            raise self.error()
        return y_pred


class Watched(TensorFlowEngine):
    """Keeps the sizes of the micro-batches that went well, by update."""

    def __init__(self, model: Any, example: Batch) -> None:
        super().__init__(model, example)
        self.cuts: list[list[int]] = [[]]

    def accumulate(self, batch: Batch, whole: BatchTotals) -> Any:
        logs = super().accumulate(batch, whole)
        self.cuts[-1].append(batch.size)
        if sum(self.cuts[-1]) == whole.size:
            self.cuts.append([])
        return logs


class InMemory:
    """Samples of an epoch, in order."""

    def __init__(self, data: Batch) -> None:
        self._data, self._start = data, 0

    def take(self, number: int) -> Batch:
        self._start += number
        assert self._start <= self._data.size
        return self._data[self._start - number : self._start]


def stateful_model(fails: Callable[[int], bool] = lambda call: False) -> tuple[Any, FaultyLoss]:
    """A net with BatchNorm, dropout, Adam and metrics: everything that a failed step could leave half changed."""
    loss = FaultyLoss(fails)
    model = compiled(conv_net(norm=True, dropout=0.5), optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    return model, loss


def train(
    model: Any,
    data: Batch,
    *,
    micro: int = EFFECTIVE,
    cuts: list[list[int]] | None = None,
    engine: Watched | None = None,
) -> Watched:
    """One epoch at the effective batch; with `cuts`, in exactly those micro-batches."""
    engine = engine or Watched(model, data[:2])
    engine.cuts = [[]]
    feed = Feed(InMemory(data))
    replay = iter(cuts or ())
    options: dict[str, Any] = {} if cuts is None else {"cut": lambda count, micro: next(replay)}
    runner = MicroBatchRunner(
        controller_without_sensors(micro, rungs(EFFECTIVE, EFFECTIVE), lambda *decision: None), **options
    )
    model.reset_metrics()
    for start in range(0, data.size, EFFECTIVE):
        runner.update(engine, feed, min(EFFECTIVE, data.size - start))
    return engine


def variables(model: Any) -> list[Any]:
    """Everything a run leaves behind: weights, averages, seeds, metrics, optimizer."""
    seeds = [g.state for layer in model._flatten_layers() for g in getattr(layer, "_seed_generators", ())]
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    return [*model.variables, *seeds, *metrics, *model.optimizer.variables]


def put_back(model: Any, values: dict[str, np.ndarray]) -> None:
    """Sets what `state` returned."""
    for variable, value in zip(variables(model), values.values(), strict=True):
        variable.assign(value)


def state(model: Any) -> dict[str, np.ndarray]:
    """The values of `variables`, by name."""
    return {f"{place} {variable.path}": np.array(variable.value) for place, variable in enumerate(variables(model))}


def differences(one: Any, other: Any) -> list[str]:
    """Names of what is not the same bit for bit."""
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys() or len(ours) == len(theirs)
    return [name for (name, a), b in zip(ours.items(), theirs.values(), strict=True) if a.tobytes() != b.tobytes()]
