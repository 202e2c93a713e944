"""Makes Keras' own `train_step` hand over its gradients instead of applying them, while it is being traced.

The user's `train_step`, losses, metrics, regularizers and loss scaling run as they stand. What is swapped on the
instances, and put back when the trace ends:

- `optimizer.apply` keeps the gradients it is given, and that of any other optimizer of the model refuses;
- `optimizer.scale_loss` takes the micro-batch's share of the loss first, so that half precision overflows where it
  would in the whole batch (for a step that does not call it the share is applied to the gradient);
- losses that are sums, or means over what a mask leaves or over sample weights, are scaled so that the share comes out
  right (means over samples need nothing);
- trackers of scalars count shares, so that logs are those of the whole effective batch;
- BatchNorm's moving averages use `momentum ** share`, so that they move as far per update as with one whole batch
  (where statistics are not taken over groups: `batch_statistics.py`).

What is not covered, losses that couple the samples of a batch among it, is found by trying (`cut_check`).
"""

import contextlib
import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import apply_mask

from autobatch.backend.tensorflow.batch_statistics import batch_norms
from autobatch.backend.tensorflow.function import replaced
from autobatch.errors import ModelError


@dataclass(slots=True)
class Share:
    """A micro-batch's part of the effective batch, as tensors of a trace."""

    samples: Any  # scalar: its samples over those of the effective batch
    # Shape `(losses,)`: what each loss divides by in the effective batch; 0 where that has not been counted.
    divisors: Any
    # What each loss divides by in this micro-batch, once it has been called; nothing for one that divides by samples.
    found: dict[int, Any] = field(default_factory=dict)


class Captured:
    """The gradients that one traced step handed to the optimizer, in the order of the model's trainable variables."""

    def __init__(self, variables: list[Any]) -> None:
        self._place = {id(variable): place for place, variable in enumerate(variables)}
        self.gradients: list[Any] = [None] * len(variables)
        self.weighted = False  # whether they are those of the micro-batch's share of the loss already
        self.calls = 0

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Stands in for `optimizer.apply`."""
        self.calls += 1
        places = range(len(self.gradients))
        if trainable_variables is not None:
            places = [self._place[id(variable)] for variable in trainable_variables]  # type: ignore[assignment]
        for place, gradient in zip(places, grads, strict=True):
            self.gradients[place] = gradient

    def require_one_call(self) -> None:
        """Refuses steps that are not one update of one optimizer: gradients applied twice (a GAN), or never."""
        # Keras applies nothing where nothing can be trained.
        if self.calls != 1 and self.gradients:
            msg = (
                f"The model's train_step applies gradients {self.calls} times a step, so its micro-batches cannot be "
                "joined into one update. Train it with Keras' own fit(). "
                f"Received: train_step with {self.calls} optimizer calls. Expected 1."
            )
            raise ModelError(msg)


def has_vector_loss(model: Any) -> bool:
    """Whether the compiled loss keeps one value a sample (`reduction=None`), whose gradient is that of their sum."""
    reductions = [getattr(item.loss, "reduction", "sum_over_batch_size") for item in flat_losses(model)]
    unreduced = [reduction in ("none", None) for reduction in reductions]
    if any(unreduced) and not all(unreduced):
        msg = f"Losses with and without a reduction cannot be combined. Received: reductions={reductions}"
        raise ModelError(msg)
    return bool(unreduced) and all(unreduced)


def outputs(model: Any) -> int:
    """Number of compiled losses."""
    return max(1, len(flat_losses(model)))


@contextlib.contextmanager
def intercepted(model: Any, share: Share, captured: Captured | None) -> Iterator[None]:
    """Swaps what the module's text lists, for the time of one trace; `captured` is `None` for a test step."""
    with contextlib.ExitStack() as undo:
        if captured is not None:
            undo.enter_context(replaced(model.optimizer, "apply", captured.apply))
            if not has_vector_loss(model):
                scale_loss = _scaling(model.optimizer.scale_loss, share, captured)
                undo.enter_context(replaced(model.optimizer, "scale_loss", scale_loss))
            for name, optimizer in other_optimizers(model).items():
                undo.enter_context(replaced(optimizer, "apply", _refusing(name)))
            for layer in batch_norms(model):
                momentum = tf.cast(layer.momentum, tf.float32) ** share.samples
                undo.enter_context(replaced(layer, "momentum", momentum))
        compiled = model._compile_loss
        if flat_losses(model):
            scaled = [_scaled(item, share, place) for place, item in enumerate(compiled._flat_losses)]
            undo.enter_context(replaced(compiled, "_flat_losses", scaled))
            for metric in compiled.metrics:
                undo.enter_context(replaced(metric, "update_state", _sharing(metric.update_state, share)))
        for metric in _means(model):
            undo.enter_context(replaced(metric, "update_state", _sharing_scalars(metric, share)))
        yield


def flat_losses(model: Any) -> list[Any]:
    """The compiled losses, one for each output; none before they are built."""
    compiled = model._compile_loss
    return list(compiled._flat_losses or ()) if compiled is not None else []


