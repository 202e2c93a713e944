"""What losses divide by where that is not the number of samples, counted before the first micro-batch of an update.

Keras divides a mean by the entries that a mask leaves, or by the sum of the sample weights, of the batch that it sees.
In micro-batches the whole effective batch's are needed. They follow from as much of the forward pass as makes the
masks, mostly a comparison of the inputs, and only that is run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import get_keras_mask

from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow import capture as intercept
from autobatch.backend.tensorflow.function import KnownKinds, arrays_of, form_of, packed, specs_of
from autobatch.backend.tensorflow.variables import Backup, undone_on_error
from autobatch.data.batch import Batch
from autobatch.data.check import is_keras_own
from autobatch.errors import ModelError


def divides_by_counts(model: Any, *, weighted: bool) -> bool:
    """See `Backend.divides_by_counts`."""
    # A step of the user's own may weight by itself.
    weighted = weighted or not all(is_keras_own(model, name) for name in ("train_step", "test_step", "compute_loss"))
    return any(_may_count(loss, weighted=weighted) for loss in keras.tree.flatten(model.loss)) or _may_mask(model)


def _may_count(loss: Any, *, weighted: bool) -> bool:
    if getattr(loss, "reduction", None) == "mean_with_sample_weight" and weighted:
        return True
    if getattr(loss, "ignore_class", None) is not None:
        return True
    code = getattr(loss, "fn", loss)  # a function of the user's own may call one of Keras' that leaves a mask
    return code is not None and not isinstance(code, str) and not intercept.is_keras(code)


def _may_mask(model: Any) -> bool:
    if is_keras_own(model, "call") and getattr(model, "outputs", None):
        return any(get_keras_mask(output) is not None for output in model.outputs)
    return any(
        isinstance(layer, keras.layers.Masking)
        or getattr(layer, "mask_zero", False)
        or not (layer is model or is_keras_own(layer, "compute_mask"))
        for layer in model._flatten_layers()
    )


@dataclass(frozen=True, slots=True)
class _Count:
    run: Callable[..., Any]  # from some of a batch's arrays to the divisors
    places: list[int]  # which arrays
    is_light: bool  # whether it looks at the data alone, not through a part of the model


def _leading_to(outputs: Sequence[Any]) -> set[Any]:
    """The operations that outputs of a graph follow from."""
    found: set[Any] = set()
    waiting = [tensor.op for tensor in outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return found


class Divisors:
    """Counts for one model; `needed` tells whether there is anything to count, exactly once it has been tried."""

    def __init__(self, model: Any, backup: Backup, step: Literal["train", "test"], *, weighted: bool) -> None:
        self._model, self._backup, self.step = model, backup, step
        self._functions: dict[Any, _Count] = {}
        self._kinds = KnownKinds(model)
        self._found = False  # whether a step's loss divides by something else than samples
        self.needed = model.compiled and divides_by_counts(model, weighted=weighted)

    def totals(self, *parts: Batch) -> BatchTotals:
        """See `Evaluator.totals`."""
        size = sum(part.size for part in parts)
        counted: Sequence[Any] = ()
        with undone_on_error(self._backup, max(part.size for part in parts)):
            if self.needed:
                counted = self._counts(parts)
        return BatchTotals(size, tuple(np.sum(counted, axis=0).tolist()) if self.needed else None)

    def shared(self, whole: BatchTotals) -> Any:
        """The divisors of an effective batch as a step takes them, shape `(losses,)`."""
        count = intercept.outputs(self._model)
        return np.zeros(count, np.float32) if whole.divisors is None else np.asarray(whole.divisors, np.float32)

    def note(self, share: intercept.Share) -> None:
        """Takes in what a step has found that was being traced, or run eagerly."""
        self._found = self._found or bool(share.found)

    def require_counted(self, batch: Batch, whole: BatchTotals) -> None:
        """Refuses a part of an update whose loss turns out to divide by what nobody has counted."""
        if self._found and whole.divisors is None and batch.size < whole.size:
            msg = (
                "A mask that only the run has shown decides what the loss divides by, so the update cannot be cut into "
                f"micro-batches. Received: a micro-batch of {batch.size} of {whole.size} samples. Expected the mask "
                "from the model's inputs, from a layer's compute_mask, or from the loss."
            )
            raise ModelError(msg)

    def _counts(self, parts: Sequence[Batch]) -> list[Any]:
        form, arrays = form_of(parts[0]), [arrays_of(self._model, part) for part in parts]
        if self._model.run_eagerly:
            self._backup.write(self._backup.attempt)
            try:
                return [np.asarray(self._divisors(form, each)) for each in arrays]
            finally:
                self._backup.restore()
        count = self._count_of(form, arrays[0])
        given = [[each[place] for place in count.places] for each in arrays]
        if count.is_light:  # a call takes as long as the whole of it
            given = [[np.concatenate(column) for column in zip(*given, strict=True)]]
        return [np.asarray(count.run(*map(tf.convert_to_tensor, each))[0]) for each in given]

    def _count_of(self, form: Any, arrays: list[Any]) -> "_Count":
        key = (repr(form), kinds := self._kinds.of(repr(form), arrays))
        if key not in self._functions:
            traced = tf.compat.v1.wrap_function(lambda *given: self._divisors(form, list(given)), specs_of(kinds))
            leads = _leading_to(traced.graph.outputs)
            inputs, variables = traced.graph.inputs[: len(arrays)], traced.graph.inputs[len(arrays) :]
            places = [place for place, tensor in enumerate(inputs) if tensor.op in leads]
            # What does not lead to the counts is left out: most of the model, and all that would be written.
            run = traced.prune([inputs[place] for place in places], traced.graph.outputs)
            self._functions[key] = _Count(run, places, not any(tensor.op in leads for tensor in variables))
        return self._functions[key]

    def _divisors(self, form: Any, arrays: list[Any]) -> Any:
        """Shape `(losses,)`: what each divides by, 0 for one that divides by samples."""
        count = intercept.outputs(self._model)
        share = intercept.Share(tf.ones(()), tf.zeros(count))
        model, data, training = self._model, packed(form, arrays), self.step == "train"
        own = not is_keras_own(model, f"{self.step}_step")
        captured = intercept.Captured(list(model.trainable_variables)) if own and training else None
        with intercept.intercepted(model, share, captured):
            if own:
                getattr(model, f"{self.step}_step")(data)
            else:
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                y_pred = model(x, training=training) if model._call_has_training_arg else model(x)
                model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        self.needed = bool(share.found)
        return tf.stack([tf.cast(share.found.get(place, 0), tf.float32) for place in range(count)])
