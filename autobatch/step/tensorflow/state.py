"""What a forward and backward pass may change besides weights, and how to put it back.

That is: BatchNorm averages and other non-trainable variables of layers, seeds of dropout and augmentation layers, and
metrics. Frozen weights are not among it (only an optimizer writes those), nor are optimizer variables.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf


def mutable_variables(model: Any) -> list[Any]:
    """The Keras variables that a train or test step may write, without the optimizer's."""
    found: dict[int, Any] = {}
    for layer in model._flatten_layers():
        owned: Iterable[Any] = [*layer._non_trainable_variables, *_seed_states(layer)]
        found.update((id(variable), variable) for variable in owned)
    found.update((id(variable), variable) for metric in model.metrics for variable in metric.variables)
    return list(found.values())


def all_variables(model: Any) -> list[Any]:
    """Every Keras variable of a model: weights, state, metrics and optimizer."""
    found = {id(variable): variable for variable in (*model.variables, *mutable_variables(model))}
    found.update((id(variable), variable) for variable in model.optimizer.variables)
    return list(found.values())


class Backup:
    """Copies of some variables, written inside the compiled step itself: a separate read would cost a millisecond.

    `write` must come first in the step, and everything else after it. The number of the attempt is written last, so
    that a step which failed before its backup was whole is recognised: it has changed nothing that needs restoring.
    """

    def __init__(self, variables: list[Any]) -> None:
        self._originals = [variable.value for variable in variables]
        self._copies = [tf.Variable(original, trainable=False) for original in self._originals]
        self._written = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.attempt = np.int64(0)

    def write(self, attempt: Any) -> Any:
        """Copies the variables; returns an operation (in a graph) that everything else has to wait for."""
        pairs = zip(self._copies, self._originals, strict=True)
        copied = [copy.assign(original.value(), read_value=False) for copy, original in pairs]
        with tf.control_dependencies([operation for operation in copied if operation is not None]):
            return self._written.assign(attempt, read_value=False)

    def restore(self) -> None:
        """Puts the variables back to what they were before the attempt that has just failed."""
        if int(self._written) == self.attempt:
            for copy, original in zip(self._copies, self._originals, strict=True):
                original.assign(copy.value())


def _seed_states(layer: Any) -> list[Any]:
    return [generator.state for generator in getattr(layer, "_seed_generators", ())]
