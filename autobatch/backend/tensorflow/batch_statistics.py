"""Batch statistics over groups of so many samples ("ghost batches", Hoffer et al. 2017, arXiv 1705.08741).

Each group is normalised by its own mean and variance, and the moving averages go through the groups one after another:
so it does not matter how many come at once. Each sample is summed up first; groups are a matter of small tensors then.

While a step is traced, `call` of the model's `BatchNormalization` layers is swapped. Not covered, and refused: batch
renormalisation, subclasses that compute the statistics in their own way, calls from inside a loop or a `tf.function`,
and calls with other rows than the samples.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from autobatch.backend.tensorflow.function import replaced
from autobatch.backend.tensorflow.variables import Backup
from autobatch.data.batch import Batch, map_leaves
from autobatch.errors import ModelError

_KERAS = keras.layers.BatchNormalization


def batch_norms(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, _KERAS)]


def require_groupable(model: Any) -> None:
    """Refuses a model with layers whose batch statistics cannot be taken over groups."""
    others = [layer.name for layer in batch_norms(model) if layer.trainable and _has_own_way(layer)]
    if others:
        raise _cannot(f"These compute them in a way of their own (a subclass, renorm=True, axis=0): {others}.")


def _has_own_way(layer: Any) -> bool:
    own = any(getattr(type(layer), name) is not getattr(_KERAS, name) for name in ("call", "_moments"))
    return own or "call" in vars(layer) or getattr(layer, "renorm", False) or layer.axis == 0


def _cannot(why: str) -> ModelError:
    return ModelError(f"Batch statistics cannot be taken over groups of samples. {why} Leave batch_statistics out.")


def grouped_statistics(model: Any, size: int) -> Callable[[Any], AbstractContextManager[None]]:
    """A context in which a built model takes batch statistics over groups of `size` samples, for the time of a trace.

    It is told how many samples there are. The moving averages move when it ends.
    """
    require_groupable(model)
    # Read now: whoever traces a step may have replaced it.
    momenta = [(layer, float(layer.momentum)) for layer in batch_norms(model) if layer.trainable]

    @contextlib.contextmanager
    def in_force(samples: Any) -> Iterator[None]:
        moments: list[list[Any]] = [[] for _ in momenta]  # of each call of a layer
        with contextlib.ExitStack() as undo:
            for (layer, _), calls in zip(momenta, moments, strict=True):
                undo.enter_context(replaced(layer, "call", _grouped(layer, size, samples, calls)))
            yield
        for (layer, momentum), calls in zip(momenta, moments, strict=True):
            if any(graph is not tf.compat.v1.get_default_graph() for *_, graph in calls):
                raise _cannot(f"This layer is called in a loop or in a function of its own: {layer.name!r}.")
            if calls:
                _move(layer.moving_mean, momentum, [mean for mean, *_ in calls])
                _move(layer.moving_variance, momentum, [variance for _, variance, _ in calls])

    return in_force


def require_own_rows(model: Any, statistics: Any, batch: Batch, backup: Backup) -> None:
    """Refuses layers that are called with other rows than the samples: for XLA, which leaves assertions out."""
    backup.attempt += 1
    backup.write(backup.attempt)
    try:
        with statistics(batch.size):
            model(map_leaves(tf.convert_to_tensor, batch.x), training=True)
    except tf.errors.InvalidArgumentError as error:
        raise _cannot(f"A layer is called with other rows than the samples. {error.message}") from error
    finally:
        backup.restore()


def _grouped(layer: Any, size: int, samples: Any, calls: list[Any]) -> Callable[..., Any]:
    """`BatchNormalization.call` with statistics over groups, which are noted for the moving averages."""

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if not (training and layer.trainable):
            return type(layer).call(layer, inputs, training=training, mask=mask)
        message = f"batch_statistics={size} cannot be had: {layer.name} is called with other rows than the samples."
        tf.debugging.assert_equal(tf.shape(inputs)[0], samples, message)
        # Statistics of half precision are taken in float32, as Keras does.
        x = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        groups = _SampleGroups(x, size, [axis for axis in layer._reduction_axes if axis], mask)
        mean = groups.mean(x)
        # The variance does not depend on the mean to the first order: as in tf.nn.moments, no gradient goes there.
        variance = groups.mean(tf.math.squared_difference(x, groups.each(tf.stop_gradient(mean))))
        calls.append((mean, variance, tf.compat.v1.get_default_graph()))
        shape = [1 if axis in layer._reduction_axes else -1 for axis in range(x.shape.rank)]
        scale = tf.math.rsqrt(variance + layer.epsilon)
        if layer.scale:
            scale *= tf.reshape(keras.ops.cast(layer.gamma, x.dtype), shape)
        shift = -mean * scale
        if layer.center:
            shift += tf.reshape(keras.ops.cast(layer.beta, x.dtype), shape)
        return tf.cast(x * groups.each(scale) + groups.each(shift), layer.compute_dtype)

    return call


class _SampleGroups:
    """The groups of one batch: `size` samples each, the last one perhaps fewer."""

    def __init__(self, x: Any, size: int, axes: list[int], mask: Any) -> None:
        self._samples, self._size, self._axes, self._valid = tf.shape(x)[0], size, axes, mask
        present, nothing = tf.ones([self._samples, *[1] * (x.shape.rank - 1)], x.dtype), 0.0
        if mask is not None:
            self._valid = tf.broadcast_to(tf.cast(mask, tf.bool)[..., None], tf.shape(x))
            present, nothing = self._of_samples(tf.ones_like(x)), keras.backend.epsilon()
        self._counts = self._sum(present) + nothing  # as in Keras, a group may be masked altogether

    def mean(self, values: Any) -> Any:
        """The mean of each group: of shape `(groups, 1, ..)`, with the size of `values` along the layer's axis."""
        return self._sum(self._of_samples(values)) / self._counts

    def _of_samples(self, values: Any) -> Any:
        if self._valid is None:
            return tf.reduce_mean(values, self._axes, keepdims=True)
        return tf.reduce_sum(tf.where(self._valid, values, tf.zeros_like(values)), self._axes, keepdims=True)

    def each(self, values: Any) -> Any:
        """For every sample the value of its group."""
        return tf.repeat(values, self._size, axis=0)[: self._samples]

    def _sum(self, values: Any) -> Any:
        short = [[0, -self._samples % self._size], *[[0, 0]] * (values.shape.rank - 1)]
        shape = tf.concat([[-1, self._size], tf.shape(values)[1:]], 0)
        return tf.reduce_sum(tf.reshape(tf.pad(values, short), shape), 1)


def _move(average: Any, momentum: float, values: list[Any]) -> None:
    """Moves an average by the groups in turn: where a layer is called several times, by each of a group's calls."""
    channels = average.shape[0]
    rows = tf.reshape(tf.stack([tf.reshape(value, [-1, channels]) for value in values], 1), [-1, channels])
    # What is left in the end of the average as it was, and of each row.
    left = momentum ** tf.cast(tf.range(tf.shape(rows)[0], -1, -1), rows.dtype)
    moved = tf.reduce_sum(rows * left[1:, None], 0) * (1.0 - momentum)
    average.assign(keras.ops.cast(average, rows.dtype) * left[0] + moved)
