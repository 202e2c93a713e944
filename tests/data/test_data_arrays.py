import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csc_matrix, csr_array

from autobatch.data.adapters.arrays import ArraySource, arrays_of
from autobatch.data.batch import as_batch, leaves
from autobatch.errors import ArgumentError

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def same(ours, theirs):
    pairs = list(zip(leaves(ours), leaves(theirs), strict=True))
    return bool(pairs) and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@given(indices=st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_any_rows_can_be_read_in_any_order(indices):
    batch = ArraySource(X, Y, Y * 0.5).read(indices, 3)
    assert np.array_equal(batch.x, X[indices])
    assert np.array_equal(batch.y, Y[indices])
    assert np.array_equal(batch.sample_weight, (Y * 0.5).astype(np.float32)[indices])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([X, X[:, 0]], Y),
        ((X, X[:, 0]), (Y, Y)),
        ({"a": X, "b": X}, {"c": Y, "d": Y}),
        (X, None),
    ],
)
def test_nests_come_as_they_are(x, y):
    batch = ArraySource(x, y).read([3, 1], 0)
    assert type(batch.x) is (type(x) if not isinstance(x, np.ndarray) else np.ndarray)
    assert [array.shape[0] for array in leaves((batch.x, batch.y))] == [2] * len(list(leaves((x, y))))


FRAME = pd.DataFrame({"a": np.arange(10), "b": np.arange(10) * 0.5})
ARRAYS = {
    "float64": X.astype(np.float64),
    "float16": X.astype(np.float16),
    "uint8": X.astype(np.uint8),
    "bool": X > 3,
    "int64": Y,
    "tensor": tf.constant(X),
    "bfloat16": tf.cast(X, tf.bfloat16),
    "variable": keras.Variable(X),
    "frame": FRAME,
    "whole frame": FRAME[["a"]],
    "series": FRAME["b"],
}


