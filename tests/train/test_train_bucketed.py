"""Streams whose batches differ in shape: text padded to the length of its batch, pictures of several sizes."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import Here, numbers, relative_l2

import autobatch
from autobatch.data.batch import Batch, conform
from autobatch.errors import ArgumentError, DataError

pytestmark = pytest.mark.usefixtures("probed_once")
GENERATOR = np.random.default_rng(0)
LENGTHS = (5, 5, 9, 3, 9, 7, 3)
SIZES = (6, 6, 6, 6, 6, 4, 6)  # one batch is short, and not the last
TEXT = [
    (GENERATOR.integers(1, 20, (size, length)), GENERATOR.normal(size=(size, 1)).astype(np.float32))
    for size, length in zip(SIZES, LENGTHS, strict=True)
]
TAGGED = [(x, GENERATOR.normal(size=(*x.shape, 1)).astype(np.float32)) for x, _ in TEXT]
PICTURES = [
    (GENERATOR.normal(size=(size, side, side + 1, 3)).astype(np.float32), GENERATOR.normal(size=(size, 1)))
    for size, side in zip(SIZES, LENGTHS, strict=True)
]
GROWING = [TEXT[5], *TEXT[:5]]  # the first batch is smaller than the others


def reader(*, tags: bool = False, eagerly: bool = True) -> Any:
    pooled = [] if tags else [keras.layers.GlobalAveragePooling1D()]
    return made([keras.Input((None,), dtype="int32"), keras.layers.Embedding(20, 4), *pooled], eagerly=eagerly)


def seer() -> Any:
    return made([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 2), keras.layers.GlobalMaxPooling2D()])


def tagger() -> Any:
    return reader(tags=True)


class Own(keras.Model):
    """Tells nothing of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = [keras.layers.Embedding(20, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]

    def call(self, x: Any) -> Any:
        for layer in self.inner:
            x = layer(x)
        return x

    def get_config(self) -> Any:
        raise NotImplementedError


def own() -> Any:
    model = Own()
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    return model


def made(layers: list[Any], *, eagerly: bool = True) -> Any:
    model = keras.Sequential([layers[0], Here(), *layers[1:], keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
    return model


class Dataset(keras.utils.PyDataset):
    """Batches by number."""

    def __init__(self, batches: Any) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]


def dataset(batches: Any) -> Any:
    """As `padded_batch` and `bucket_by_sequence_length` make one: lengths are open."""
    x, y = batches[0]
    open_x = tf.TensorSpec([None] * x.ndim if x.ndim < 4 else [None, None, None, 3], x.dtype)
    open_y = tf.TensorSpec([None, 1] if y.ndim == 2 else [None, None, 1], y.dtype)
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=(open_x, open_y))


def one_pass(batches: Any) -> Iterator[Any]:
    yield from batches


def fit(model: Any, data: Any, **options: Any) -> Any:
    return autobatch.fit(model, data, **{"shuffle": False, "verbose": 0, "cache": False} | options)


def same_weights(*models: Any) -> None:
    keras.utils.set_random_seed(3)
    values = [0.3 * GENERATOR.normal(size=variable.shape) for variable in models[0].trainable_variables]
    for model in models:
        for variable, value in zip(model.trainable_variables, values, strict=True):
            variable.assign(value)


def keras_updates(model: Any, batches: Any) -> None:
    for x, y in batches:
        model.train_on_batch(x, y)


@pytest.mark.parametrize("micro", [6, 4])
@pytest.mark.parametrize(
    ("make", "batches", "given", "options"),
    [
        (reader, TEXT, dataset, {}),
        (reader, TEXT, dataset, {"batch_size": 6}),
        (reader, GROWING, dataset, {}),
        (reader, TEXT, Dataset, {}),
        (reader, TEXT, one_pass, {"steps_per_epoch": 7}),
        (tagger, TAGGED, dataset, {"batch_size": "largest"}),
        (seer, PICTURES, dataset, {}),
        (own, TEXT, Dataset, {"batch_size": 6}),
        (own, TEXT, dataset, {}),
        pytest.param(lambda: reader(eagerly=False), TEXT, dataset, {}, marks=pytest.mark.slow),
    ],
)
def test_each_batch_is_an_update_and_equals_keras_own(
    make: Any, batches: Any, given: Any, options: dict[str, Any], micro: int
) -> None:
    """Whole and cut. Seen to fail with batches joined across their bounds, where shapes happen to agree."""
    ours, theirs = make(), make()
    for model in (ours, theirs):
        model(batches[0][0])
    same_weights(ours, theirs)
    keras_updates(theirs, batches)
    history = fit(ours, given(batches), max_batch_size=micro, **options)
    assert int(ours.optimizer.iterations.numpy()) == len(batches)
    assert relative_l2(numbers(ours.trainable_variables), numbers(theirs.trainable_variables)) < 1e-5
    assert any("may differ in shape, so none are joined" in note for note in history.autobatch.notes)


def test_larger_batches_are_cut_to_the_size_asked_for() -> None:
    ours, theirs = reader(), reader()
    same_weights(ours, theirs)
    keras_updates(
        theirs, [(x[start : start + 4], y[start : start + 4]) for x, y in TEXT for start in range(0, len(x), 4)]
    )
    fit(ours, dataset(TEXT), batch_size=4)
    assert relative_l2(numbers(ours.trainable_variables), numbers(theirs.trainable_variables)) < 1e-5


def test_validation_evaluation_and_prediction_take_them_too() -> None:
    model = reader()
    expected = model.evaluate(dataset(TEXT).apply(tf.data.experimental.assert_cardinality(7)), verbose=0)
    assert autobatch.evaluate(model, dataset(TEXT), verbose=0, cache=False)["loss"] == pytest.approx(expected, rel=1e-5)
    predicted = autobatch.predict(model, dataset(TEXT).map(lambda x, _: x), verbose=0, cache=False)
    assert np.allclose(predicted, np.concatenate([model(x) for x, _ in TEXT]), atol=1e-6)
    for layer in model.layers:
        layer.trainable = layer is model.layers[-1]
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    history = fit(model, dataset(TEXT), validation_data=dataset(TEXT))
    assert history.history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "given", "error", "words"),
    [
        (reader, dataset, ArgumentError, "cannot be joined to larger ones. Received: batch_size=12 with batches of 6"),
        (own, Dataset, DataError, "or give their own size as batch_size="),
    ],
)
def test_what_would_have_to_be_joined_is_refused(make: Any, given: Any, error: Any, words: str) -> None:
    """Where the `element_spec` leaves lengths open, before any update."""
    model = make()
    with pytest.raises(error, match=words):
        fit(model, given(TEXT), batch_size=12)
    if error is ArgumentError:
        assert int(model.optimizer.iterations.numpy()) == 0


