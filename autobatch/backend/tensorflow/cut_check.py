"""Tries out on a few samples whether an update may be cut: do its parts come to the same as the whole?

What is Keras' own and works on each sample by itself is known to. Anything else is tried, by running the training step
on the whole and on parts, as a training does: losses that compare the samples of a batch, sums in the guise of means,
losses that layers add, state that a call writes, metrics that are computed for a batch at a time. Random layers and
BatchNorm are held still meanwhile, since their draws and statistics are those of a micro-batch in any case.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from autobatch.backend.base import BatchTotals, CutCheck
from autobatch.backend.tensorflow import capture as intercept
from autobatch.backend.tensorflow.divisors import Divisors
from autobatch.backend.tensorflow.function import form_of, packed, replaced
from autobatch.backend.tensorflow.variables import preserved, seed_states, shared_seed_state
from autobatch.data.batch import Batch, leaves, map_leaves, split
from autobatch.data.check import is_keras_own
from autobatch.data.model_spec import kind_of

TOLERANCE = 1e-3  # between rounding (1e-6) and the smallest error of a loss that cannot be cut (some per cent)
MOST_SAMPLES = 8


def check_cut(model: Any, batch: Batch, most: int, divisors: Divisors) -> CutCheck:
    """See `Evaluator.check_cut`."""
    if batch.size < 2 or is_known(model, divisors.step):
        return CutCheck()
    few = _most_different(batch, min(most, MOST_SAMPLES))
    checks = [_compared(model, samples, divisors) for samples in (few, *_padded(few))]
    whys = [check.why_whole for check in checks if check.why_whole is not None]
    notes = {note: None for check in checks for note in check.notes}
    return CutCheck(whys[0] if whys else None, tuple(notes))


def is_known(model: Any, step: str = "train") -> bool:
    """Whether all that a model is made of works on each sample by itself, with nothing tried."""
    if not all(is_keras_own(model, name) for name in (f"{step}_step", "compute_loss", "compute_metrics")):
        return False
    losses = [item.loss for item in intercept.flat_losses(model)]
    metrics = [*model.metrics, *(model._compile_metrics.metrics if model._compile_metrics is not None else ())]
    return (
        all(map(_is_known_loss, losses))
        and all(intercept.is_keras(metric) and intercept.is_keras(getattr(metric, "_fn", metric)) for metric in metrics)
        and all(map(_is_known_layer, model._flatten_layers()))
    )


def _is_known_loss(loss: Any) -> bool:
    function = getattr(loss, "fn", loss)
    # Those of a known kind give one value for each sample, from that sample alone, and so does CTC.
    named = kind_of(function) is not None or getattr(function, "__name__", None) == "ctc"
    return named and intercept.is_keras(loss) and intercept.is_keras(function) and not _works_across(loss)


# Layers of Keras that may compare samples: one runs any function, one counts decibels from the loudest of a batch.
_COUPLING_LAYERS = (keras.layers.Lambda, keras.layers.MelSpectrogram)


def _is_known_layer(layer: Any) -> bool:
    if not intercept.is_keras(layer) or isinstance(layer, _COUPLING_LAYERS) or _works_across(layer):
        return False
    # Older versions of Keras sum activity regularizers.
    if getattr(layer, "activity_regularizer", None) is not None:
        return False
    # What stands between layers (`x - ops.mean(x, axis=0)`) is no layer.
    if not all(isinstance(part, keras.layers.Layer) for part in getattr(layer, "operations", ())):
        return False
    return isinstance(layer, keras.layers.BatchNormalization) or not _state(layer)


def _works_across(item: Any) -> bool:
    """Whether an axis was chosen that is the one of the samples."""
    kwargs = getattr(item, "_fn_kwargs", {})
    axes = [*(kwargs.get(name) for name in ("axis", "axes")), *(getattr(item, name, None) for name in ("axis", "axes"))]
    return any(0 in keras.tree.flatten(axis) for axis in axes if axis is not None)


def _state(layer: Any) -> list[Any]:
    """The variables of a layer that only its call can write."""
    seeds = {id(state) for state in seed_states(layer)}
    return [variable for variable in layer._non_trainable_variables if id(variable) not in seeds]


def _most_different(batch: Batch, most: int) -> Batch:
    """A few samples, with and without what may stand for missing: the least number of an array, or none."""
    chosen: list[int] = []
    for array in leaves(batch.nest):
        if np.issubdtype(array.dtype, np.number):
            missing = (array == np.nanmin(array)) | np.isnan(array)
            rows = missing.reshape(batch.size, -1).sum(axis=1)
            chosen += [int(rows.argmin()), int(rows.argmax())]
    # The targets and weights stand last.
    order = list(dict.fromkeys([*reversed(chosen), *range(batch.size)]))[:most]
    return batch.take(np.sort(order))


def _padded(batch: Batch) -> Iterator[Batch]:
    """The batch with uneven padding, if it has rows of whole numbers: a mask of the user's own may leave out zeros."""
    half = batch.size // 2

    def padded(array: Any) -> Any:
        if array.ndim < 2 or array.shape[1] < 2 or not np.issubdtype(array.dtype, np.integer):
            return array
        array = array.copy()
        array[half:, 1:] = 0
        return array

    changed = batch.like(map_leaves(padded, batch.nest))
    if any(one is not other for one, other in zip(leaves(batch.nest), leaves(changed.nest), strict=True)):
        yield changed