def is_keras(item: Any) -> bool:
    """Whether a function, or the class of an object, comes with Keras."""
    code = item if inspect.isfunction(item) else type(item)
    return str(code.__module__).startswith("keras.")


def other_optimizers(model: Any) -> dict[str, Any]:
    """The optimizers that a model has beside the one it is compiled with, by attribute, as a GAN has them."""
    return {
        name: one
        for name, value in vars(model).items()
        for one in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value])
        if isinstance(one, keras.optimizers.Optimizer) and one is not model.optimizer
    }


def _refusing(name: str) -> Callable[..., None]:
    def apply(grads: Any, trainable_variables: Any = None) -> None:
        del grads, trainable_variables
        msg = (
            f"The model's train_step applies gradients with an optimizer of its own, model.{name}, beside the one that "
            "the model is compiled with, so its micro-batches cannot be joined into one update. Train it with Keras' "
            f"own fit(). Received: train_step with model.{name}. Expected only model.optimizer."
        )
        raise ModelError(msg)

    return apply


def _scaled(item: Any, share: Share, place: int) -> Any:
    loss = item.loss
    reduction = getattr(loss, "reduction", "sum_over_batch_size")

    def scaled_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        value, divisor = _divided(loss, y_true, y_pred, sample_weight)
        if reduction == "sum":
            return value / tf.cast(share.samples, value.dtype)
        if divisor is None:
            return value
        share.found[place] = divisor
        whole = tf.cast(share.divisors[place], divisor.dtype)
        factor = tf.where(whole > 0, divisor / tf.where(whole > 0, whole, 1), 1) / tf.cast(share.samples, divisor.dtype)
        return value * tf.cast(factor, value.dtype)

    return item._replace(loss=scaled_loss)


def _divided(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any]:
    """The value of a compiled loss, and what it divides by if that is not the number of samples (times a constant).

    Keras has a mean divide by the entries that the masks of predictions and losses leave
    (`keras.src.losses.loss.apply_mask`); `"mean_with_sample_weight"` by the sum of what it weights them with.
    """
    values: list[Any] = []
    reduction = getattr(loss, "reduction", "sum_over_batch_size")

    def call(*args: Any, **given: Any) -> Any:
        values.append(loss_call(*args, **given))
        return values[-1]

    loss_call = loss.call
    with replaced(loss, "call", call):
        value = loss(y_true, y_pred, sample_weight)
    masks = [mask for mask in map(get_keras_mask, (y_pred, *values[-1:])) if mask is not None]
    mask = functools.reduce(operator.and_, masks) if masks else None
    if reduction == "mean_with_sample_weight" and not (mask is None and sample_weight is None):
        weights = None if sample_weight is None else tf.cast(sample_weight, loss.dtype)
        return value, tf.reduce_sum(apply_mask(weights, mask, loss.dtype, reduction))
    if mask is None or reduction not in ("sum_over_batch_size", "mean"):
        return value, None
    return value, tf.reduce_sum(tf.cast(mask, loss.dtype))


def _scaling(scale_loss: Any, share: Share, captured: Captured) -> Any:
    def scale(loss: Any) -> Any:
        captured.weighted = True
        return scale_loss(loss * tf.cast(share.samples, loss.dtype))

    return scale


def _sharing(update_state: Any, share: Share) -> Any:
    """Keras gives each call the same weight where the batch dimension is unknown; an update counts once, in shares."""

    def update(value: Any, sample_weight: Any = None) -> Any:
        return update_state(value, sample_weight=share.samples if sample_weight is None else sample_weight)

    return update


def _means(model: Any) -> list[Any]:
    """The means among a model's metrics, but for the trackers of each output's loss."""
    compiled = [part.metrics if part is not None else () for part in (model._compile_metrics, model._compile_loss)]
    trackers = {id(tracker) for tracker in compiled[1]}
    return [metric for metric in (*model.metrics, *compiled[0]) if id(metric) not in trackers and _is_mean(metric)]


def _is_mean(metric: Any) -> bool:
    """Whether a metric averages as Keras does; what a class of the user's own makes of a micro-batch is its own."""
    update_state = getattr(type(metric), "update_state", None)
    return update_state in (keras.metrics.Mean.update_state, keras.metrics.MeanMetricWrapper.update_state)


def _sharing_scalars(metric: Any, share: Share) -> Any:
    """One value for all samples of a micro-batch counts for its share; values of single samples count as ever."""
    update_state = metric.update_state

    def update_mean(values: Any, sample_weight: Any = None) -> Any:
        shared = sample_weight is None and _is_scalar(values)
        return update_state(values, sample_weight=share.samples if shared else sample_weight)

    def update_wrapper(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        values = metric._fn(y_true, y_pred, **metric._fn_kwargs)
        if sample_weight is None and _is_scalar(values):
            return keras.metrics.Mean.update_state(metric, values, sample_weight=share.samples)
        with replaced(metric, "_fn", lambda *_, **__: values):
            return update_state(y_true, y_pred, sample_weight)

    return update_wrapper if isinstance(metric, keras.metrics.MeanMetricWrapper) else update_mean


def _is_scalar(values: Any) -> bool:
    return len(tf.convert_to_tensor(values).shape) == 0
