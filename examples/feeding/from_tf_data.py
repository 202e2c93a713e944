"""A `tf.data.Dataset`, batched or not, such as `keras.utils.image_dataset_from_directory` makes."""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf
import toy

import autobatch

x, y = toy.pictures()
single = tf.data.Dataset.from_tensor_slices((x / 255, y)).shuffle(240, seed=1)
history = autobatch.fit(toy.net(), single, batch_size=32, epochs=4, seed=1)
print(history.history["accuracy"])

with tempfile.TemporaryDirectory() as place:
    batched = keras.utils.image_dataset_from_directory(
        toy.folder(Path(place)), image_size=(24, 24), color_mode="grayscale", label_mode="binary", batch_size=16
    )
    scaled = batched.map(lambda pictures, labels: (pictures / 255, labels))
    history = autobatch.fit(toy.net(), scaled, batch_size=48, epochs=4, seed=1)
print(history.history["accuracy"])
