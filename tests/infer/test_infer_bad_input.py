"""What cannot be meant is said at once, clearly, and before a trial runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import write_pictures
from inference import SIDE, Fragile, one_output, pixels
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import compiled

from autobatch.errors import ArgumentError, ModelError
from autobatch.infer.evaluate import evaluate
from autobatch.infer.predict import predict

X = pixels(6)
Y = np.eye(2, dtype=np.float32)[np.arange(6) % 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("bad") / "pictures", 3, 3, side=SIDE)


def refused(function: Any, *given: Any, kind: type[Exception], words: list[str], **options: Any) -> None:
    fragile = Fragile()
    model = one_output(fragile)
    if options.pop("compiles", True):
        compiled(model)
    with pytest.raises(kind) as caught:
        function(model, *given, **({"cache": False, "verbose": 0} | options))
    for word in words:
        assert re.search(word, str(caught.value)), f"{word!r} is not in: {caught.value}"
    assert fragile.sizes == []


def test_an_evaluation_needs_a_compiled_model() -> None:
    words = ["not compiled", r"model\.compile\(loss=", r"autobatch\.predict"]
    refused(evaluate, (X, Y), kind=ModelError, words=words, compiles=False)


@pytest.mark.parametrize("function", [evaluate, predict])
def test_a_folder_needs_a_generator(function: Any, folder: Path) -> None:
    refused(function, folder, kind=ArgumentError, words=["ImageDataGenerator", re.escape(str(folder))])
    refused(function, str(folder), kind=ArgumentError, words=["ImageDataGenerator"])


@pytest.mark.parametrize("function", [evaluate, predict])
def test_data_that_go_on_for_ever_need_a_number_of_steps(function: Any) -> None:
    """Seen to fail with them let through: the call never returned."""
    import tensorflow as tf

    for_ever = tf.data.Dataset.from_tensor_slices((X, Y)).repeat().batch(2)
    refused(function, for_ever, kind=ArgumentError, words=["for ever", "steps=None", "number of steps"])


@pytest.mark.parametrize("function", [evaluate, predict])
def test_a_generator_needs_a_folder(function: Any) -> None:
    refused(function, ImageDataGenerator(), kind=ArgumentError, words=["folder"])


@pytest.mark.parametrize("function", [evaluate, predict])
def test_samples_of_another_shape_are_refused_with_both_shapes(function: Any) -> None:
    """Seen to fail with that left to a layer far inside, which says nothing of the input."""
    words = [r"shape \(4, 6, 3\)", r"takes \(6, 6, 3\)", r"Expected \(None, 6, 6, 3\)"]
    refused(function, (X[:, :4], Y), kind=ArgumentError, words=words)


def test_an_evaluation_needs_targets() -> None:
    refused(evaluate, X, kind=ArgumentError, words=["nothing to compare", r"\(x, y\)", r"autobatch\.predict"])


@pytest.mark.parametrize("function", [evaluate, predict])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, ["batch_size=0", "whole number of at least 1"]),
        ({"batch_size": "small"}, ["batch_size='small'", "'auto', 'largest'"]),
        ({"steps": 0}, ["steps=0"]),
        ({"workers": -1}, ["workers=-1"]),
        ({"max_batch_size": 0.5}, ["max_batch_size=0.5"]),
        ({"trial_timeout_s": 0}, ["trial_timeout_s=0"]),
        ({"reserve": -1}, ["reserve=-1"]),
        ({"callbacks": [print]}, ["print", r"keras\.callbacks\.Callback"]),
        ({"batchsize": 4}, ["batchsize=4", "Did you mean 'batch_size'"]),
        ({"target_size": (4, 4)}, ["target_size"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_argument_that_cannot_be_meant(function: Any, options: dict[str, Any], words: list[str]) -> None:
    refused(function, (X, Y), kind=ArgumentError, words=words, **options)


@pytest.mark.parametrize("function", [evaluate, predict])
def test_what_is_no_model_is_refused(function: Any) -> None:
    with pytest.raises(ModelError, match="Keras model"):
        function("model.keras", (X, Y))
