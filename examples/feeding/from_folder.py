"""A folder of pictures, through an `ImageDataGenerator`."""

import tempfile
from pathlib import Path

import toy
from tensorflow.keras.preprocessing.image import ImageDataGenerator

import autobatch

datagen = ImageDataGenerator(rescale=1 / 255, width_shift_range=0.1, validation_split=0.2)
with tempfile.TemporaryDirectory() as place:
    history = autobatch.fit(toy.net(), datagen, toy.folder(Path(place) / "train"), batch_size=32, epochs=4, seed=1)
print(history.history["val_accuracy"])