@dataclass(frozen=True, slots=True)
class _Tried:
    gradient: list[Any]
    logs: Mapping[str, float]
    states: Mapping[str, list[Any]]  # from layers to the values of the state that their calls may write


def _compared(model: Any, batch: Batch, divisors: Divisors) -> CutCheck:
    # Parts of different sizes show more; one of a single sample shows most.
    sizes = [size for size in (1, batch.size // 2 - 1, -(-batch.size // 2)) if size > 0]
    sizes[-1] = batch.size - sum(sizes[:-1])
    for still in (_is_random, lambda layer: layer is not model):
        whole, parts = (_outcome(model, list(split(batch, cut)), divisors, still) for cut in ([batch.size], sizes))
        names = [name for name, values in whole.states.items() if not all(map(_alike, values, parts.states[name]))]
        if names:
            return CutCheck(
                f"its layers write state in their calls ({', '.join(names)}), which comes out different where that is "
                "done for each micro-batch instead of once for each update"
            )
        if _distance(whole.gradient, parts.gradient) < TOLERANCE:
            if not _is_linear(model, batch, divisors, still, whole):
                return CutCheck(
                    "its train_step changes gradients by more than a factor (the optimizer clips them by clipnorm= or "
                    "global_clipnorm=)"
                )
            notes = [*_different(whole.logs, parts.logs, divisors.step), *_untried(model, divisors.step)]
            return CutCheck(notes=tuple(notes))
        again = _outcome(model, [batch], divisors, still, draws=1)
        if _distance(whole.gradient, again.gradient) < TOLERANCE:
            return CutCheck(
                "its loss is neither a mean nor a sum over samples (on a few samples, cutting them changed the "
                "gradient)"
            )
    note = "The model draws random numbers of its own, so whether its updates may be cut could not be tried."
    return CutCheck(notes=(note,))


def _is_linear(model: Any, batch: Batch, divisors: Divisors, still: Any, whole: _Tried) -> bool:
    """Whether gradients that are a thousand times as large are handed to the optimizer as that."""
    if divisors.step == "test" or is_keras_own(model, "train_step"):
        return True
    with _magnified(list(model.trainable_variables), 1000.0):
        large = _outcome(model, [batch], divisors, still)
    return _distance([1000.0 * one for one in whole.gradient], large.gradient) < TOLERANCE


@contextlib.contextmanager
def _magnified(variables: list[Any], times: float) -> Iterator[None]:
    """Has TensorFlow's tapes give gradients of these variables so many times as large; those of inputs stay."""
    ids = {id(item) for variable in variables for item in (variable, variable.value)}
    gradient = tf.GradientTape.gradient

    def magnified(tape: Any, target: Any, sources: Any, *args: Any, **given: Any) -> Any:
        found = gradient(tape, target, sources, *args, **given)

        def scaled(source: Any, one: Any) -> Any:
            if one is None or id(source) not in ids:
                return one
            return tf.convert_to_tensor(one) * tf.cast(times, one.dtype)

        return keras.tree.map_structure_up_to(sources, scaled, sources, found)

    with replaced(tf.GradientTape, "gradient", magnified):
        yield


def _untried(model: Any, step: str) -> Iterator[str]:
    names = [layer.name for layer in model._flatten_layers() if seed_states(layer) and not intercept.is_keras(layer)]
    if names and step == "train":
        yield (
            f"What these layers do only while training could not be tried, since they draw random numbers: "
            f"{', '.join(names)}."
        )


def _is_random(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) or bool(seed_states(layer))


def _outcome(model: Any, parts: list[Batch], divisors: Divisors, still: Any, draws: int = 0) -> _Tried:
    variables = list(model.trainable_variables)
    gradient: list[Any] = [0.0] * len(variables)
    trains = divisors.step == "train"
    layers = [layer for layer in model._flatten_layers() if still(layer)]
    with preserved(model), _held(layers):
        seeds = [seed for layer in model._flatten_layers() for seed in seed_states(layer)] + shared_seed_state()
        for seed in {id(seed): seed for seed in seeds}.values():
            seed.assign(seed + draws)  # other numbers than before, if any are drawn
        # The whole is Keras' own: nothing is counted, so that a wrong count shows.
        whole = divisors.totals(*parts) if len(parts) > 1 else BatchTotals(parts[0].size)
        shared = tf.constant(divisors.shared(whole))
        model.reset_metrics()
        for part in parts:
            captured = intercept.Captured(variables)
            share = intercept.Share(tf.constant(part.size / whole.size), shared)
            data = packed(form_of(part), [tf.convert_to_tensor(array) for array in leaves(part.nest)])
            with intercept.intercepted(model, share, captured if trains else None):
                logs = model.train_step(data) if trains else model.test_step(data)
            factor = 1.0 if captured.weighted or intercept.has_vector_loss(model) else part.size / whole.size
            gradient = [
                total if one is None else total + tf.cast(tf.convert_to_tensor(one), tf.float32) * factor
                for total, one in zip(gradient, captured.gradients, strict=True)
            ]
        states = {
            layer.name: [np.array(variable.value) for variable in _state(layer)] for layer in model._flatten_layers()
        }
        values = {name: float(np.asarray(value)) for name, value in logs.items() if np.size(value) == 1}
    return _Tried(gradient, values, states)


def _alike(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=1e-6))


@contextlib.contextmanager
def _held(layers: list[Any]) -> Iterator[None]:
    """Has layers do what they do outside training."""
    with contextlib.ExitStack() as undo:
        for layer in layers:
            if "training" in inspect.signature(layer.call).parameters:
                undo.enter_context(replaced(layer, "call", _not_training(layer.call)))
        yield


def _not_training(call: Any) -> Any:
    signature = inspect.signature(call)

    def held(*args: Any, **given: Any) -> Any:
        bound = signature.bind(*args, **given)
        bound.arguments["training"] = False
        return call(*bound.args, **bound.kwargs)

    return held


def _distance(one: list[Any], other: list[Any]) -> float:
    """The relative L2 distance of two gradients."""
    difference = sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in zip(one, other, strict=True))
    length = sum(float(tf.reduce_sum(tf.convert_to_tensor(a) ** 2)) for a in one)
    return float((difference / length) ** 0.5) if length else float(difference > 0)


def _different(whole: Mapping[str, float], parts: Mapping[str, float], step: str) -> Iterator[str]:
    names = [name for name, value in whole.items() if not np.isclose(value, parts[name], rtol=TOLERANCE, atol=1e-6)]
    if names:
        but = "; the weights do not" if step == "train" else ""
        yield (
            f"These values of the logs are computed for a batch at a time: {', '.join(names)}. In micro-batches they "
            f"come out different from those of the whole batch (tried on a few samples){but}."
        )
