"""What is done with the gradients of a micro-batch, inside the compiled step: apply them, or keep them for later.

The gradients never leave the graph (handing them out cost 4 to 30 % of a step when it was measured), and all of them
exist before the first variable is written, so a backward pass that runs out of memory has changed no weight.
"""

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from autobatch.backend.tensorflow.function import replaced


class Use(enum.IntEnum):
    """What becomes of a micro-batch's gradients; the numbers are the branches of the compiled step."""

    APPLY = 0  # the micro-batch is the whole effective batch: update the weights
    STORE = 1  # the first of several: overwrite the accumulators
    ADD = 2  # a later one: add to the accumulators


class Update:
    """The optimizer's side of a model: its variables, the accumulators, and whether a write has begun."""

    def __init__(
        self,
        model: Any,
        during_apply: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        called: bool = False,
    ) -> None:
        self._during_apply = during_apply
        self._called = called
        self.variables = list(model.trainable_variables)
        self._optimizer = model.optimizer
        self._compiled_by_xla = bool(model.jit_compile)
        self._has_gradient = [True] * len(self.variables)
        # Empty until the first use, so that updates in one piece cost no copy of the parameters.
        self._accumulators = [
            tf.Variable(tf.zeros([0], variable.value.dtype), shape=tf.TensorShape(None), trainable=False)
            for variable in self.variables
        ]
        self._began = tf.Variable(0, trainable=False, dtype=tf.int64)

    def began(self, attempt: Any) -> bool:
        """Whether the attempt came as far as writing weights."""
        return bool(int(self._began) == attempt)

    def use(self, gradients: list[Any], effects: Any, use: Any, share: Any, attempt: Any) -> None:
        """Applies or keeps gradients, once all of them are computed and the pass has done all it does besides."""
        if not gradients:
            return
        self._has_gradient = [gradient is not None for gradient in gradients]
        gradients = _all_computed([self._merged(gradient) for gradient in gradients], effects)
        branches = {
            Use.APPLY: lambda: self._apply(gradients, attempt),
            Use.STORE: lambda: self._keep("assign", _weighted(gradients, share)),
            Use.ADD: lambda: self._keep("assign_add", _weighted(gradients, share)),
        }
        if isinstance(use, Use):
            branches[use]()
        else:
            count = count_operations()
            tf.switch_case(use, {int(key): _numbered(branch) for key, branch in branches.items()})
            # Inlined, the executor would look at the nodes of the other branches, too; a call needs one device for all.
            if self._called:
                _forbid_inlining(count)

    def apply_accumulated(self, attempt: Any) -> None:
        if not self.variables:
            return
        kept = zip(self._accumulators, self._has_gradient, self.variables, strict=True)
        self._apply([tf.ensure_shape(a.value(), v.shape) if has else None for a, has, v in kept], attempt)

    def make_room(self) -> None:
        """Gives the accumulators their full shape, for compilers that need to know it."""
        for accumulator, variable in zip(self._accumulators, self.variables, strict=True):
            if accumulator.value().shape != tuple(variable.shape):
                accumulator.assign(tf.zeros(variable.shape, accumulator.dtype))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the accumulators when they are in use."""
        return sum(variable.value.dtype.size * variable.value.shape.num_elements() for variable in self.variables)

    def empty(self) -> None:
        """Frees the accumulators; the next micro-batch that is kept fills them anew."""
        for accumulator in self._accumulators:
            accumulator.assign(tf.zeros([0], accumulator.dtype))

    def _apply(self, gradients: list[Any], attempt: Any) -> None:
        # A branch of the step is inlined, and only control edges between operations of its own are kept: without these
        # its first writes would not wait for the gradients.
        gradients = _all_computed([None if gradient is None else tf.identity(gradient) for gradient in gradients])
        with tf.control_dependencies(_tensors(gradients)):
            begun = self._began.assign(attempt, read_value=False)
        with tf.control_dependencies([] if begun is None else [begun]), self._during_apply(), _alone(self._optimizer):
            self._optimizer.apply(gradients, self.variables)

    def _merged(self, gradient: Any) -> Any:
        """The gradient with each row of an embedding once: Keras squares the parts of a row that comes twice singly.

        Kept gradients are dense, where the parts are summed; an update in one piece has to come to the same.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            return gradient
        if self._compiled_by_xla:  # it has to know how many rows there are
            return tf.convert_to_tensor(gradient)
        rows, places = tf.unique(gradient.indices)
        values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
        return tf.IndexedSlices(values, rows, gradient.dense_shape)

    def _keep(self, how: Literal["assign", "assign_add"], gradients: list[Any]) -> None:
        for accumulator, gradient in zip(self._accumulators, gradients, strict=True):
            if gradient is not None:
                getattr(accumulator, how)(gradient, read_value=False)


def _alone(optimizer: Any) -> AbstractContextManager[None]:
    """Has an optimizer leave out the sum over replicas, of which there is one.

    TensorFlow makes it differentiable, and keeps for that everything that has been traced with it.
    """
    optimizer, name = getattr(optimizer, "inner_optimizer", optimizer), "_all_reduce_sum_gradients"
    return replaced(optimizer, name, lambda pairs: pairs) if hasattr(optimizer, name) else nullcontext()


def side_effects(count_before: int) -> list[Any]:
    """The operations with side effects that were added to the graph being traced; none when nothing is traced."""
    if tf.executing_eagerly():
        return []
    return [operation for operation in _operations()[count_before:] if operation.op_def.is_stateful]


def count_operations() -> int:
    """How many operations the graph being traced has; 0 when nothing is traced."""
    return 0 if tf.executing_eagerly() else len(_operations())


def _forbid_inlining(count_before: int) -> None:
    for operation in _operations()[count_before:]:
        if operation.type == "Case":
            operation._set_attr("_lower_using_switch_merge", attr_value_pb2.AttrValue(b=False))


def _operations() -> list[Any]:
    return tf.compat.v1.get_default_graph().get_operations()  # type: ignore[no-any-return]


def _all_computed(gradients: list[Any], effects: Any = ()) -> list[Any]:
    """The same gradients, none of which can be used before the last of them exists."""
    with tf.control_dependencies([*_tensors(gradients), *effects]):
        return [None if gradient is None else tf.identity(gradient) for gradient in gradients]


def _tensors(gradients: list[Any]) -> list[Any]:
    present = [gradient for gradient in gradients if gradient is not None]
    return tf.nest.flatten(present, expand_composites=True)  # type: ignore[no-any-return]


def _weighted(gradients: list[Any], share: Any) -> list[Any]:
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    return _all_computed([None if one is None else one * tf.cast(share, one.dtype) for one in dense])


def _numbered(branch: Any) -> Any:
    def run() -> Any:
        branch()
        return np.int32(0)

    return run
