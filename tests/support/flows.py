"""The same small pictures as a folder, a dataframe and arrays."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras.utils import img_to_array, load_img

L = keras.layers


def frame_of(folder: Path) -> pd.DataFrame:
    """The files of a folder of classes, in Keras' order, with columns of several kinds."""
    files = sorted(folder.rglob("*.png"))
    labels = [file.parent.name for file in files]
    numbers = np.array([int(label.removeprefix("class")) for label in labels])
    return pd.DataFrame(
        {
            "filename": [file.relative_to(folder).as_posix() for file in files],
            "class": labels,
            "number": numbers,
            "price": np.linspace(0.5, 2, len(files)),
            "weight": np.arange(1.0, len(files) + 1),
        }
    )


def arrays_of(folder: Path) -> tuple[Any, Any]:
    """The decoded pictures `(samples, height, width, 3)` as bytes, and the numbers of their classes."""
    frame = frame_of(folder)
    pictures = [img_to_array(load_img(folder / name)) for name in frame["filename"]]
    return np.stack(pictures).astype(np.uint8), frame["number"].to_numpy()


def small_net(
    units: int = 2, loss: Any = "categorical_crossentropy", shape: tuple[int | None, ...] = (12, 10, 3)
) -> Any:
    """A compiled net that takes any such picture."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, L.Dense(units)(L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(inputs))))
    model.compile("sgd", loss)
    return model


def echo_net(loss: Any = "mse", shape: tuple[int | None, ...] = (12, 10, 3)) -> Any:
    """A compiled net that returns a picture."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, L.Conv2D(shape[-1], 1)(inputs))
    model.compile("sgd", loss)
    return model


def two_outputs(shape: tuple[int | None, ...] = (12, 10, 3)) -> Any:
    """A compiled net with outputs of one and of two numbers."""
    inputs = keras.Input(shape)
    flat = L.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, [L.Dense(1)(flat), L.Dense(2)(flat)])
    model.compile("sgd", ["mse", "mse"])
    return model


def two_inputs(*, names: bool = False) -> Any:
    """A compiled net that takes a picture and four numbers, by name or in order."""
    picture, extra = keras.Input((12, 10, 3), name="picture"), keras.Input((4,), name="extra")
    joined = L.Concatenate()([L.GlobalAveragePooling2D()(picture), extra])
    model = keras.Model({"picture": picture, "extra": extra} if names else [picture, extra], L.Dense(2)(joined))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model
