"""Updates of one compiled Keras model on TensorFlow, in micro-batches that can be undone.

One compiled function runs a micro-batch: a backup of what it may change, forward, backward, and only when every
gradient exists, their use (`update.py`). When it fails, the backup is put back. One trace serves all sizes and uses;
with XLA each size and use is compiled once.

Not covered: an allocation that fails while the optimizer writes. It needs less memory than the backward pass that has
just ended, so it is not expected; should it happen, `UpdateInterruptedError` says that the weights cannot be trusted.
"""

import contextlib
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from autobatch.backend.base import BatchTotals, Logs
from autobatch.backend.tensorflow import allocator as memory
from autobatch.backend.tensorflow import capture as intercept
from autobatch.backend.tensorflow.batch_statistics import grouped_statistics, require_own_rows
from autobatch.backend.tensorflow.divisors import Divisors
from autobatch.backend.tensorflow.forward import ForwardSteps, MeasuredModel, require_one_replica
from autobatch.backend.tensorflow.function import (
    Function,
    KnownKinds,
    arrays_of,
    compiled_once,
    form_of,
    packed,
    specs_of,
    summary_writer,
)
from autobatch.backend.tensorflow.lr_scale import LearningRateScale
from autobatch.backend.tensorflow.update import Update, Use, count_operations, side_effects
from autobatch.backend.tensorflow.variables import Backup, build_on, mutable_variables, undone_on_error
from autobatch.data.batch import Batch
from autobatch.errors import ArgumentError, ModelError, UpdateInterruptedError


