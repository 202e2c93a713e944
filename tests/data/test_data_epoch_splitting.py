import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.data.epoch import near_equal, next_rung, number_of_updates, rungs
from autobatch.errors import ArgumentError

COUNTS = st.integers(1, 5000)


@given(st.integers(0, 5000), COUNTS)
def test_micro_batches_make_up_the_count(count, micro):
    assert sum(near_equal(count, micro)) == count


@given(COUNTS, COUNTS)
def test_micro_batches_are_few_and_near_equal_and_none_too_large(count, micro):
    sizes = near_equal(count, micro)
    assert max(sizes) <= micro
    assert max(sizes) - min(sizes) <= 1
    assert sorted(sizes, reverse=True) == list(sizes)
    assert len(sizes) == -(-count // micro)


@pytest.mark.parametrize(
    ("count", "micro", "sizes"),
    [
        (48, 48, (48,)),
        (48, 24, (24, 24)),
        (48, 20, (16, 16, 16)),
        (10, 4, (4, 3, 3)),
        (3, 1, (1, 1, 1)),
        (5, 100, (5,)),
        (0, 7, ()),
    ],
)
def test_cuts(count, micro, sizes):
    assert near_equal(count, micro) == sizes


@given(st.integers(0, 5000), COUNTS)
def test_a_short_last_update_counts(samples, effective):
    assert number_of_updates(samples, effective) == len(range(0, samples, effective))


@given(COUNTS, COUNTS)
def test_a_ladder_descends_from_at_most_the_largest_to_one_by_factors_of_at_most_two(effective, largest):
    ladder = rungs(effective, largest)
    assert ladder[-1] == 1
    assert ladder[0] <= min(effective, largest)
    assert all(low < high <= 2 * low for high, low in pairwise(ladder))
    if largest >= effective:
        assert ladder[0] == effective


@given(COUNTS, COUNTS)
def test_each_rung_cuts_the_effective_batch_into_micro_batches_of_its_own_size(effective, largest):
    assert all(near_equal(effective, rung)[0] == rung for rung in rungs(effective, largest))


@pytest.mark.parametrize(
    ("effective", "largest", "ladder"),
    [
        (64, 64, (64, 32, 22, 16, 11, 8, 6, 4, 3, 2, 1)),
        (64, 30, (22, 16, 11, 8, 6, 4, 3, 2, 1)),
        (256, 100, (86, 64, 43, 32, 22, 16, 11, 8, 6, 4, 3, 2, 1)),
        (2, 9, (2, 1)),
        (1, 1, (1,)),
        (50, 1, (1,)),
    ],
)
def test_ladders(effective, largest, ladder):
    assert rungs(effective, largest) == ladder


def test_ladders_are_short():
    assert len(rungs(65536, 65536)) < 40


@pytest.mark.parametrize(("size", "lower"), [(64, 32), (50, 32), (32, 8), (8, None), (3, None)])
def test_the_next_rung_is_the_largest_below(size, lower):
    assert next_rung(size, (64, 32, 8)) == lower


@pytest.mark.parametrize(
    "call", [(near_equal, -1, 2), (near_equal, 3, 0), (number_of_updates, 10, 0), (rungs, 2.5, 3), (rungs, True, 3)]
)
def test_a_size_that_is_none_is_refused(call):
    function, *numbers = call
    with pytest.raises(ArgumentError, match=r"Received: .* Expected a whole number"):
        function(*numbers)


GROUPS = st.integers(1, 70)


@given(st.integers(0, 5000), COUNTS, GROUPS)
def test_no_cut_goes_through_a_group(count, micro, group):
    """Seen to fail with micro-batches that are near equal in samples."""
    sizes = near_equal(count, micro, group)
    assert sum(sizes) == count
    assert all(size % group == 0 for size in sizes[:-1])
    assert max(sizes, default=0) <= max(micro, min(group, count))
    groups, at_once = math.ceil(count / group), max(1, micro // group)
    assert len(sizes) == (1 if 0 < count <= micro else math.ceil(groups / at_once))


@given(COUNTS, COUNTS, GROUPS)
def test_rungs_are_whole_groups_down_to_one_of_them(effective, largest, group):
    ladder = rungs(effective, largest, group)
    assert all(size % group == 0 or size == effective for size in ladder)
    assert all(near_equal(effective, rung, group)[0] == rung for rung in ladder)
    assert (ladder[-1:] == (min(group, effective),)) == (largest >= min(group, effective))
    assert all(low < high <= 2 * low for high, low in pairwise(ladder))
