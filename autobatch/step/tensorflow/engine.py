"""Updates of one compiled Keras model on TensorFlow, in micro-batches that can be undone.

One compiled function runs a micro-batch: a backup of what it may change, forward, backward, and only when every
gradient exists, their use (`update.py`). When it fails, the backup is put back. One trace serves all sizes and uses;
with XLA each size and use is compiled once.

Not covered: an allocation that fails while the optimizer writes. It needs less memory than the backward pass that has
just ended, so it is not expected; should it happen, `UpdateInterruptedError` says that the weights cannot be trusted.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.errors import ArgumentError, ModelError, OutOfMemoryError, UpdateInterruptedError
from autobatch.step.engine import Logs, Whole, part_weights
from autobatch.step.oom import Cause, classify
from autobatch.step.tensorflow import intercept, memory
from autobatch.step.tensorflow.cutcheck import TOLERANCE, cut_error, has_own_loss
from autobatch.step.tensorflow.rescale import Rescaling
from autobatch.step.tensorflow.state import Backup, mutable_variables
from autobatch.step.tensorflow.update import Update, Use, count_operations, side_effects

Function = Callable[..., Any]


class TensorFlowEngine:
    """An `autobatch.step.engine.Engine` for one compiled model.

    Args:
        model: A compiled Keras model; it is built from `example` where it is not built yet.
        example: A few samples in the form that training will use.
        rescaled: Whether `rescale` is going to be called. If not, the learning rate is nobody's business here.

    Raises:
        ModelError: The model cannot be trained in micro-batches, and why.
    """

    def __init__(self, model: Any, example: Batch, *, rescaled: bool = False) -> None:
        require_supported(model)
        self._model = model
        _build(model, example)
        _require_weights(model)
        self._vector_loss = intercept.has_vector_loss(model)
        self._outputs = intercept.outputs(model)
        self._backup = Backup(mutable_variables(model))
        self._rescaling = Rescaling(model.optimizer) if rescaled else None
        self._device = memory.device_name()
        during_apply = self._rescaling.in_force if self._rescaling else contextlib.nullcontext
        self._update = Update(model, during_apply, called=self._device == "CPU:0")
        self._functions: dict[Any, Function] = {}
        self._apply = self._compiled(self._update.apply_accumulated, [tf.TensorSpec([], tf.int64)])
        self._kept = False  # whether the accumulators hold part of this update
        self._filled = False  # whether they hold memory

    @property
    def needs_weights(self) -> bool:
        """Whether the weights of the whole effective batch must be known before its first micro-batch."""
        return intercept.needs_weights(self._model)

    def accumulate(self, batch: Batch, whole: Whole) -> Logs:
        """Runs one micro-batch and applies or keeps its gradients; see `Engine.accumulate`."""
        with self._undone_on_error(batch):
            if batch.size == whole.size:
                self._empty_once()
                return dict(self.compute(batch, whole, Use.APPLY))
            logs = self.compute(batch, whole, Use.ADD if self._kept else Use.STORE)
            self._kept = self._filled = True
            return dict(logs)

    def compute(self, batch: Batch, whole: Whole, use: Use) -> Logs:
        """Runs forward, backward and the use of the gradients, and returns the metrics so far.

        A seam for tests that make it fail; `accumulate` undoes whatever it did.
        """
        if use is not Use.APPLY and self._model.jit_compile:
            self._update.make_room()
        share = np.float32(batch.size / whole.size)
        factor = np.float32(1.0) if self._vector_loss else share
        return self._run(batch, whole, use, factor)  # type: ignore[no-any-return]

    def apply(self) -> None:
        """Applies what the micro-batches of this update have left; see `Engine.apply`."""
        if not self._kept:
            return
        try:
            self._backup.attempt += 1
            self._apply(self._backup.attempt)
        except Exception as error:
            if self._update.began(self._backup.attempt):
                _raise_interrupted(error)
            raise  # nothing was written
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Forgets the gradient accumulated since the last `apply`."""
        self._kept = False

    def rescale(self, rate: float, updates: float) -> None:
        """Multiplies the learning rate of coming updates by `rate`; see `Engine.rescale`."""
        if self._rescaling is None:
            msg = f"Received: rate={rate!r} for an engine made without rescaled=True. Expected one made with it."
            raise ArgumentError(msg)
        self._rescaling.set(rate, updates)

    def accumulator_bytes(self) -> int:
        """Bytes that gradients take while they are kept."""
        return self._update.kept_bytes

    def empty(self) -> None:
        """Frees what gradients that were kept have left."""
        self._filled = False
        self._update.empty()

    def _empty_once(self) -> None:
        """Updates in one piece again: what those in several have kept would only be in the way."""
        if self._filled and not self._kept:
            self.empty()

    def can_be_cut(self, batch: Batch) -> bool:
        """Whether cutting a batch leaves its gradient as it is; see `Engine.can_be_cut`."""
        return not has_own_loss(self._model) or cut_error(self._model, batch) < TOLERANCE

    def evaluate(self, batch: Batch, whole: Whole) -> Logs:
        """Runs the test step on one micro-batch; see `Engine.evaluate`."""
        with self._undone_on_error(batch):
            return dict(self._run(batch, whole, None, np.float32(1.0)))

    def finish(self) -> None:
        """Lets the optimizer write its final values (averaged weights)."""
        self._model.optimizer.finalize_variable_values(self._model.trainable_weights)

    def device_peak_bytes(self) -> int | None:
        """Peak bytes in use on an accelerator since the last reset; `None` on a CPU."""
        figures = self.allocator_bytes()
        return figures[1] if figures is not None and self._device != "CPU:0" else None

    def allocator_bytes(self) -> tuple[int, int] | None:
        """Current and peak bytes in use in TensorFlow's allocator."""
        return memory.allocator_bytes(self._device)

    def reset_peak(self) -> None:
        """Starts a new peak measurement."""
        memory.reset_peak(self._device)

    @contextlib.contextmanager
    def _undone_on_error(self, batch: Batch) -> Iterator[None]:
        self._backup.attempt += 1
        try:
            yield
        except BaseException as error:
            if self._update.began(self._backup.attempt):
                if isinstance(error, Exception):
                    _raise_interrupted(error)
                raise  # Ctrl-C is delivered once the step is done: the update is whole
            self._backup.restore()
            if classify(error) is not Cause.OUT_OF_MEMORY:
                raise
            # The traceback's frames hold the tensors of the failed pass; without it their memory is free again.
            error.with_traceback(None)
            gc.collect()
            msg = f"A micro-batch of {batch.size} samples did not fit in memory; the model is as it was before it."
            raise OutOfMemoryError(msg, batch.size) from error

    def _run(self, batch: Batch, whole: Whole, use: Use | None, factor: np.float32) -> Any:
        nest = (batch.x, batch.y, batch.sample_weight)
        arrays = list(leaves(nest))
        if self._model.run_eagerly:
            arrays = [tf.convert_to_tensor(array) for array in arrays]
        shares = self._weight_shares(batch, whole)
        function = self._function(nest, arrays, use)
        scalars = (np.float32(batch.size / whole.size), factor, np.int32(use or 0))
        return function(arrays, shares, *scalars, self._backup.attempt)

    def _weight_shares(self, batch: Batch, whole: Whole) -> Any:
        own = part_weights(batch)
        if not own or whole.weights is None:
            return np.full(self._outputs, batch.size / whole.size, np.float32)
        shares = np.divide(own, whole.weights, out=np.zeros(len(own)), where=np.asarray(whole.weights) != 0)
        return np.broadcast_to(shares.astype(np.float32), (self._outputs,))

    def _function(self, nest: Any, arrays: list[Any], use: Use | None) -> Function:
        """The compiled step for this form of data: one for training and one for evaluation, whatever the size."""
        form = map_leaves(lambda _: "*", nest)
        kinds = tuple((array.shape[1:], array.dtype) for array in arrays)
        fixed = use is not None and bool(self._model.jit_compile)  # XLA compiles every branch, so it gets just one
        key = (use is None, use if fixed else None, repr(form), kinds)
        if key not in self._functions:
            body = self._test_body(form) if use is None else self._train_body(form, use if fixed else None)
            specs = [tf.TensorSpec([None, *shape], dtype) for shape, dtype in kinds]
            scalars = [tf.TensorSpec([], dtype) for dtype in (tf.float32, tf.float32, tf.int32, tf.int64)]
            signature = [specs, tf.TensorSpec([self._outputs], tf.float32), *scalars]
            self._functions[key] = self._compiled(body, signature)
        return self._functions[key]

    def _train_body(self, form: Any, fixed: Use | None) -> Function:
        model, update = self._model, self._update

        def train(arrays: Any, weights: Any, samples: Any, factor: Any, use: Any, attempt: Any) -> Any:
            captured = intercept.Captured(update.variables)
            share = intercept.Share(samples, weights)
            with self._backed_up(attempt), intercept.intercepted(model, share, captured):
                count = count_operations()
                logs = model.train_step(_packed(form, arrays))
                effects = side_effects(count)
            captured.require_one_call()
            branch = Use(int(use)) if model.run_eagerly else fixed
            update.use(captured.gradients, effects, use if branch is None else branch, factor, attempt)
            return logs

        return train

    def _test_body(self, form: Any) -> Function:
        def test(arrays: Any, weights: Any, samples: Any, factor: Any, use: Any, attempt: Any) -> Any:
            del factor, use
            share = intercept.Share(samples, weights)
            with self._backed_up(attempt), intercept.intercepted(self._model, share, None):
                return self._model.test_step(_packed(form, arrays))

        return test

    def _backed_up(self, attempt: Any) -> Any:
        written = self._backup.write(attempt)
        return contextlib.nullcontext() if written is None else tf.control_dependencies([written])

    def _compiled(self, function: Function, signature: Any) -> Function:
        if self._model.run_eagerly:
            return function
        plain = tf.autograph.experimental.do_not_convert(function)
        return tf.function(plain, input_signature=signature, jit_compile=self._model.jit_compile)  # type: ignore[no-any-return]


