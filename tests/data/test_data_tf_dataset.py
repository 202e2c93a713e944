import numpy as np
import pytest
import tensorflow as tf

from autobatch.data.adapters.tf_dataset import DatasetStream, is_batched
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.errors import ArgumentError, DataError

X = np.arange(280, dtype=np.float32).reshape(70, 4)
Y = np.arange(70)
SAMPLES = tf.data.Dataset.from_tensor_slices((X, Y))


def spec(*shape):
    return tf.TensorSpec(shape)


UNKNOWN = tf.TensorSpec(None)

TABLE = [
    # inputs, labels, shapes of the model's inputs, batched
    (spec(None, 28, 28, 1), spec(None), [(None, None, None, None)], True),
    (spec(32, 28, 28, 1), spec(32, 10), [(None, None, None, None)], True),
    (spec(28, 28, 1), spec(), [(None, None, None, None)], False),
    (spec(28, 28, 1), spec(10), [(None, None, None, None)], False),
    (spec(None, None, 3), spec(10), [(None, None, None, None)], False),
    (spec(28, 28, 1), spec(10), (), False),
    (spec(28, 28, 1), spec(28), (), True),
    (spec(None, 28, 28, 1), spec(None, 10), (), True),
    (spec(32, 4), None, (), True),
    (spec(4), None, [(None, None)], False),
    (spec(4), None, [(None, None, None)], True),
    (spec(), None, (), False),
    (spec(None), spec(None), [(None, 1)], True),
    (spec(None), spec(), [(None, None)], False),
    (spec(784), spec(10), [(None, None)], False),
    (spec(784), None, [(None, None)], False),
    (spec(784), UNKNOWN, [(None, None)], False),
    ((spec(5), spec(5)), spec(5, 3), [(None, 1), (None, 1)], True),
    (spec(28, 28), spec(28), [(None, None, None)], False),
    (UNKNOWN, spec(), [(None, None, None, None)], False),
    (UNKNOWN, spec(None), [(None, None, None, None)], True),
    (UNKNOWN, UNKNOWN, [(None, None, None, None)], True),
    ((spec(None, 8), spec(None, 5, 5)), spec(None), [(None, None), (None, None, None)], True),
    ((spec(8), spec(5, 5)), spec(3), [(None, None), (None, None, None)], False),
    ({"b": spec(5, 5), "a": spec(8)}, {"c": spec(3), "d": spec(1)}, [(None, None), (None, None, None)], False),
    ({"b": spec(None, 5, 5), "a": spec(None, 8)}, None, [(None, None), (None, None, None)], True),
]


@pytest.mark.parametrize(("x", "y", "shapes", "batched"), TABLE)
def test_batches_are_told_from_samples(x, y, shapes, batched):
    """Seen to fail with the first dimension as the only sign."""
    assert is_batched(x, y, shapes) is batched


@pytest.mark.parametrize("dataset", [SAMPLES, SAMPLES.batch(9), SAMPLES.batch(70), SAMPLES.batch(10, True)])
def test_each_sample_of_a_pass_comes_once_and_in_order(dataset):
    """Seen to fail with single samples taken for batches, and with one iterator for all passes."""
    with StreamLoader(DatasetStream(dataset, input_shapes=[(None, 4)]), passes=2) as loader:
        for epoch in (0, 1):
            batch = loader.take(70)
            assert loader.epoch == epoch
            assert loader.ended
            assert np.array_equal(batch.x, X)
            assert np.array_equal(batch.y, Y)


@pytest.mark.parametrize(
    ("dataset", "batches", "samples", "infinite"),
    [
        (SAMPLES, 3, 70, False),
        (SAMPLES.batch(9), 8, None, False),
        (SAMPLES.batch(9).repeat(), None, None, True),
        (SAMPLES.repeat(), None, None, True),
        (SAMPLES.batch(9).filter(lambda x, y: True), None, None, False),
    ],
)
def test_it_tells_its_length_as_far_as_it_is_known(dataset, batches, samples, infinite):
    stream = DatasetStream(dataset, input_shapes=[(None, 4)])
    assert (stream.batches, stream.samples, stream.infinite) == (batches, samples, infinite)


@pytest.mark.parametrize(
    ("element", "x", "y", "weight"),
    [
        (X, True, False, False),
        ((X,), True, False, False),
        ((X, Y), True, True, False),
        ((X, Y, Y), True, True, True),
        (({"a": X, "b": X}, (Y, Y)), True, True, False),
    ],
)
def test_elements_are_read_as_keras_reads_them(element, x, y, weight):
    batch = DatasetStream(tf.data.Dataset.from_tensor_slices(element).batch(8)).few()
    assert (batch.x is not None, batch.y is not None, batch.sample_weight is not None) == (x, y, weight)
    assert batch.size == 8


def test_a_part_may_be_none():
    dataset = tf.data.Dataset.from_tensor_slices(X).map(lambda x: (x, None)).batch(7)
    assert DatasetStream(dataset).few().y is None


def test_a_first_look_takes_nothing_away():
    stream = DatasetStream(SAMPLES.batch(7))
    stream.few()
    assert next(stream.open(0)).y.tolist() == list(range(7))
    assert stream.sample_bytes == 4 * 4 + 8


@pytest.mark.parametrize("elements", [lambda x: x, lambda x: (x, Y)], ids=["bare", "with targets"])
def test_sparse_elements_are_made_dense(elements):
    whole = np.where(X % 3 == 0, X, 0)
    dataset = tf.data.Dataset.from_tensor_slices(elements(tf.sparse.from_dense(whole))).batch(7)
    assert np.concatenate([batch.x for batch in DatasetStream(dataset).open(0)]).tolist() == whole.tolist()