@pytest.mark.parametrize("values", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_are_read_as_keras_reads_them(values):
    """Seen to fail without the cast to floatx, and with a series left flat."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    theirs, _ = next(iter(ArrayDataAdapter(values, Y, batch_size=4).get_numpy_iterator()))
    assert same(ArraySource(values, Y).read(range(4), 0).x, np.asarray(theirs))


@pytest.mark.parametrize("come", [lambda x: ArraySource(x).read([0], 0), lambda x: as_batch((x,), "data")])
@pytest.mark.parametrize("words", [("a", "bbbbb"), (b"a", b"bbbbb")])
def test_text_is_never_cut_off(come, words):
    """A mixture puts it among other text, maybe shorter. Seen to fail with text kept in a type of fixed width."""
    short, long = (come(np.array([word])) for word in words)
    room = short.room_for(2)
    room.fill(0, short)
    room.fill(1, long)
    assert room.x.tolist() == list(words)


def test_floats_follow_floatx():
    """Seen to fail with float32 written out."""
    keras.config.set_floatx("float64")
    try:
        assert ArraySource(X).read([0], 0).x.dtype == np.float64
    finally:
        keras.config.set_floatx("float32")


def test_only_the_rows_asked_for_are_cast_and_copied():
    """Seen to fail with the whole array cast: it would take 8 TiB."""
    huge = np.broadcast_to(np.float64(7), (2**40, 2))
    source = ArraySource(huge)
    assert len(source) == 2**40
    assert source.read([5, 2**39], 0).x.tolist() == [[7, 7], [7, 7]]
    assert len(source.split(0.25)[0]) == 3 * 2**38


def test_what_is_read_is_a_copy():
    """Seen to fail with windows read as slices."""
    source = ArraySource(X)
    assert not np.shares_memory(source.read([0, 1], 0).x, X)


def test_bytes_of_a_sample_are_those_that_are_read():
    source = ArraySource({"a": X.astype(np.float64), "b": np.zeros((10, 3, 3), np.uint8)}, Y, np.ones(10))
    batch = source.read([0], 0)
    assert source.sample_bytes == batch.nbytes == 2 * 4 + 9 + 8 + 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X, Y[:8]), r"differ in their number of samples\. Received: x with 10, y with 8\. Expected the same"),
        (([X, X[:9]], Y), r"Received: x with 10 and 9, y with 10"),
        ((X, Y, np.ones(3)), r"y with 10, sample_weight with 3"),
        ((X[:0],), "no samples"),
        ((None, Y), "no inputs"),
        (([1, 2, 3],), "a list of numbers counts as several inputs. Received: 1"),
        ((tf.ragged.constant([[1], [2, 3]]),), "ragged.*to_tensor"),
        ((X, [Y, Y], [np.ones(10)]), "Each output needs its weights"),
        ((X, [Y, Y], np.ones((10, 4))), r"shape \(10, 4\)"),
    ],
)
def test_what_does_not_go_together_is_named(arrays, message):
    """Seen to fail without the comparison of lengths."""
    with pytest.raises(ArgumentError, match=message):
        ArraySource(*arrays)


def test_one_array_of_weights_serves_every_output():
    batch = ArraySource(X, {"a": Y, "b": Y}, np.ones(10)).read([1, 2], 0)
    assert set(batch.sample_weight) == {"a", "b"}
    assert batch.sample_weight["b"].shape == (2,)


SPARSE = {
    "csr": csr_array,
    "coo": coo_array,
    "csc matrix": csc_matrix,
    "tensor": tf.sparse.from_dense,
}


@pytest.mark.parametrize("form", SPARSE)
def test_sparse_rows_are_made_dense_as_they_are_read(form):
    """Seen to fail with the places of a tensor taken for its columns."""
    whole = (X * (np.arange(X.size).reshape(X.shape) % 3 == 0)).astype(np.float32)
    source = ArraySource(SPARSE[form](whole), Y)
    assert source.read([7, 2], 0).x.tolist() == whole[[7, 2]].tolist()
    assert source.sample_bytes == source.read([0], 0).nbytes
    train, held_out = source.split(0.3)
    assert held_out.read(range(3), 0).x.tolist() == whole[7:].tolist()
    assert len(train) == 7
    batch = as_batch((SPARSE[form](whole), Y), "data")
    assert same(batch.x, whole)
    assert same(as_batch(SPARSE[form](whole), "data").x, whole)


@pytest.mark.parametrize("fraction", [0.2, 0.25, 0.33, 0.01])
def test_a_split_is_kerass(fraction):
    """Seen to fail with the first part held out, and with the number rounded."""
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    (their_x, their_y), (their_held_x, _) = train_validation_split((X, Y), fraction)
    train, held_out = ArraySource(X, Y, seed=8).split(fraction)
    assert (train.seed, held_out.seed) == (8, 8)
    assert np.array_equal(train.read(range(len(train)), 0).x, their_x)
    assert np.array_equal(train.read(range(len(train)), 0).y, their_y)
    assert np.array_equal(held_out.read(range(len(held_out)), 0).x, their_held_x)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.9, 0.99])
def test_a_split_leaves_both_something(fraction):
    with pytest.raises(ArgumentError, match=f"Received: fraction={fraction}"):
        ArraySource(X, Y).split(fraction)


@pytest.mark.parametrize(("data", "parts"), [(X, 1), ((X,), 1), ((X, Y), 2), ((X, Y, Y), 3), ({"a": X}, 1)])
def test_what_is_given_in_one_piece_is_taken_apart(data, parts):
    assert sum(part is not None for part in arrays_of(data)) == parts


@pytest.mark.parametrize("data", [[X, Y], (), (X, Y, Y, Y)])
def test_what_could_mean_two_things_is_refused(data):
    with pytest.raises(ArgumentError, match=r"Received: data=.*Expected"):
        arrays_of(data)


def test_no_index_beyond_the_samples():
    with pytest.raises(IndexError):
        ArraySource(X).read([10], 0)
