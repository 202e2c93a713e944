"""Tries out on a few samples whether a user's own loss may be cut: is the whole gradient the sum of the parts'?

Keras' losses are means or sums over samples, and known to be. A function of the user's may sum by itself, compare the
samples of a batch with each other, or divide by something else; so may losses that layers add, among them activity
regularizers, which older versions of Keras sum. Not tried out: what a user's own `train_step` does with the loss.
"""

import inspect
from typing import Any

import tensorflow as tf

from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow import capture as intercept
from autobatch.backend.tensorflow.forward import weight_shares
from autobatch.backend.tensorflow.variables import preserved
from autobatch.data.batch import Batch, map_leaves
from autobatch.data.check import is_keras_own

TOLERANCE = 1e-3  # between rounding (1e-6) and the smallest error of a loss that cannot be cut (some per cent)


def has_own_loss(model: Any) -> bool:
    """Whether a loss, the way losses are put together, or a layer that may add one, is not Keras' own."""
    own = [item.loss for item in intercept.flat_losses(model)]
    own = [loss.fn if type(loss).__name__ == "LossFunctionWrapper" else loss for loss in own]
    codes = [loss if inspect.isfunction(loss) else type(loss) for loss in own]
    layers = model._flatten_layers()
    codes += [type(model).compute_loss, *(type(layer) for layer in layers)]
    if any(getattr(layer, "activity_regularizer", None) is not None for layer in layers):
        return True
    return any(not str(code.__module__).startswith("keras.") for code in codes)


def cut_error(model: Any, batch: Batch) -> float:
    """Relative L2 distance of a batch's gradient from the sum of its parts', without dropout and batch statistics."""
    size = batch.size
    if size < 2 or _computes_its_own(model):
        return 0.0
    cut = (size + 1) // 2
    with preserved(model):
        whole = _gradient(model, batch, BatchTotals.of(batch))
        parts = [_gradient(model, part, BatchTotals.of(batch)) for part in (batch[:cut], batch[cut:])]
    difference = sum(float(tf.reduce_sum((w - a - b) ** 2)) for w, a, b in zip(whole, *parts, strict=True))
    length = sum(float(tf.reduce_sum(w**2)) for w in whole)
    return float((difference / length) ** 0.5) if length else 0.0


def _computes_its_own(model: Any) -> bool:
    """Whether only the user's own `train_step` knows the loss."""
    return model.loss is None and not is_keras_own(model, "train_step")


def _gradient(model: Any, batch: Batch, whole: BatchTotals) -> list[Any]:
    samples, weights = tf.constant(batch.size / whole.size), tf.constant(weight_shares(model, batch, whole))
    x, y, sample_weight = map_leaves(tf.convert_to_tensor, batch.nest)
    variables = [variable.value for variable in model.trainable_variables]
    with intercept.intercepted(model, intercept.Share(samples, weights), None), tf.GradientTape() as tape:
        y_pred = model(x, training=False)
        loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    factor = 1.0 if intercept.has_vector_loss(model) else samples
    return [tf.convert_to_tensor(gradient) * tf.cast(factor, gradient.dtype) for gradient in gradients]
