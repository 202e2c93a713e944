"""Multiplies the learning rate inside an update, where nobody else sees it.

Callbacks and users read and set the optimizer's own rate, for the reference batch; the factor must neither show up
there nor be overwritten. So it stands in a variable that the compiled update reads, and the optimizer's question for
its current rate is answered with the product only while `optimizer.apply` is traced or run.

A `LearningRateSchedule` is asked for the rate at an update of the reference batch: that is what its numbers count. It
gets a whole number, as from Keras, since it may look into a table or divide without rest. `optimizer.iterations` goes
on counting updates, which is what Adam's bias correction needs.

Not covered: an optimizer whose `update_step` takes its rate from elsewhere. One that never asks is refused.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from autobatch.backend.tensorflow.function import replaced
from autobatch.errors import ArgumentError, ModelError

_QUESTION = "_get_current_learning_rate"
_ROUNDING = 1e-6  # fractions that should add up to a whole update may fall short of it by this much


class LearningRateScale:
    """The factor on an optimizer's learning rate, and the clock of its schedule.

    Until `set` is called the factor is 1 and the clock is `optimizer.iterations`.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._rate = tf.Variable(1.0, trainable=False, dtype=tf.float64)
        self._clock = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._has_clock = tf.Variable(initial_value=False, trainable=False)
        self._asked = False
        self._now: tuple[float | int, ...] = (1.0, 0, False)

    def set(self, rate: float, updates: float) -> None:
        """Sets factor and clock for the updates to come."""
        if not (math.isfinite(rate) and rate > 0 and math.isfinite(updates) and updates >= 0):
            msg = f"Received: rate={rate!r}, updates={updates!r}. Expected rate > 0 and updates >= 0, both finite."
            raise ArgumentError(msg)
        now = (float(rate), math.floor(updates + _ROUNDING), True)
        for variable, value, before in zip((self._rate, self._clock, self._has_clock), now, self._now, strict=True):
            if value != before:  # an assignment runs an operation; asking whether it is needed costs nothing
                variable.assign(value)
        self._now = now

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Lets the optimizer find the product for the time of one `apply`; refuses one that never asks for its rate."""
        self._asked = False
        with contextlib.ExitStack() as undo:
            for optimizer in _leaves(self._optimizer):
                undo.enter_context(replaced(optimizer, _QUESTION, self._answer(optimizer)))
            yield
        if not self._asked and not tf.executing_eagerly():  # run eagerly, loss scaling may skip an update
            msg = (
                "The optimizer does not take its learning rate from optimizer.learning_rate, so the rate cannot follow "
                "the effective batch. Leave scale_learning_rate out, or hold the effective batch. "
                f"Received: optimizer={self._optimizer!r:.100}. Expected one that uses the rate given to update_step."
            )
            raise ModelError(msg)

    def _answer(self, optimizer: Any) -> Callable[[], Any]:
        own = getattr(optimizer, _QUESTION)

        def answer() -> Any:
            self._asked = True
            rate = optimizer._learning_rate
            scheduled = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
            value = tf.convert_to_tensor(rate(self._updates(optimizer)) if scheduled else own())
            value = value if value.dtype.is_floating else tf.cast(value, keras.config.floatx())
            return value * tf.cast(self._rate, value.dtype)

        return answer

    def _updates(self, optimizer: Any) -> Any:
        iterations = tf.convert_to_tensor(optimizer.iterations)
        return tf.where(self._has_clock, tf.cast(self._clock, iterations.dtype), iterations)


def _leaves(optimizer: Any) -> list[Any]:
    """The optimizers that write weights: loss scaling wraps one, a `MultiOptimizer` one for each group of weights."""
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        return _leaves(inner)
    return list(getattr(optimizer, "optimizers", None) or [optimizer])
