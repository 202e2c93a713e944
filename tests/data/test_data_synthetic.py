"""Samples that are made up: in the shapes that a model takes, with targets that its losses compare."""

import keras
import numpy as np
import pytest
from nets import compiled, conv_net

from autobatch.data.adapters.synthetic import SAMPLES, SyntheticSource
from autobatch.data.batch import leaves, map_leaves
from autobatch.data.check import require_compatible
from autobatch.data.open import DataOptions, few_of, most_samples, open_data
from autobatch.errors import ModelError
from autobatch.probing.request import MOST

layers = keras.layers


def sequential(*inner, shape=(6,), dtype=None, loss="mse"):
    return compiled(keras.Sequential([keras.Input(shape, dtype=dtype), *inner]), loss=loss, metrics=[])


def two_of_each(loss, *, named=False, inputs_named=False):
    a, b = keras.Input((4,), name="a"), keras.Input((2, 3), name="b")
    p = layers.Dense(5, activation="softmax", name="p")(a)
    q = layers.Dense(1, activation="sigmoid", name="q")(layers.Flatten()(b))
    inputs = {"a": a, "b": b} if inputs_named else [a, b]
    return compiled(keras.Model(inputs, {"p": p, "q": q} if named else [p, q]), loss=loss, metrics=[])


def one_by_name():
    inputs = keras.Input((6,))
    return compiled(keras.Model(inputs, layers.Dense(3, name="d")(inputs)), loss={"d": SPARSE}, metrics=[])


def nested_embedding():
    inner = keras.Sequential([keras.Input((6,)), layers.Embedding(3, 4), layers.Flatten(), layers.Dense(1)])
    words = keras.Input((6,), dtype="int32")
    return compiled(keras.Model(words, inner(words)), loss="mse", metrics=[])


