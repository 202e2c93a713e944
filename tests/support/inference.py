"""Models for evaluation and prediction that stay in this process, and steps that run out of memory on demand."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from nets import Here

SIDE = 6


class Fragile(keras.layers.Layer):
    """Hands on what comes in, and runs out of memory as TensorFlow does when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Callable[[int], bool] = lambda _size: False
        self.sizes: list[int] = []

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        passed = tf.numpy_function(self._pass, [inputs], inputs.dtype)
        passed.set_shape(inputs.shape)
        return passed

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> Any:
        raise NotImplementedError

    def _pass(self, array: np.ndarray) -> np.ndarray:
        if self.fails(len(array)):
            raise MemoryError("OOM when allocating tensor with shape[16,8,8,8]")
        self.sizes.append(len(array))
        return array


@contextlib.contextmanager
def eagerly(model: Any) -> Iterator[Any]:
    """The model as Keras runs it step by step: of a few steps, tracing would take longer than running them."""
    eager, model.run_eagerly = model.run_eagerly, True
    try:
        yield model
    finally:
        model.run_eagerly = eager
        model.train_function = model.test_function = model.predict_function = None


def keras_evaluate(model: Any, *data: Any, **options: Any) -> dict[str, float]:
    """What Keras' own evaluation tells."""
    with eagerly(model):
        return model.evaluate(*data, verbose=0, return_dict=True, **options)


def keras_predict(model: Any, data: Any, **options: Any) -> Any:
    """What Keras' own prediction gives."""
    with eagerly(model):
        return model.predict(data, verbose=0, **options)


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def one_output(layer: Any = None) -> Any:
    """An uncompiled net with BatchNorm."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((SIDE, SIDE, 3)), layer or Here(), keras.layers.Conv2D(4, 3)]
    layers += [keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return keras.Sequential(layers)


def two_outputs(form: Callable[[Any, Any], Any]) -> Any:
    """An uncompiled net whose outputs come in the form that `form` makes of two tensors."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    hidden = Here()(inputs)
    wide = keras.layers.Conv2D(4, 3, name="wide")(hidden)
    flat = keras.layers.Dense(2, name="flat")(keras.layers.Flatten()(hidden))
    return keras.Model(inputs, form(wide, flat))


def two_inputs(names: bool) -> Any:
    """An uncompiled net that takes a picture and three numbers, by name or in a list."""
    keras.utils.set_random_seed(1)
    picture, numbers = keras.Input((SIDE, SIDE, 3), name="picture"), keras.Input((3,), name="numbers")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(Here()(picture)), numbers])
    inputs = {"picture": picture, "numbers": numbers} if names else [picture, numbers]
    return keras.Model(inputs, keras.layers.Dense(2)(joined))


class Recorder(keras.callbacks.Callback):
    """Writes down every hook of an evaluation or a prediction, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self.calls.append(("params", dict(params)))

    def _note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *(_plain(argument) for argument in arguments)))


def _hook(name: str) -> Any:
    def batch_hook(self: Any, batch: int, logs: Any = None) -> None:
        self._note(name, batch, logs)

    def plain_hook(self: Any, logs: Any = None) -> None:
        self._note(name, logs)

    return batch_hook if "_batch_" in name else plain_hook


HOOKS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
for _name in HOOKS:
    if not _name.startswith("on_epoch"):
        setattr(Recorder, _name, _hook(_name))


def _plain(argument: Any) -> Any:
    if isinstance(argument, dict):
        return {key: _plain(value) for key, value in argument.items()}
    if isinstance(argument, list | tuple):
        return [_plain(value) for value in argument]
    if hasattr(argument, "shape"):
        return type(argument).__name__, np.asarray(argument).shape, np.round(np.asarray(argument), 4).tolist()
    return round(argument, 4) if isinstance(argument, float) else argument
