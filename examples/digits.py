"""Trains on 1,797 scans of handwritten digits, from a folder of pictures to a validation accuracy.

The scans are the test set of UCI's "Optical Recognition of Handwritten Digits", which scikit-learn ships: 8x8 pixels
with 17 shades, enlarged to 32x32 and written as PNGs, one subfolder per digit.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from tensorflow.keras.preprocessing.image import ImageDataGenerator

import autobatch

PIXELS = 32
WANTED = 0.95


def write_pictures(folder: Path) -> int:
    """Writes what is missing of the digits as `folder/<digit>/<number>.png`.

    Args:
        folder: Made where it doesn't exist.

    Returns:
        The number of pictures in the folder.
    """
    digits = load_digits()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
    # validation takes the first names of a class: numbered as they come, those would be the scans of a few writers
    numbers = np.random.default_rng(0).permutation(len(digits.target))
    for number, scan, digit in zip(numbers, digits.images, digits.target, strict=True):
        path = folder / str(digit) / f"{number:04}.png"
        if not path.exists():
            shades = np.round(scan * (255 / 16)).astype(np.uint8)
            Image.fromarray(shades).resize((PIXELS, PIXELS), Image.Resampling.BILINEAR).save(path)
    return len(digits.target)


def build_model() -> keras.Model:
    """A small convolutional net for ten classes of grey pictures, compiled, without batch statistics."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((PIXELS, PIXELS, 1)),
            layers.Conv2D(32, 5, strides=3, activation="relu", kernel_initializer="he_normal"),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer="he_normal"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(6e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build_datagen() -> ImageDataGenerator:
    """Small turns and shifts, and one picture in five kept for validation."""
    return ImageDataGenerator(
        rescale=1 / 255,
        rotation_range=5,
        width_shift_range=0.04,
        height_shift_range=0.04,
        validation_split=0.2,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the example; the exit status is 0 if the model is good enough."""
    parser = argparse.ArgumentParser(description="Trains on handwritten digits with a batch size that fits.")
    parser.add_argument("--folder", type=Path, default=Path("data/digits"), help="where the pictures are written")
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args(argv)

    print(f"{write_pictures(args.folder):,} pictures in {args.folder}\n")
    print(f"{autobatch.read_memory()}\n")
    keras.utils.set_random_seed(1)
    model, datagen = build_model(), build_datagen()
    # fit would probe by itself; asked for beforehand, the trials can be looked at, and fit finds them in the cache
    print(f"{autobatch.probe(model, datagen, args.folder, seed=1)}\n")
    history = autobatch.fit(model, datagen, args.folder, epochs=args.epochs, seed=1, verbose=2)
    print(f"\n{history.autobatch}\n")

    accuracy = history.history["val_accuracy"][-1]
    print(f"validation accuracy {accuracy:.1%}")
    if accuracy <= WANTED:
        print(
            f"That is not above the {WANTED:.0%} that this example should reach: something is wrong.", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
