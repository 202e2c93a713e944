"""A table of file names and labels (needs pandas)."""

import tempfile
from pathlib import Path

import pandas as pd
import toy
from tensorflow.keras.preprocessing.image import ImageDataGenerator

import autobatch

with tempfile.TemporaryDirectory() as place:
    root = toy.folder(Path(place))
    files = sorted(root.rglob("*.png"))
    table = pd.DataFrame(
        {"file": [str(file.relative_to(root)) for file in files], "bar": [f.parent.name for f in files]}
    )
    datagen = ImageDataGenerator(rescale=1 / 255)
    history = autobatch.fit(
        toy.net(), datagen, table, x_col="file", y_col="bar", directory=str(root), batch_size=32, epochs=4, seed=1
    )
print(history.history["accuracy"])
