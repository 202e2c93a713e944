"""Makes Keras' own `train_step` hand over its gradients instead of applying them, while it is being traced.

The user's `train_step`, losses, metrics, regularizers and loss scaling run as they stand. What is swapped on the
instances, and put back when the trace ends:

- `optimizer.apply` keeps the gradients it is given, and that of any other optimizer of the model refuses;
- losses that are sums, or means over sample weights, are scaled so that the micro-batch's share of the effective batch
  comes out right (means over samples need nothing: their share is applied to the gradient);
- the trackers of each output's logged loss count shares, so that logs are those of the whole effective batch;
- BatchNorm's moving averages use `momentum ** share`, so that they move as far per update as with one whole batch
  (where statistics are not taken over groups: `batch_statistics.py`).

What is not covered: losses that couple the samples of a batch (contrastive, batch-hard triplets), Keras masks with a
mean over valid entries, metrics that a user's `train_step` averages over calls without weights.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autobatch.backend.tensorflow.batch_statistics import batch_norms
from autobatch.backend.tensorflow.function import replaced
from autobatch.data.batch import map_leaves
from autobatch.errors import ModelError


@dataclass(slots=True)
class Share:
    """A micro-batch's part of the effective batch, as tensors of a trace."""

    samples: Any  # scalar: its samples over those of the effective batch
    weights: Any  # shape `(outputs,)`: its sample weights over those of the effective batch, for each output


class Captured:
    """The gradients that one traced step handed to the optimizer, in the order of the model's trainable variables."""

    def __init__(self, variables: list[Any]) -> None:
        self._place = {id(variable): place for place, variable in enumerate(variables)}
        self.gradients: list[Any] = [None] * len(variables)
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
        if self.calls != 1:
            msg = (
                f"The model's train_step applies gradients {self.calls} times a step, so its micro-batches cannot be "
                "joined into one update. Train it with Keras' own fit(). "
                f"Received: train_step with {self.calls} optimizer calls. Expected 1."
            )
            raise ModelError(msg)


def has_vector_loss(model: Any) -> bool:
    """Whether the compiled loss keeps one value a sample (`reduction=None`), whose gradient is that of their sum."""
    reductions = _reductions(model)
    unreduced = [reduction in ("none", None) for reduction in reductions]
    if any(unreduced) and not all(unreduced):
        msg = f"Losses with and without a reduction cannot be combined. Received: reductions={reductions}"
        raise ModelError(msg)
    return bool(unreduced) and all(unreduced)


def needs_weights(model: Any) -> bool:
    """Whether a loss divides by the sum of the sample weights."""
    return "mean_with_sample_weight" in _reductions(model)


def asks_for_weights(loss: Any) -> bool:
    """As `needs_weights`, of what `compile` was given: a loss, its name, or a nest of them."""
    losses = tf.nest.flatten(loss)
    return any(getattr(item, "reduction", None) == "mean_with_sample_weight" for item in losses)


def outputs(model: Any) -> int:
    """Number of compiled losses."""
    return max(1, len(flat_losses(model)))


def by_loss(model: Any, sample_weight: Any, shares: Iterable[float], samples: float) -> Any:
    """The share of the weights for each compiled loss, in Keras' order of losses, which dicts need not follow."""
    present = iter(shares)
    nest = map_leaves(lambda _: next(present), sample_weight)
    found = [_resolved(item.path, nest) for item in flat_losses(model)] or [None]
    return np.asarray([samples if share is None else share for share in found], np.float32)


def _resolved(path: Iterable[Any], nest: Any) -> Any:
    """What Keras finds at a loss's path: weights that are no nest are everyone's."""
    if isinstance(nest, dict | list | tuple):
        for step in path:
            nest = nest[step]
    return nest


@contextlib.contextmanager
def intercepted(model: Any, share: Share, captured: Captured | None) -> Iterator[None]:
    """Swaps what the module's text lists, for the time of one trace; `captured` is `None` for a test step."""
    with contextlib.ExitStack() as undo:
        if captured is not None:
            undo.enter_context(replaced(model.optimizer, "apply", captured.apply))
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
        yield


def flat_losses(model: Any) -> list[Any]:
    """The compiled losses, one for each output; none before they are built."""
    compiled = model._compile_loss
    return list(compiled._flat_losses or ()) if compiled is not None else []


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


def _reductions(model: Any) -> list[Any]:
    return [getattr(item.loss, "reduction", "sum_over_batch_size") for item in flat_losses(model)]


def _scaled(item: Any, share: Share, place: int) -> Any:
    reduction = getattr(item.loss, "reduction", "sum_over_batch_size")
    if reduction == "sum":
        factor = 1.0 / share.samples
    elif reduction == "mean_with_sample_weight":
        factor = share.weights[place] / share.samples
    else:
        return item
    loss = item.loss

    def scaled_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        value = loss(y_true, y_pred, sample_weight)
        return value * tf.cast(factor, value.dtype)

    return item._replace(loss=scaled_loss)


def _sharing(update_state: Any, share: Share) -> Any:
    """Keras gives each call the same weight where the batch dimension is unknown; an update counts once, in shares."""

    def update(value: Any, sample_weight: Any = None) -> Any:
        return update_state(value, sample_weight=share.samples if sample_weight is None else sample_weight)

    return update