class TensorFlowEngine(MeasuredModel):
    """An `autobatch.backend.base.Engine` for one compiled model."""

    def __init__(self, model: Any, example: Batch, *, rescaled: bool = False, group: int = 1) -> None:
        require_supported(model)
        super().__init__(model)
        # Metrics and optimizer must exist before the first backup, or what a failed step created would stay behind.
        build_on(model, example, trains=True)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self._vector_loss = intercept.has_vector_loss(model)
        self._outputs = intercept.outputs(model)
        self._backup = Backup(mutable_variables(model))
        self._rescaling = LearningRateScale(model.optimizer) if rescaled else None
        during_apply = self._rescaling.in_force if self._rescaling else contextlib.nullcontext
        self._update = Update(model, during_apply, called=self._device == memory.CPU)
        self._statistics = grouped_statistics(model, group) if group > 1 else contextlib.nullcontext
        if group > 1 and model.jit_compile:
            require_own_rows(model, self._statistics, example, self._backup)
        self._functions: dict[Any, Function] = {}
        self._kinds = KnownKinds(model)
        weighted = example.sample_weight is not None
        self.divisors = Divisors(model, self._backup, "train", weighted=weighted)
        self._forward = ForwardSteps(model, self._backup, weighted=weighted)
        self._apply = compiled_once(model, self._update.apply_accumulated, [tf.TensorSpec([], tf.int64)])
        self._kept = False  # whether the accumulators hold part of this update
        self._filled = False  # whether they hold memory

    def accumulate(self, batch: Batch, whole: BatchTotals) -> Logs:
        with undone_on_error(self._backup, batch.size, self._is_too_late):
            if batch.size == whole.size:
                if self._filled and not self._kept:
                    self.empty()  # what updates in several pieces have kept would only be in the way
                return dict(self.compute(batch, whole, Use.APPLY))
            logs = self.compute(batch, whole, Use.ADD if self._kept else Use.STORE)
            self._kept = self._filled = True
            return dict(logs)

    def compute(self, batch: Batch, whole: BatchTotals, use: Use) -> Logs:
        """Runs forward, backward and the use of the gradients, and returns the metrics so far.

        A seam for tests that make it fail; `accumulate` undoes whatever it did.
        """
        if use is not Use.APPLY and self._model.jit_compile:
            self._update.make_room()
        share = np.float32(batch.size / whole.size)
        scalars = (share, np.float32(1.0) if self._vector_loss else share, np.int32(use))
        arrays, divisors = arrays_of(self._model, batch), self.divisors.shared(whole)
        logs: Logs = self._function(batch, arrays, use)(arrays, divisors, *scalars, self._backup.attempt)
        self.divisors.require_counted(batch, whole)
        return logs

    def apply(self) -> None:
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
        self._kept = False

    def rescale(self, rate: float, updates: float) -> None:
        if self._rescaling is None:
            msg = f"Received: rate={rate!r} for an engine made without rescaled=True. Expected one made with it."
            raise ArgumentError(msg)
        self._rescaling.set(rate, updates)

    def accumulator_bytes(self) -> int:
        return self._update.kept_bytes

    def empty(self) -> None:
        self._filled = False
        self._update.empty()

    def evaluate(self, batch: Batch, whole: BatchTotals) -> Logs:
        return self._forward.evaluate(batch, whole)

    def finish(self) -> None:
        self._model.optimizer.finalize_variable_values(self._model.trainable_weights)

    def _is_too_late(self, error: BaseException) -> bool:
        """Whether the optimizer had begun to write; Ctrl-C is delivered once the step is done, and the update whole."""
        began = self._update.began(self._backup.attempt)
        if began and isinstance(error, Exception):
            _raise_interrupted(error)
        return began

    def _function(self, batch: Batch, arrays: list[Any], use: Use) -> Function:
        """The compiled step for this form of data, whatever the size."""
        form = form_of(batch)
        kinds = self._kinds.of(repr(form), arrays)
        fixed = bool(self._model.jit_compile)  # XLA compiles every branch, so it gets just one
        key = (use if fixed else None, repr(form), kinds, summary_writer())
        if key not in self._functions:
            scalars = [tf.TensorSpec([], dtype) for dtype in (tf.float32, tf.float32, tf.int32, tf.int64)]
            signature = [specs_of(kinds), tf.TensorSpec([self._outputs], tf.float32), *scalars]
            body = self._train_body(form, use if fixed else None)
            self._functions[key] = compiled_once(self._model, body, signature)
        return self._functions[key]

    def _train_body(self, form: Any, fixed: Use | None) -> Function:
        model, update = self._model, self._update

        def train(arrays: Any, divisors: Any, samples: Any, factor: Any, use: Any, attempt: Any) -> Any:
            captured = intercept.Captured(update.variables)
            share = intercept.Share(samples, divisors)
            with self._backup.backed_up(attempt), intercept.intercepted(model, share, captured):
                count = count_operations()
                with self._statistics(tf.shape(arrays[0])[0]):
                    logs = model.train_step(packed(form, arrays))
                effects = side_effects(count)
            captured.require_one_call()
            self.divisors.note(share)
            branch = Use(int(use)) if model.run_eagerly else fixed
            factor = np.float32(1.0) if captured.weighted else factor
            update.use(captured.gradients, effects, use if branch is None else branch, factor, attempt)
            return logs

        return train


def require_supported(model: Any) -> None:
    """See `Backend.require_trainable`."""
    if not hasattr(model, "compiled"):
        msg = f"Received: model={model!r:.100}. Expected a compiled Keras model."
        raise ModelError(msg)
    if not model.compiled:
        msg = (
            "The model is not compiled, so it has no loss and no optimizer. Call model.compile(optimizer, loss) first."
        )
        raise ModelError(msg)
    require_one_replica(model)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    steps = getattr(optimizer, "gradient_accumulation_steps", None)
    if steps:
        msg = (
            "autobatch accumulates gradients by itself, and exactly. Leave gradient_accumulation_steps out of the "
            f"optimizer and give fit(batch_size=...) the effective batch. Received: gradient_accumulation_steps={steps}"
        )
        raise ModelError(msg)


def _raise_interrupted(error: BaseException) -> NoReturn:
    msg = (
        "The update failed while the optimizer was writing the weights, so some have moved and some have not. Restore "
        "the model from a checkpoint before training on."
    )
    raise UpdateInterruptedError(msg) from error.with_traceback(None)