def test_an_iterator_of_the_users_is_left_alone():
    dataset = SAMPLES.batch(7)
    mine = iter(dataset)
    next(mine)
    with StreamLoader(DatasetStream(dataset), passes=1) as loader:
        loader.take(70)
    assert next(mine)[1].numpy().tolist() == list(range(7, 14))


def test_each_pass_is_drawn_anew():
    stream = DatasetStream(SAMPLES.shuffle(70, seed=3).batch(70))
    first, second = next(stream.open(0)).y, next(stream.open(1)).y
    assert sorted(first) == sorted(second) == list(range(70))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [2, 3]])), r"ragged.*Received"),
        (tf.data.Dataset.from_tensor_slices((X, Y, Y, Y)), "4 parts"),
    ],
)
def test_what_cannot_be_cut_by_samples_is_refused(dataset, reason):
    """Seen to fail without the check: an error in the thread that reads."""
    with pytest.raises(ArgumentError, match=reason):
        DatasetStream(dataset)


def test_an_error_of_the_datasets_own_comes_unchanged():
    def bad(x, y):
        tf.debugging.assert_less(y, tf.constant(14, tf.int64))
        return x, y

    with StreamLoader(DatasetStream(SAMPLES.map(bad).batch(7))) as loader:
        loader.take(14)
        with pytest.raises(tf.errors.InvalidArgumentError):
            loader.take(1)


def test_an_empty_one_says_so():
    with pytest.raises(DataError, match="no samples"):
        DatasetStream(SAMPLES.take(0)).few()


def test_it_says_what_holds():
    assert "cut and joined as they come" in DatasetStream(SAMPLES.batch(3)).notes[0]
    assert "Its samples are batched as they come" in DatasetStream(SAMPLES).notes[0]


class Told:
    """A dataset that says how often it was iterated and how many batches were drawn."""

    def __init__(self):
        self.opened, self.drawn = 0, 0
        signature = (tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64))
        self.dataset = tf.data.Dataset.from_generator(self.batches, output_signature=signature)

    def batches(self):
        self.opened += 1
        for start in range(0, 70, 7):
            self.drawn += 1
            yield X[start : start + 7], Y[start : start + 7]


def test_first_looks_and_the_first_pass_are_one_iteration():
    """Seen to fail with an iterator for each look."""
    told = Told()
    stream = DatasetStream(told.dataset)
    assert stream.few() is stream.few()
    assert stream.sample_bytes == 4 * 4 + 8
    assert told.opened == 1
    with StreamLoader(stream, passes=2) as loader:
        for _ in range(2):
            assert loader.take(70).y.tolist() == Y.tolist()
        assert loader.ended
    stream.few()
    assert (told.opened, told.drawn) == (2, 20)


def test_a_seeded_order_is_that_of_the_datasets_own_passes():
    """Seen to fail with an iterator for the first look: the training got the order of the second pass."""

    def shuffled():
        return SAMPLES.shuffle(70, seed=5).batch(7)

    stream = DatasetStream(shuffled())
    stream.few()
    theirs = shuffled()
    for epoch in (0, 1):
        ours = [batch.y.tolist() for batch in stream.open(epoch)]
        assert ours == [y.tolist() for _, y in theirs.as_numpy_iterator()]


def test_a_source_that_can_be_read_once_loses_no_batch():
    """Seen to fail with an iterator for the first look: the training began with the second batch."""
    once = iter([(X[:7], Y[:7]), (X[7:14], Y[7:14])])
    signature = (tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64))
    stream = DatasetStream(tf.data.Dataset.from_generator(lambda: once, output_signature=signature))
    stream.few()
    assert [batch.y.tolist() for batch in stream.open(0)] == [list(range(7)), list(range(7, 14))]


@pytest.mark.parametrize(
    ("x", "y", "shapes", "batched"),
    [
        (spec(5), spec(5), [(None, 1)], True),
        (spec(5), None, [(None, 1)], True),
        (spec(5), spec(5, 3), [(None, 1)], True),
        (spec(5, 1), spec(5), [(None, 1)], True),
        (spec(1), spec(3), [(None, 1)], False),
        (spec(1), spec(1), [(None, 1)], True),
        (spec(None), spec(None), [(None, 1)], True),
        (spec(784), spec(784), [(None, 784)], False),
        (spec(10), spec(10), [(None, 10)], False),
        (spec(10), spec(10), [(None, None)], False),
        (spec(28, 28), spec(28), [(None, 28, 28)], False),
        (spec(32, 28), spec(32), [(None, 28, 1)], True),
        (spec(28, 1), spec(3), [(None, 28, 1)], False),
        ((spec(5), spec(5)), spec(5), [(None, 1), (None, 1)], True),
        ((spec(5), spec(8)), spec(5), [(None, 5), (None, 8)], False),
    ],
)
def test_shapes_tell_a_flat_batch_from_a_sample(x, y, shapes, batched):
    """Seen to fail with each input that lacks a dimension taken for a sample."""
    assert is_batched(x, y, shapes) is batched


def test_a_flat_batch_comes_as_it_is():
    """Seen to fail with batches of 4 taken for samples of 4 numbers."""
    flat = tf.data.Dataset.from_tensor_slices((X[:, 0], Y)).batch(7, drop_remainder=True)
    for shapes in ((), ((None, 1),)):
        assert DatasetStream(flat, input_shapes=shapes).few().size == 7
