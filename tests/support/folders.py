"""Folders of tiny pictures, and small models for them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from nets import compiled
from PIL import Image

SIDE = 8


def write_pictures(folder: Path, *counts: int, side: int = SIDE, seed: int = 7) -> Path:
    """Writes `counts` random colour pictures per class, with a tint that tells the classes apart."""
    draw = np.random.default_rng(seed)
    for label, count in enumerate(counts):
        place = folder / f"class{label}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 128, (side, side, 3))
            pixels[..., label % 3] += 100
            Image.fromarray(pixels.astype(np.uint8), "RGB").save(place / f"{number:03}.png")
    return folder


def tiny_net(*, classes: int = 2, side: int = SIDE, seed: int = 1, width: int = 4) -> Any:
    """An uncompiled net that takes such pictures and is trained in no time."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            keras.layers.Conv2D(width, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def tiny_model(**options: Any) -> Any:
    """The same, compiled with SGD and a softmax loss, and run eagerly unless told otherwise.

    What the loop around it does is the same, and tracing takes a second each time; graphs are for the backend's tests.
    """
    return compiled(tiny_net(), **({"run_eagerly": True} | options))
