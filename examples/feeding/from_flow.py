"""A flow that was built with a batch size of its own: that is replaced by the one that is found or asked for."""

import tempfile
from pathlib import Path

import toy
from tensorflow.keras.preprocessing.image import ImageDataGenerator

import autobatch

with tempfile.TemporaryDirectory() as place:
    flow = ImageDataGenerator(rescale=1 / 255).flow_from_directory(
        toy.folder(Path(place)), target_size=(24, 24), color_mode="grayscale", class_mode="binary", batch_size=7
    )
    history = autobatch.fit(toy.net(), flow, batch_size=48, epochs=4, seed=1)
    larger = autobatch.rebuild(flow, batch_size=48)  # the same for Keras' own fit, without walking the folder again
    joined = autobatch.accumulate_batches(flow, 4)  # or four of its batches in one
print(history.history["accuracy"], len(flow), len(larger), len(joined))
