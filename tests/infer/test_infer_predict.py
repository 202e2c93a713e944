"""`autobatch.predict` gives what `model.predict` gives, whatever the size, and whatever happens on the way."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import write_pictures
from inference import SIDE, Fragile, keras_predict, one_output, pixels, two_inputs, two_outputs
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import numbers

from autobatch.errors import DoesNotFitError, ModelError
from autobatch.infer.predict import predict

COUNT = 21
X = pixels(COUNT)


def ours(model: Any, data: Any, source: Any = None, **options: Any) -> Any:
    return predict(model, data, source, **({"cache": False, "verbose": 0} | options))


def assert_same(one: Any, other: Any) -> None:
    keras.tree.assert_same_structure(one, other)
    for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        assert isinstance(a, np.ndarray)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


MODELS = {
    "one output": (one_output, X),
    "a list of outputs": (lambda: two_outputs(lambda a, b: [a, b]), X),
    "a dict of outputs": (lambda: two_outputs(lambda a, b: {"first": a, "second": b}), X),
    "a list of inputs": (lambda: two_inputs(names=False), [X, X[:, 0, 0]]),
    "a dict of inputs": (lambda: two_inputs(names=True), {"picture": X, "numbers": X[:, 0, 0]}),
}
SIZES: dict[str, dict[str, Any]] = {
    "auto": {},
    "largest": {"batch_size": "largest"},
    "a number, the last step short": {"batch_size": 8},
    "in small micro-batches": {"batch_size": 8, "max_batch_size": 3},
    "some steps": {"batch_size": 4, "steps": 2},
}


@pytest.mark.parametrize(
    ("what", "size"),
    [(what, "in small micro-batches") for what in MODELS]
    + [("one output", size) for size in SIZES if size != "in small micro-batches"],
)
def test_predictions_are_those_of_keras(what: str, size: str) -> None:
    """Seen to fail with the outputs of a micro-batch put at the start of its step."""
    make, data = MODELS[what]
    model, options = make(), SIZES[size]
    expected = keras_predict(model, data)
    if "steps" in options:
        expected = keras.tree.map_structure(lambda array: array[:8], expected)
    assert_same(ours(model, data, **options), expected)


def test_a_compiled_model_predicts_and_its_optimizer_is_not_built() -> None:
    """Seen to fail with the optimizer built along with the rest."""
    model = one_output()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    before = numbers(model.variables)
    assert_same(ours(model, X), keras_predict(model, X))
    assert not model.optimizer.built
    assert model.compiled
    assert [a.tobytes() for a in numbers(model.variables)] == [b.tobytes() for b in before]


def test_a_model_that_is_not_built_is_built_by_the_samples() -> None:
    """Seen to fail with the optimizer that an uncompiled model does not have asked for."""
    from nets import Here

    keras.utils.set_random_seed(1)
    model = keras.Sequential([Here(), keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    assert_same(ours(model, X), keras_predict(model, X))


class Doubling(keras.Model):
    def predict_step(self, data: Any) -> Any:
        return 2 * self(data, training=False)  # arrays without targets come as they are, as in Keras

    def get_config(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager"])
def test_a_predict_step_of_the_users_own_is_run(eager: bool) -> None:
    """Seen to fail with the model called past it."""
    inner = one_output()
    model = Doubling(inner.inputs, inner.outputs)
    model.run_eagerly = eager
    assert_same(ours(model, X, batch_size=8), 2 * keras_predict(inner, X))


def test_a_step_that_runs_out_of_memory_is_redone_smaller() -> None:
    """No prediction is lost and none comes twice. Seen to fail with what failed not put back into the feed."""
    fragile = Fragile()
    model = one_output(fragile)
    expected = keras_predict(model, X)

    class Tightens(keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                fragile.sizes.clear()
                fragile.fails = lambda size: size > 2

    events: list[Any] = []
    got = ours(model, X, batch_size=8, callbacks=[Tightens()], on_event=events.append)
    assert_same(got, expected)
    assert max(fragile.sizes) == 2
    assert sum(fragile.sizes) == COUNT - 8
    said = [str(event) for event in events if hasattr(event, "before")]
    assert said
    assert all(line.startswith("prediction: micro-batch ") for line in said)


def test_if_not_even_one_sample_fits_the_error_says_so() -> None:
    fragile = Fragile()
    model = one_output(fragile)
    fragile.fails = lambda size: True
    with pytest.raises(DoesNotFitError, match="Not even one sample fits"):
        ours(model, X)


def test_pictures_of_a_folder_are_predicted_in_order_and_as_they_are(tmp_path: Path) -> None:
    """Without a compiled loss, all of them, not transformed at random. Seen to fail with the random transformation."""
    folder = write_pictures(tmp_path / "pictures", 6, 7, side=SIDE)
    plain = ImageDataGenerator(rescale=1 / 255)
    wild = ImageDataGenerator(rescale=1 / 255, rotation_range=90, horizontal_flip=True, validation_split=0.3)
    model = one_output()
    flow = plain.flow_from_directory(folder, (SIDE, SIDE), shuffle=False, class_mode=None, batch_size=4)
    assert_same(ours(model, wild, folder), keras_predict(model, flow))


def datasets() -> Any:
    import tensorflow as tf

    return tf.data.Dataset


STREAMS = {
    "a generator of inputs": lambda: (X[start : start + 5] for start in range(0, COUNT, 5)),
    "a generator of pairs": lambda: ((X[start : start + 5], np.zeros(len(X[start : start + 5]))) for start in (0, 5)),
    "a dataset in batches": lambda: datasets().from_tensor_slices(X).batch(5),
    "a dataset of samples": lambda: datasets().from_tensor_slices(X),
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_is_predicted_to_its_end(what: str) -> None:
    """Seen to fail with parts joined in the order of their sizes."""
    model = one_output()
    expected = keras_predict(model, X[:10] if "pairs" in what else X)
    assert_same(ours(model, STREAMS[what](), batch_size=8, max_batch_size=3), expected)


def test_predictions_that_do_not_fit_together_are_refused_before_anything_runs() -> None:
    """2**40 samples that take no memory themselves. Seen to fail with room for one micro-batch thought enough."""
    fragile = Fragile()
    model = one_output(fragile)
    many = np.broadcast_to(X[:1], (2**40, *X.shape[1:]))
    with pytest.raises(DoesNotFitError, match=r"predictions of all samples take 8,192\.0 GiB") as caught:
        ours(model, many)
    assert caught.value.needed_bytes == 2**40 * 8
    assert caught.value.available_bytes < 2**40 * 8
    assert fragile.sizes == []


def test_a_model_that_predicts_for_the_batch_as_a_whole_is_refused() -> None:
    """Seen to fail with the first prediction of each micro-batch repeated."""

    class Sums(Doubling):
        def predict_step(self, data: Any) -> Any:
            return keras.ops.sum(super().predict_step(data), axis=0, keepdims=True)

    inner = one_output()
    with pytest.raises(ModelError, match="not one for each sample"):
        ours(Sums(inner.inputs, inner.outputs), X)
