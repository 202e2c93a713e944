"""The test and predict steps of one Keras model on TensorFlow, on micro-batches that can be undone.

A micro-batch that fails leaves metrics, seeds and averages as they were, so that its samples can be handed in again in
smaller parts. The user's own `test_step` and `predict_step` run as they stand. There is no optimizer in it: the model
may be frozen, and for predictions uncompiled.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from autobatch.backend.base import BatchTotals, CutCheck, Logs
from autobatch.backend.tensorflow import allocator as memory
from autobatch.backend.tensorflow import capture as intercept
from autobatch.backend.tensorflow.allocation_trace import AllocationTrace
from autobatch.backend.tensorflow.cut_check import check_cut
from autobatch.backend.tensorflow.divisors import Divisors
from autobatch.backend.tensorflow.function import (
    Function,
    KnownKinds,
    arrays_of,
    compiled,
    form_of,
    packed,
    specs_of,
    summary_writer,
)
from autobatch.backend.tensorflow.variables import Backup, build_on, mutable_variables, undone_on_error
from autobatch.data.batch import Batch
from autobatch.data.model_spec import fixed_batch_size
from autobatch.errors import ModelError

Step = Literal["test", "predict"]


class ForwardSteps:
    """Steps that train nothing, for a model that is built."""

    def __init__(self, model: Any, backup: Backup, *, weighted: bool) -> None:
        self._model, self._backup = model, backup
        self.divisors = Divisors(model, backup, "test", weighted=weighted)
        self._functions: dict[Any, Function] = {}
        self._kinds = KnownKinds(model)

    def evaluate(self, batch: Batch, whole: BatchTotals) -> Logs:
        scalars = (np.float32(batch.size / whole.size), self.divisors.shared(whole))
        logs = dict(self._run("test", batch, scalars))
        self.divisors.require_counted(batch, whole)
        return logs

    def predict(self, batch: Batch) -> Any:
        """Runs the predict step on one micro-batch and returns its outputs as arrays."""
        return keras.tree.map_structure(_as_array, self._run("predict", batch, ()))

    def traced(self, step: Step, batch: Batch) -> Any:
        """Compiles a step without running it; the nest of what it returns, as specifications, `None` if it is eager."""
        if self._model.run_eagerly:
            return None
        function: Any = self._function(step, batch, arrays_of(self._model, batch))
        return function.get_concrete_function().structured_outputs

    def _run(self, step: Step, batch: Batch, scalars: tuple[Any, ...]) -> Any:
        with undone_on_error(self._backup, batch.size):
            arrays = arrays_of(self._model, batch)
            return self._function(step, batch, arrays)(arrays, self._backup.attempt, *scalars)

    def _function(self, step: Step, batch: Batch, arrays: list[Any]) -> Function:
        """The compiled step for this form of data, whatever the size."""
        form = form_of(batch)
        kinds = self._kinds.of(repr(form), arrays)
        key = (step, repr(form), kinds, summary_writer())
        if key not in self._functions:
            body = self._test_body(form) if step == "test" else self._predict_body(form)
            signature: list[Any] = [specs_of(kinds), tf.TensorSpec([], tf.int64)]
            if step == "test":
                outputs = intercept.outputs(self._model)
                signature += [tf.TensorSpec([], tf.float32), tf.TensorSpec([outputs], tf.float32)]
            self._functions[key] = compiled(self._model, body, signature)
        return self._functions[key]

    def _test_body(self, form: Any) -> Function:
        def test(arrays: Any, attempt: Any, samples: Any, divisors: Any) -> Any:
            share = intercept.Share(samples, divisors)
            with self._backup.backed_up(attempt), intercept.intercepted(self._model, share, None):
                logs = self._model.test_step(packed(form, arrays))
            self.divisors.note(share)
            return logs

        return test

    def _predict_body(self, form: Any) -> Function:
        def predict(arrays: Any, attempt: Any) -> Any:
            with self._backup.backed_up(attempt):
                return self._model.predict_step(packed(form, arrays))

        return predict


class MeasuredModel:
    """What an engine tells of one model: the `backend.base.Measured` of its steps, and what cutting them does."""

    divisors: Divisors

    def __init__(self, model: Any) -> None:
        self._model = model
        self.fixed_batch_size = fixed_batch_size(model)
        self._device = memory.device_name()
        # XLA compiles each size for itself, and what runs eagerly is not compiled.
        self.compiles_once = not (model.jit_compile or model.run_eagerly)

    @property
    def needs_divisors(self) -> bool:
        return self.divisors.needed

    def totals(self, *parts: Batch) -> BatchTotals:
        return self.divisors.totals(*parts)

    def check_cut(self, batch: Batch, most: int) -> CutCheck:
        return check_cut(self._model, batch, most, self.divisors)

    def device_peak_bytes(self) -> int | None:
        figures = self.allocator_bytes()
        return figures[1] if figures is not None and self._device != memory.CPU else None

    def allocator_bytes(self) -> tuple[int, int] | None:
        return memory.allocator_bytes(self._device)

    def reset_peak(self) -> bool:
        return memory.reset_peak(self._device)

    def recording(self) -> AllocationTrace:
        return AllocationTrace(self._device)


class TensorFlowForwardEngine(ForwardSteps, MeasuredModel):
    """An `autobatch.backend.base.ForwardEngine` for one model."""

    def __init__(self, model: Any, example: Batch, *, evaluates: bool) -> None:
        require_runnable(model, evaluates=evaluates)
        # Metrics must exist before the first backup, or what a failed step created would stay behind. An optimizer is
        # not built along: it may be as large as the model.
        with _hidden(model, "optimizer", *(() if evaluates else ("_compile_metrics", "_compile_loss"))):
            build_on(model, example)
        weighted = example.sample_weight is not None
        ForwardSteps.__init__(self, model, Backup(mutable_variables(model)), weighted=weighted)
        MeasuredModel.__init__(self, model)
        self._evaluates = evaluates

    def trace(self, batch: Batch) -> None:
        self.traced("test" if self._evaluates else "predict", batch)

    def output_bytes(self, batch: Batch) -> int | None:
        specs = keras.tree.flatten(self.traced("predict", batch))
        if not specs or any(spec is None or not _is_dense(spec) for spec in specs):
            return None
        numbers = [int(np.prod(spec.shape[1:], dtype=np.int64)) for spec in specs]
        return sum(number * int(spec.dtype.size) for number, spec in zip(numbers, specs, strict=True))

    def untouched(self, run: Callable[[], Any]) -> None:
        run()
        self._backup.restore()


def require_runnable(model: Any, *, evaluates: bool) -> None:
    """See `Backend.require_runnable`."""
    if not hasattr(model, "compiled"):
        raise ModelError(f"Received: model={model!r:.100}. Expected a Keras model.")
    if evaluates and not model.compiled:
        msg = (
            "The model is not compiled, so it has no loss and no metrics. Call model.compile(loss=..., metrics=[...]) "
            "first; autobatch.predict(...) needs neither."
        )
        raise ModelError(msg)
    require_one_replica(model)


def require_one_replica(model: Any) -> None:
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        msg = f"Several replicas are not supported. Received: a model on {replicas} replicas. Expected 1."
        raise ModelError(msg)


@contextlib.contextmanager
def _hidden(model: Any, *names: str) -> Iterator[None]:
    """Has attributes be `None` for a while, past Keras, which would take note of each that is set."""
    own = vars(model)
    before = {name: own[name] for name in names if name in own}
    own.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del own[name]
        own.update(before)


def _is_dense(spec: Any) -> bool:
    if not isinstance(spec, tf.Tensor | tf.TensorSpec):
        return False
    return spec.shape.rank not in (None, 0) and None not in spec.shape[1:]


def _as_array(output: Any) -> Any:
    if isinstance(output, tf.RaggedTensor | tf.SparseTensor):
        msg = (
            "The predictions of a sample must be arrays that can be put in a row. "
            f"Received: {type(output).__name__}. Expected dense outputs, or model.predict."
        )
        raise ModelError(msg)
    return np.asarray(output)
