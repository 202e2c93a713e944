"""The sizes worth trying: few, close together, and the same whichever way they are reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probing.search import ladder_floor, ladder_middle, ladder_prev, rung_of, rung_size, worth_trying

SIZES = st.integers(1, 2**40)


def ladder_next(n):
    """The smallest size of the ladder above `n`."""
    return rung_size(rung_of(n) + 1)


def test_the_ladder_begins_as_described():
    sizes = [1]
    while sizes[-1] < 260:
        sizes.append(ladder_next(sizes[-1]))
    assert sizes == [*range(1, 129), *range(130, 257, 2), 260]


@given(SIZES)
def test_rungs_and_sizes_are_inverse(n):
    assert rung_size(rung_of(n)) == ladder_floor(n)


@given(SIZES)
def test_floor_next_and_prev_enclose_a_size(n):
    assert ladder_floor(n) <= n < ladder_next(n)
    assert ladder_prev(ladder_next(n)) == ladder_floor(n)
    assert ladder_floor(ladder_floor(n)) == ladder_floor(n)


@given(st.integers(128, 2**40))
def test_neighbours_differ_by_at_most_one_and_six_tenths_per_cent(n):
    low = ladder_floor(n)
    assert 1.0078 <= ladder_next(n) / low <= 1.0157


@given(SIZES, st.sampled_from([(1, 1.02), (3, 1.02), (4, 1.05), (20, 1.05)]))
def test_a_size_worth_trying_is_two_or_five_per_cent_more_but_at_least_one_sample(n, after):
    tried, gain = after
    more = worth_trying(n, tried)
    assert more > n
    assert more == n + 1 or (more - 1) / n < gain <= more / n


@given(SIZES, SIZES)
def test_the_middle_is_strictly_between_where_anything_is(a, b):
    low, high = ladder_floor(min(a, b)), max(a, b)
    middle = ladder_middle(low, high)
    assert middle == ladder_floor(middle)
    assert low <= middle < max(high, low + 1)
    assert (middle > low) == (ladder_next(low) < high)


@pytest.mark.parametrize(
    ("low", "high", "middle"), [(2, 4, 3), (2, 3, 2), (16, 32, 24), (128, 132, 130), (128, 131, 130), (128, 130, 128)]
)
def test_middles(low, high, middle):
    assert ladder_middle(low, high) == middle
