"""Samples travel to another process as they are: their form, their types, and text."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from autobatch.data.batch import Batch
from autobatch.probing.trials.executor import Executor
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


WORDS = np.array(["a b", "b c", "a a"], dtype=object)
NUMBERS = np.array([[1.0], [2.0], [6.0]], np.float32)
COUNTS = np.array([[3], [5], [3]])
ADAPTED: dict[str, list[tuple[Any, Any, str]]] = {
    "Discretization": [(lambda: keras.layers.Discretization(num_bins=3), NUMBERS, "float32")],
    "IntegerLookup": [
        (lambda mode=mode: keras.layers.IntegerLookup(output_mode=mode), COUNTS, "int64")
        for mode in ("int", "multi_hot", "tf_idf")
    ],
    "Normalization": [(keras.layers.Normalization, NUMBERS, "float32")],
    "StringLookup": [
        (lambda mode=mode: keras.layers.StringLookup(output_mode=mode), WORDS[:, None], "string")
        for mode in ("int", "tf_idf")
    ],
    "TextVectorization": [
        (lambda mode=mode: keras.layers.TextVectorization(output_mode=mode), WORDS, "string")
        for mode in ("int", "multi_hot", "tf_idf")
    ],
}
"""Each layer of Keras' that learns before the training."""


def test_each_layer_that_can_be_adapted_is_among_them() -> None:
    named = {name for name in dir(keras.layers) if hasattr(getattr(keras.layers, name), "adapt")}
    assert named == set(ADAPTED)


@pytest.mark.parametrize(("make", "samples", "dtype"), [case for cases in ADAPTED.values() for case in cases])
def test_what_a_layer_was_adapted_to_travels_with_it(make: Any, samples: Any, dtype: str, tmp_path: Path) -> None:
    """Seen to fail with the layer as its configuration alone tells of it."""
    layer = make()
    layer.adapt(samples)
    model = keras.Sequential([keras.Input(samples.shape[1:], dtype=dtype), layer])
    model.compile("sgd", "mse", run_eagerly=True)
    expected = np.asarray(model(keras.ops.convert_to_tensor(samples)))
    rebuilt, _ = deserialize(serialize(model, Batch(samples), tmp_path))
    assert np.array_equal(np.asarray(rebuilt(keras.ops.convert_to_tensor(samples))), expected)


@pytest.mark.slow
def test_a_model_that_reads_text_is_tried_in_a_process_of_its_own() -> None:
    reads = keras.layers.TextVectorization(output_mode="multi_hot")
    reads.adapt(WORDS)
    model = keras.Sequential([keras.Input((), dtype="string"), reads, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    with Executor(model, Batch(WORDS, NUMBERS), open_timeout_s=120) as executor:
        assert executor.trial(2, {}, timeout_s=120).outcome.ran
        assert (executor.where, executor.notes) == ("worker", [])
