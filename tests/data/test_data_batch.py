import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.data.batch import Batch, concatenate


def numbered(size: int) -> Batch:
    x = np.arange(size * 6, dtype=np.float32).reshape(size, 2, 3)
    return Batch({"a": x, "b": [x + 1, (x[:, 0],)]}, y=np.arange(size), sample_weight=None)


def same(one: Batch, other: Batch) -> bool:
    pairs = [(one.x["a"], other.x["a"]), (one.x["b"][0], other.x["b"][0]), (one.x["b"][1][0], other.x["b"][1][0])]
    return all(np.array_equal(left, right) for left, right in [*pairs, (one.y, other.y)])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_what_was_cut_and_joined_is_what_it_was(sizes):
    batch = numbered(sum(sizes))
    starts = np.cumsum([0, *sizes])
    parts = [batch[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    assert same(concatenate(parts), batch)
    room = batch.room_for(sum(sizes))
    for start, part in zip(starts, parts, strict=False):
        room.fill(int(start), part)
    assert same(room, batch)


def test_size_and_bytes_count_every_array():
    batch = Batch(np.zeros((5, 2), np.float32), np.zeros((5,), np.int64), np.zeros((5,), np.float32))
    assert batch.size == 5
    assert batch.nbytes == 5 * (8 + 8 + 4)


def test_take_repeats():
    assert numbered(3).take([2, 2, 0]).y.tolist() == [2, 2, 0]


def test_a_window_is_a_view():
    batch = numbered(4)
    assert batch[1:3].x["a"].base is not None
    assert np.shares_memory(batch[1:3].x["a"], batch.x["a"])


def test_filling_with_another_form_is_an_error():
    with pytest.raises(ValueError, match="broadcast"):
        Batch(np.zeros((4, 2))).fill(0, Batch(np.zeros((2, 3))))
