"""Small real models and data that several tests share."""

from typing import Any

import keras
import numpy as np

from autobatch.backend.base import BatchTotals
from autobatch.data.batch import Batch


def pictures(count: int, *, side: int = 12, classes: int = 4, seed: int = 0, channels: int = 3) -> Batch:
    """Random pictures with one-hot labels."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, side, side, channels)).astype(np.float32)
    labels = generator.integers(0, classes, count)
    return Batch(x, np.eye(classes, dtype=np.float32)[labels])


def conv_net(
    *, side: int = 12, classes: int = 4, seed: int = 1, norm: bool = False, dropout: float = 0.0, l2: bool = True
) -> Any:
    """An uncompiled conv net; without `norm` it has no batch statistics."""
    keras.utils.set_random_seed(seed)
    layers: list[Any] = [
        keras.Input((side, side, 3)),
        keras.layers.Conv2D(8, 3, kernel_regularizer="l2" if l2 else None),
    ]
    if norm:
        layers.append(keras.layers.BatchNormalization())
    layers += [keras.layers.Activation("relu"), keras.layers.Conv2D(8, 3, strides=2, activation="relu")]
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    layers += [keras.layers.Flatten(), keras.layers.Dense(classes, activation="softmax", dtype="float32")]
    return keras.Sequential(layers)


def compiled(model: Any, *, optimizer: Any = None, loss: Any = "categorical_crossentropy", **options: Any) -> Any:
    """The model, compiled with plain SGD unless another optimizer is given."""
    options.setdefault("metrics", ["accuracy"])
    model.compile(optimizer=optimizer or keras.optimizers.SGD(0.05), loss=loss, **options)
    return model


def numbers(variables: Any) -> list[np.ndarray]:
    """Copies of the values of Keras variables."""
    return [np.array(variable.value) for variable in variables]


def relative_l2(one: Any, other: Any) -> float:
    """The relative L2 distance of two lists of arrays, taken together."""
    difference = sum(float(np.sum((a - b) ** 2, dtype=np.float64)) for a, b in zip(one, other, strict=True))
    size = sum(float(np.sum(np.square(b, dtype=np.float64))) for b in other)
    return float(np.sqrt(difference / max(size, 1e-300)))


def update(engine: Any, batch: Batch, cut: Any) -> dict[str, Any]:
    """One update of `batch` in the micro-batches of `cut`."""
    parts, start = [], 0
    for size in cut:
        parts.append(batch[start : start + size])
        start += size
    assert start == batch.size
    whole = engine.totals(*parts) if len(parts) > 1 else BatchTotals(batch.size)
    logs: dict[str, Any] = {}
    for part in parts:
        logs = engine.accumulate(part, whole)
    engine.apply()
    return logs


class Here(keras.layers.Layer):
    """Keeps a model in this process: it cannot be rebuilt in another."""

    def call(self, inputs: Any) -> Any:
        """What comes in."""
        return inputs

    def get_config(self) -> Any:
        """Not to be had."""
        raise NotImplementedError("this layer stays here")
