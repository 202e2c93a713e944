"""Samples travel to another process as they are: their form, their types, and text."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from autobatch.data.batch import Batch
from autobatch.probing.trials.serialize import NotSerializableError, deserialize, serialize


def small_model() -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_text_arrives_as_it_was_sent(tmp_path: Path) -> None:
    """Seen to fail with the first sample sent in place of each."""
    words = np.array(["a", "bé", "c\0"], dtype=object)
    sent = Batch({"words": words, "shape": (np.ones((3, 2), np.float16), [np.arange(3)])}, None, np.zeros(3), bare=True)
    _, samples = deserialize(serialize(small_model(), sent, tmp_path))
    assert samples.x["words"].dtype == object
    assert samples.x["words"].tolist() == words.tolist()
    assert (samples.x["shape"][0].dtype, samples.x["shape"][1][0].tolist()) == (np.float16, [0, 1, 2])
    assert (samples.y, samples.sample_weight.tolist(), samples.bare) == (None, [0.0, 0.0, 0.0], True)


def test_a_class_that_no_other_process_can_import_is_said(tmp_path: Path) -> None:
    """Trials run in the caller then. Seen to fail with what pickle raises passed on."""
    pair = namedtuple("pair", "left right")  # noqa: PYI024 - as users make them
    sent = Batch(pair(np.ones((2, 3)), np.ones((2, 3))), np.ones(2))
    with pytest.raises(NotSerializableError, match="its samples cannot be pickled"):
        serialize(small_model(), sent, tmp_path)