def test_text_bucketed_by_tensorflow_trains() -> None:
    """Each bucket with a batch size of its own."""
    sentences = [GENERATOR.integers(1, 20, length) for length in (3, 4, 9, 2, 8, 3, 7, 4, 9, 2)]
    single = tf.data.Dataset.from_generator(
        lambda: ((sentence, np.float32([1.0])) for sentence in sentences),
        output_signature=(tf.TensorSpec([None], tf.int64), tf.TensorSpec([1], tf.float32)),
    )
    bucketed = single.bucket_by_sequence_length(lambda x, _: tf.shape(x)[0], [5], [4, 2])
    model = reader()
    fit(model, bucketed, epochs=2)
    assert int(model.optimizer.iterations.numpy()) == 2 * sum(1 for _ in bucketed)


@pytest.mark.slow
def test_a_step_is_traced_twice_at_most() -> None:
    """As in Keras. Seen to fail with a trace for each length."""
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            traces.append(x.shape)
            return x

        def get_config(self) -> Any:
            raise NotImplementedError

    layers = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(20, 4), Counting()]
    model = made([*layers, keras.layers.GlobalAveragePooling1D()], eagerly=False)
    fit(model, dataset(TEXT[:2]))
    traces.clear()
    fit(model, dataset(TEXT))
    lengths = [shape[1] for shape in traces]
    assert set(lengths) <= {None, 5}


@pytest.mark.parametrize(("dtype", "lengths", "fits"), [("f4", True, False), ("f4", False, True), ("U1", False, False)])
def test_lengths_may_differ_where_that_is_allowed(dtype: str, lengths: bool, fits: bool) -> None:
    first, other = Batch(np.zeros((2, 3), np.float32)), Batch(np.zeros((2, 4), dtype))
    if fits:
        assert conform(other, first, "data", lengths=lengths).x.shape == (2, 4)
    else:
        with pytest.raises(DataError):
            conform(other, first, "data", lengths=lengths)


def test_batches_of_one_shape_are_joined_as_ever() -> None:
    """Also where the first one has the size asked for: the others need not. Seen to fail with each as an update."""
    x, y = GENERATOR.normal(size=(14, 4)).astype(np.float32), np.ones((14, 1))
    model = made([keras.Input((4,))])
    history = fit(
        model, Dataset([(x[:6], y[:6]), (x[6:8], y[6:8]), (x[8:10], y[8:10]), (x[10:], y[10:])]), batch_size=6
    )
    assert int(model.optimizer.iterations.numpy()) == 3
    assert not any("may differ in shape" in note for note in history.autobatch.notes)