SPARSE, CROSS, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"
MODELS = {
    "a net of pictures": lambda: compiled(conv_net()),
    "class numbers": lambda: sequential(layers.Dense(3, activation="softmax"), loss=SPARSE),
    "a class of each point": lambda: sequential(layers.Dense(3, activation="softmax"), shape=(4, 6), loss=SPARSE),
    "one-hot by a class": lambda: sequential(layers.Dense(3), loss=keras.losses.CategoricalCrossentropy(True)),
    "yes or no": lambda: sequential(layers.Dense(1, activation="sigmoid"), loss=BINARY),
    "quantities": lambda: sequential(layers.Dense(2)),
    "a loss of one's own": lambda: sequential(layers.Dense(2), loss=lambda y, p: keras.ops.mean(y - p, axis=-1)),
    "a loss by name": one_by_name,
    "words as floats": lambda: sequential(layers.Embedding(7, 3), layers.Flatten(), layers.Dense(1)),
    "words": lambda: sequential(layers.Embedding(7, 3), layers.Flatten(), layers.Dense(1), dtype="int32"),
    "words deep inside": nested_embedding,
    "bytes": lambda: sequential(layers.Rescaling(1 / 255), layers.Dense(1), dtype="uint8"),
    "half precision": lambda: sequential(layers.Dense(1), dtype="float16"),
    "bfloat16": lambda: sequential(layers.Dense(1), dtype="bfloat16"),
    "two of each": lambda: two_of_each([SPARSE, BINARY]),
    "one loss for two": lambda: two_of_each("mse"),
    "losses by name": lambda: two_of_each({"p": CROSS, "q": BINARY}),
    "all by name": lambda: two_of_each({"p": SPARSE, "q": "mse"}, named=True, inputs_named=True),
    "a dict and a list": lambda: two_of_each([SPARSE, BINARY], named=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_on_samples_made_up_for_it(name):
    """Seen to fail with targets of the outputs' shape for class numbers, and with one input for several."""
    model = MODELS[name]()
    source = SyntheticSource(model, seed=3)
    batch = source.read(range(5), epoch=0)
    require_compatible(model, batch)
    # compiled without a function: tracing is not what is tested
    model.compile(model.optimizer, model.loss, run_eagerly=True)
    model.run_eagerly = True  # no graph is built for one step
    assert np.isfinite(model.train_on_batch(batch.x, batch.y)).all()


def test_each_target_is_what_its_loss_compares():
    """Seen to fail with the losses in another order than the outputs."""
    y = SyntheticSource(two_of_each({"q": BINARY, "p": SPARSE})).read(range(200), epoch=0).y
    assert (y[0].shape, y[1].shape) == ((200,), (200, 1))
    assert set(y[0].tolist()) == set(range(5))
    assert set(y[1].ravel().tolist()) == {0.0, 1.0}


def test_one_hot_targets_name_every_class():
    y = SyntheticSource(compiled(conv_net(classes=4))).read(range(100), epoch=0).y
    assert (y.sum(axis=1) == 1).all()
    assert (y.sum(axis=0) > 0).all()


@pytest.mark.parametrize(
    ("name", "dtype", "top"),
    [
        ("words", "int32", 7),
        ("words as floats", "float32", 7),
        ("words deep inside", "int32", 3),
        ("bytes", "uint8", 2),
    ],
)
def test_whole_numbers_are_those_that_an_embedding_knows(name, dtype, top):
    """Seen to fail with the range of an embedding left out: on a GPU what is beyond it is silently 0."""
    x = SyntheticSource(MODELS[name]()).read(range(100), epoch=0).x
    assert x.dtype == dtype
    assert set(np.unique(x).tolist()) == set(range(top))


def test_the_same_samples_come_whatever_is_read_beside_them():
    """Seen to fail with one generator for all the samples of a read."""
    source, again = (SyntheticSource(two_of_each("mse", inputs_named=True), seed=9) for _ in range(2))
    whole, alone = source.read([4, 7, 2], epoch=1), again.read([7], epoch=1)
    map_leaves(np.testing.assert_array_equal, whole[1:2].nest, alone.nest)
    others = (source.read([7], epoch=2), SyntheticSource(two_of_each("mse", inputs_named=True), seed=8).read([7], 1))
    for other in others:
        assert not np.array_equal(next(leaves(other.x)), next(leaves(alone.x)))


def test_a_sample_is_as_large_as_it_says():
    source = SyntheticSource(compiled(conv_net(side=12, classes=4)))
    assert source.sample_bytes == 4 * (12 * 12 * 3 + 4) == source.read([5], 0).nbytes
    assert source.read([], 0).size == 0


def test_a_model_without_a_loss_gets_inputs_alone():
    source = SyntheticSource(conv_net())
    batch = source.read([0], epoch=0)
    assert (batch.y, batch.bare) == (None, True)


@pytest.mark.parametrize(
    "loss",
    [keras.losses.CTC(), keras.losses.Circle(), "ctc", keras.losses.circle],
    ids=["CTC", "Circle", "ctc", "circle"],
)
def test_a_loss_whose_labels_have_a_shape_of_their_own_is_refused_by_name(loss):
    """Seen to fail with targets of the output's shape, for which the loss would blame the caller."""
    model = sequential(layers.Dense(5), shape=(8, 3), loss=loss)
    with pytest.raises(ModelError, match=r"(?i)the loss (ctc|circle)\..*real samples"):
        SyntheticSource(model)


def test_there_are_as_many_as_are_ever_tried_and_their_number_is_no_bound():
    """Seen to fail with the number of samples taken for that of a real data set."""
    source = SyntheticSource(compiled(conv_net()))
    assert len(source) == SAMPLES == MOST
    assert most_samples(source) is None


def test_a_source_is_taken_as_it_is_and_tells_that_it_is_synthetic():
    model = compiled(conv_net())
    given = open_data(SyntheticSource(model), None, DataOptions(model))
    assert given.synthetic
    assert "synthetic" in given.notes[0]
    assert few_of(given.data).size == 8


def text_model():
    return compiled(keras.Model(words := keras.Input((1,), dtype="string", name="words"), words), metrics=[])


class Unshaped(keras.Model):
    def call(self, x):
        return x


REFUSED = {
    "an open length": (
        lambda: compiled(keras.applications.MobileNetV2(weights=None, include_top=False)),
        "None, None, 3",
    ),
    "text": (text_model, "'words' of string"),
    "a class of one's own": (lambda: compiled(Unshaped()), "without inputs"),
    "not built": (lambda: compiled(keras.Sequential([layers.Dense(1)])), "without inputs"),
}


@pytest.mark.parametrize(("make", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_made_up_is_refused(make, what):
    with pytest.raises(ModelError, match=f"{what}.*Expected .*folder"):
        SyntheticSource(make())
