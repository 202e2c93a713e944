from functools import partial

import numpy as np
import pytest

from autobatch.data.adapters.batch_generator import BatchGeneratorStream, is_uncalled
from autobatch.data.batch import as_batch, leaves
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.errors import ArgumentError, DataError


class Tensor:
    """Something that numpy can read."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)


X, Y, W = np.zeros((3, 2)), np.arange(3), np.ones(3)


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        (X, "x"),
        ((X,), "x"),
        ((X, Y), "xy"),
        ((X, Y, W), "xyw"),
        ((X, None, W), "xw"),
        ([X, Y], "xy"),
        ({"a": X, "b": Y}, "x"),
        (([X, Y], Y), "xy"),
        (({"a": X}, {"b": Y}, {"b": W}), "xyw"),
        ((Tensor(), Y), "xy"),
    ],
)
def test_an_item_is_read_as_keras_reads_it(item, parts):
    batch = as_batch(item, "it")
    assert batch.size == 3
    given = {"x": batch.x, "y": batch.y, "w": batch.sample_weight}
    assert "".join(name for name, nest in given.items() if nest is not None) == parts
    assert all(isinstance(array, np.ndarray) for nest in given.values() for array in leaves(nest))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "no inputs"),
        (5, "single value.*Received: 5"),
        ("text", "single value"),
        ((X, Y, W, W), "4 parts"),
        ((), "0 parts"),
        ((X, 1.0), "single value"),
        ((X, [0, 1, 1]), "list of numbers"),
        ((X, np.arange(4)), r"first dimensions differ \(3, 4\).*ndarray of float64 \(3, 2\)"),
        ((X, Y, np.ones(2)), r"differ \(3, 3, 2\)"),
        (({}, Y), "no inputs"),
    ],
)
def test_what_is_no_batch_is_named(item, reason):
    """Seen to fail without the check of first dimensions."""
    with pytest.raises(DataError, match=rf"What came from it is no batch: .*{reason}.*Expected x, \(x,\)"):
        as_batch(item, "it")


def test_an_empty_batch_is_skipped():
    """Seen to fail with it handed on."""
    stream = BatchGeneratorStream(iter([np.zeros((0, 2)), X, np.zeros((0, 2))]))
    assert [batch.size for batch in stream.open(0)] == [3]


def test_a_first_look_loses_nothing():
    """Seen to fail with the first batch not put back."""
    stream = BatchGeneratorStream(np.full(2, number) for number in range(3))
    assert stream.few().x.tolist() == [0, 0]
    assert stream.few().x.tolist() == [0, 0]
    assert stream.sample_bytes == 8
    assert [batch.x[0] for batch in stream.open(0)] == [0, 1, 2]


def test_a_buffer_that_is_filled_again_and_again_is_copied():
    """Seen to fail with the array kept as it came."""

    def generate():
        buffer = np.zeros(2)
        for number in range(5):
            buffer[:] = number
            yield buffer

    with StreamLoader(BatchGeneratorStream(generate())) as loader:
        assert loader.take(10).x.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_generators_error_passes_through():
    def generate():
        yield X
        raise LookupError("mine")

    with StreamLoader(BatchGeneratorStream(generate())) as loader:
        loader.take(3)
        with pytest.raises(LookupError, match="mine"):
            loader.take(1)


def test_a_list_is_refused_as_keras_refuses_it():
    with pytest.raises(DataError, match=r"list from the batch generator.*Expected a tuple"):
        BatchGeneratorStream(iter([[X, Y]])).few()


def test_a_generator_without_a_batch_says_so():
    with pytest.raises(DataError, match="no batch to give"):
        BatchGeneratorStream(iter([])).few()


@pytest.mark.parametrize("wrong", [lambda: iter([X]), [X]])
def test_what_has_no_next_batch_is_refused(wrong):
    with pytest.raises(ArgumentError, match="Expected a batch generator or another iterator"):
        BatchGeneratorStream(wrong)


def test_it_says_what_holds():
    stream = BatchGeneratorStream(iter([X]), seed=4)
    assert (stream.seed, stream.batches, stream.samples, stream.repeatable) == (4, None, None, False)
    assert any("One batch is drawn from the batch generator ahead" in note for note in stream.notes)


def yielding(number):
    yield X[:number]


class Having:
    """Has a method that yields."""

    def batches(self):
        yield X


@pytest.mark.parametrize(
    ("data", "uncalled"),
    [
        (yielding, True),
        (partial(yielding, 2), True),
        (partial(partial(yielding), 2), True),
        (Having().batches, True),
        (yielding(2), False),
        (lambda: yielding(2), False),
        (iter([X]), False),
        (X, False),
        (Having, False),
    ],
)
def test_a_generator_function_without_its_call_is_told(data, uncalled):
    """Seen to fail with `callable` as the sign."""
    assert is_uncalled(data) is uncalled
