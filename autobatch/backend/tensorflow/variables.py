"""What a forward and backward pass may change besides weights, and how to put it back.

That is: BatchNorm averages and other non-trainable variables of layers, seeds of dropout and augmentation layers, the
seed that all of Keras shares, and metrics. Frozen weights are not among it (only an optimizer writes those), nor are
optimizer variables.
"""

import contextlib
import gc
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autobatch.backend.base import SHARED_SEED, StateVariable
from autobatch.backend.oom import Cause, classify
from autobatch.backend.tensorflow.function import replaced
from autobatch.data.batch import Batch, map_leaves
from autobatch.data.model_spec import carried_states, runs, symbol_of
from autobatch.errors import ModelError, OutOfMemoryError


def mutable_variables(model: Any) -> list[Any]:
    """The Keras variables that a train or test step may write, without the optimizer's."""
    found: list[Any] = []
    for layer in model._flatten_layers():
        found += [*layer._non_trainable_variables, *carried_states(layer), *seed_states(layer)]
    found += [variable for metric in model.metrics for variable in metric.variables] + shared_seed_state()
    return list({id(variable): variable for variable in found}.values())


@contextlib.contextmanager
def preserved(model: Any) -> Iterator[None]:
    """See `Backend.preserved`."""
    variables = [variable.value for variable in _found(model)]
    values = [variable.numpy() for variable in variables]
    with preserved_random_states():
        try:
            yield
        finally:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


@contextlib.contextmanager
def preserved_random_states() -> Iterator[None]:
    """Puts Python's and numpy's random states back: layers may draw from them whenever they are traced."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def state_variables(model: Any, *, shared_seed: bool | None = None) -> list[StateVariable]:
    """See `Backend.state_variables`."""
    shared = shared_seed_state()
    if shared_seed and not shared:
        with preserved_random_states():
            shared = [keras.src.random.seed_generator.global_seed_generator().state]
    seeds = [] if shared_seed is False else [_state_variable(SHARED_SEED, state.value) for state in shared]
    apart = {id(state) for state in shared}
    return [_state_variable(found.path, found.value) for found in _found(model) if id(found) not in apart] + seeds


def _state_variable(name: str, variable: Any) -> StateVariable:
    dtype = np.dtype(variable.dtype.as_numpy_dtype)
    shape = tuple(variable.shape)
    if dtype.hasobject:
        raise ModelError(f"The variable {name} cannot be kept in a checkpoint. Received: {dtype}. Expected numbers.")

    def read() -> memoryview:
        # Numbers of types that Python's buffers do not know (bfloat16) travel as plain bytes.
        return np.ascontiguousarray(variable.numpy()).reshape(-1).view(np.uint8).data

    def write(values: bytes) -> None:
        variable.assign(np.frombuffer(values, dtype).reshape(shape))

    count = int(np.prod(shape, dtype=np.int64))
    return StateVariable(name, shape, variable.dtype.name, count * dtype.itemsize, read, write)


def _found(model: Any) -> list[Any]:
    # A model that only predicts need not be compiled.
    optimizer = getattr(model, "optimizer", None)
    found = [*model.variables, *mutable_variables(model), *(optimizer.variables if optimizer else ())]
    return list({id(variable): variable for variable in found}.values())


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

    def backed_up(self, attempt: Any) -> Any:
        """A context for all that a step does after its backup is written."""
        written = self.write(attempt)
        return contextlib.nullcontext() if written is None else tf.control_dependencies([written])

    def restore(self) -> None:
        """Puts the variables back to what they were before the attempt that has just failed."""
        if int(self._written) == self.attempt:
            for copy, original in zip(self._copies, self._originals, strict=True):
                original.assign(copy.value())


def shared_seed_state() -> list[Any]:
    """The seed of random operations that are given none, if anything has drawn from it yet."""
    generator = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    return [] if generator is None else [generator.state]


def seed_states(layer: Any) -> list[Any]:
    """The states of the generators that a layer draws from."""
    return [generator.state for generator in getattr(layer, "_seed_generators", ())]


def build_on(model: Any, example: Batch, *, trains: bool = False) -> None:
    """Builds what of a model, its metrics and its optimizer is not built yet; no numbers are looked at.

    Keras' own way asks for the loss of an evaluation, which a model that trains need not have.
    """
    compute_loss = model._compute_loss

    def training_loss(*args: Any, **given: Any) -> Any:
        return compute_loss(*args, **given | {"training": True})

    parts = list(model._flatten_layers())
    if not all(layer.built for layer in parts) and not any(getattr(layer, "stateful", False) for layer in parts):
        # On any number of samples first: an `Input` that Keras makes keeps the number that it sees.
        runs(model, example.x, None)
    with replaced(model, "_compute_loss", training_loss) if trains else contextlib.nullcontext():
        model._symbolic_build(data_batch=map_leaves(lambda array: symbol_of(array, example.size), example.nest))


@contextlib.contextmanager
def undone_on_error(
    backup: Backup, samples: int, too_late: Callable[[BaseException], bool] = lambda _: False
) -> Iterator[None]:
    """Puts back what a step has changed, should it fail; where memory ran out, that is an `OutOfMemoryError` then."""
    backup.attempt += 1
    try:
        yield
    except BaseException as error:
        if too_late(error):
            raise
        backup.restore()
        if classify(error) is not Cause.OUT_OF_MEMORY:
            raise
        # The traceback's frames hold the tensors of the failed pass; without it their memory is free again.
        error.with_traceback(None)
        gc.collect()
        msg = f"A micro-batch of {samples} samples did not fit in memory; the model is as it was before it."
        raise OutOfMemoryError(msg, samples) from error
