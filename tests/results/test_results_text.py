"""Samples of text travel to another process as they are."""

from pathlib import Path

import keras
import numpy as np

from autobatch.data.batch import Batch
from autobatch.probing.trials.serialize import deserialize, serialize


def test_text_arrives_as_it_was_sent(tmp_path: Path) -> None:
    """Seen to fail with arrays of objects refused on arrival."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    words = np.array(["a", "bé", "c\0"], dtype=object)
    _, samples = deserialize(serialize(model, Batch(words, np.zeros(3)), tmp_path))
    assert samples.x.dtype == object
    assert samples.x.tolist() == words.tolist()
