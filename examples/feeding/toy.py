"""Something small to train on: pictures with a bar across (class 0) or down (class 1), and a net to tell them apart."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

SIZE = 24
NAMES = ("across", "down")


def pictures(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures of shape `(count, 24, 24, 1)` from 0 to 255, and their class numbers of shape `(count,)`."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 60, (count, SIZE, SIZE, 1))
    y = draw.integers(0, 2, count)
    for picture, label in zip(x, y, strict=True):
        start = draw.integers(0, SIZE - 4)
        bar = (slice(start, start + 4), slice(None)) if label == 0 else (slice(None), slice(start, start + 4))
        picture[bar] += 160
    return x.astype("float32"), y.astype("float32")


def folder(path: Path, count: int = 240, seed: int = 0) -> Path:
    """The same pictures as PNG files in one subfolder for each class."""
    x, y = pictures(count, seed)
    for number, (picture, label) in enumerate(zip(x, y, strict=True)):
        file = path / NAMES[int(label)] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., 0].astype("uint8")).save(file)
    return path


def net() -> keras.Model:
    """A compiled net with one output: the probability of a bar that goes down."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            keras.layers.Conv2D(8, 5, activation="relu"),
            keras.layers.MaxPooling2D(4),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model