def require_supported(model: Any) -> None:
    """Refuses models whose updates cannot be cut, before anything is built.

    Raises:
        ModelError: Not compiled, nothing to train, several replicas, or an optimizer that accumulates by itself.
    """
    if not hasattr(model, "compiled"):
        msg = f"Received: model={model!r:.100}. Expected a compiled Keras model."
        raise ModelError(msg)
    if not model.compiled:
        msg = (
            "The model is not compiled, so it has no loss and no optimizer. Call model.compile(optimizer, loss) first."
        )
        raise ModelError(msg)
    if model.built:
        _require_weights(model)
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        msg = f"Several replicas are not supported. Received: a model on {replicas} replicas. Expected 1."
        raise ModelError(msg)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    steps = getattr(optimizer, "gradient_accumulation_steps", None)
    if steps:
        msg = (
            "autobatch accumulates gradients by itself, and exactly. Leave gradient_accumulation_steps out of the "
            f"optimizer and give fit(batch_size=...) the effective batch. Received: gradient_accumulation_steps={steps}"
        )
        raise ModelError(msg)


def _require_weights(model: Any) -> None:
    if not model.trainable_variables:
        msg = "The model has no trainable weights, so there is nothing to train. Set `trainable = True` on a layer."
        raise ModelError(msg)


def _build(model: Any, example: Batch) -> None:
    # Metrics and optimizer must exist before the first backup, or what a failed step created would stay behind.
    model._symbolic_build(data_batch=(example.x, example.y, example.sample_weight))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _packed(form: Any, arrays: list[Any]) -> Any:
    """The data as Keras hands it to a step: `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    present = iter(arrays)
    parts = map_leaves(lambda _: next(present), form)
    while len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    return parts


def _raise_interrupted(error: BaseException) -> NoReturn:
    msg = (
        "The update failed while the optimizer was writing the weights, so some have moved and some have not. Restore "
        "the model from a checkpoint before training on."
    )
    raise UpdateInterruptedError(msg) from error.with_traceback(None)
