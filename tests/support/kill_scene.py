"""A model that keeps a logbook of the samples it was trained on, in its own state, and is killed when that is planned.

`autobatch fit kill_scene:model DIR`, with the folder of the plan in `KILL_SCENE`. The plan is a file `kills`, one line
for each life of the training: at which of its micro-batches it takes memory until the kernel kills it, 0 for never.
`run/` is the folder of the checkpoint.
"""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SIDE, CLASSES, SLOTS = 8, 2, 512
_BLOCK_BYTES = 16 * 2**20


@keras.saving.register_keras_serializable("kill_scene")
class Logbook(keras.layers.Layer):
    """Writes the samples of every training pass into its state, in order: each says its number in its first pixel."""

    def build(self, input_shape: Any) -> None:
        self.seen = self.add_weight(shape=(SLOTS,), dtype="int32", initializer="zeros", trainable=False, name="seen")
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            size = tf.shape(x)[0] + tf.ensure_shape(tf.numpy_function(_maybe_die, [], tf.int32), ())
            places = (self.count.value + tf.range(size)) % SLOTS
            numbers = tf.cast(tf.round(x[:, 0, 0, 0]), tf.int32)
            self.seen.assign(tf.tensor_scatter_nd_update(self.seen.value, places[:, None], numbers))
            self.count.assign(self.count + size)
        return x

    def get_config(self) -> dict[str, Any]:
        # A model without a configuration is tried out where it is: starting a worker would take most of the time.
        if not (_training() or _passes):
            raise NotImplementedError
        return dict(super().get_config())


def model() -> Any:
    """A small net without batch statistics, with an optimizer and metrics that have a state."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            Logbook(name="logbook"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    # Eagerly: each life of the training would take longer to trace its steps than to run them.
    net.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return net


_passes = 0


def _maybe_die() -> np.int32:
    global _passes  # noqa: PLW0603 - a count of this process
    folder = Path(os.environ["KILL_SCENE"])
    if _training():
        _passes += 1
        lives = (folder / "kills").read_text().split()
        if lives and _passes == int(lives[0]):
            (folder / "kills").write_text("\n".join(lives[1:]))
            _take_everything()
    return np.int32(0)


def _training() -> bool:
    # Until a size is written down, trials and the warm-up run: those are not the training's micro-batches.
    return (Path(os.environ["KILL_SCENE"]) / "run" / "in_flight.json").exists()


def _take_everything() -> None:
    held = []
    while True:
        held.append(bytearray(b"1") * _BLOCK_BYTES)
