"""What a step asks for at any size follows from recordings at two."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.memory.peak_model import Allocation, AllocationProfile

# An operation of a step: what it asks for whatever the size, what for each sample, and how many later ones need it.
operations = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(1, 20)), min_size=1, max_size=30
)
sizes = st.integers(1, 5000)
other_sizes = st.lists(sizes, min_size=2, max_size=2, unique=True)


def recorded(step, size, *, left_out=()):
    """The allocations of a step at a size."""
    return [
        Allocation(begin, min(begin + life, len(step)), fixed + per_sample * size, f"operation {begin}")
        for begin, (fixed, per_sample, life) in enumerate(step)
        if begin not in left_out
    ]


def asked(allocations):
    """Bytes alive at the highest moment."""
    changes = [0] * (1 + max(one.end for one in allocations))
    for one in allocations:
        changes[one.begin] += one.size_bytes
        changes[one.end] -= one.size_bytes
    return max(accumulate(changes))


@given(operations, other_sizes, sizes)
def test_what_a_step_asks_for_at_any_size_is_told_exactly(step, two, size):
    """Seen to fail with a line left out that is the highest in between."""
    moments = AllocationProfile.of(*((known, recorded(step, known)) for known in two))
    assert moments is not None
    assert moments.at(size) == pytest.approx(asked(recorded(step, size)), rel=1e-6, abs=10)


@given(operations, other_sizes, st.data())
def test_what_only_one_recording_knows_is_never_taken_for_less(step, two, data):
    """Seen to fail with such pieces left out."""
    missing = data.draw(st.sets(st.integers(0, len(step) - 1), max_size=len(step) - 1))
    one, other = ((known, recorded(step, known)) for known in two)
    less = other[0], recorded(step, other[0], left_out=missing)
    moments = AllocationProfile.of(one, less)
    assert moments is not None
    size = data.draw(st.integers(max(two), 10_000))
    assert moments.at(size) >= asked(recorded(step, size)) * (1 - 1e-6)


def test_pieces_of_one_operation_belong_together_by_their_size():
    """Seen to fail with the first piece taken for the partner of the first: nothing then tells fixed from growing."""
    one = [Allocation(0, 3, 100, "scratch"), Allocation(1, 3, 20, "scratch")]
    other = [Allocation(0, 3, 40, "scratch"), Allocation(1, 3, 100, "scratch")]
    moments = AllocationProfile.of((2, one), (4, other))
    assert moments is not None
    assert [moments.at(size) for size in (2, 4, 8)] == [120, 140, 180]


def test_a_piece_that_shrinks_as_the_batch_grows_is_taken_for_a_growing_one():
    """Another kernel was chosen; seen to fail with the fixed part alone kept."""
    moments = AllocationProfile.of((2, [Allocation(0, 1, 100, "a")]), (4, [Allocation(0, 1, 60, "a")]))
    assert moments is not None
    assert moments.at(8) == 400


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=12), st.integers(0, 100))
def test_only_lines_that_are_never_highest_are_left_out(lines, size):
    """Seen to fail with the two sides of the comparison in `_shows` exchanged."""
    step = [Allocation(2 * at, 2 * at + 1, fixed + 1 * slope, f"{at}") for at, (fixed, slope) in enumerate(lines)]
    later = [Allocation(2 * at, 2 * at + 1, fixed + 7 * slope, f"{at}") for at, (fixed, slope) in enumerate(lines)]
    moments = AllocationProfile.of((1, step), (7, later))
    assert moments is not None
    assert moments.at(size) == pytest.approx(max(fixed + slope * size for fixed, slope in lines), abs=1e-6)
    assert len(moments.lines) <= len(set(lines)) + 1


@pytest.mark.parametrize("empty", [((2, []), (4, [])), ((2, [Allocation(0, 1, 9, "a")]), (4, []))])
def test_without_two_recordings_nothing_is_told(empty):
    assert AllocationProfile.of(*empty) is None


def test_two_recordings_of_one_size_tell_nothing():
    one = [Allocation(0, 1, 9, "a")]
    assert AllocationProfile.of((2, one), (2, one)) is None


def test_moments_are_written_and_read_back():
    moments = AllocationProfile(((1000.0, 10.5), (0.0, 90.0)))
    assert moments.to_list() == [[1000, 11], [0, 90]]
    assert AllocationProfile.from_list(moments.to_list()).at(100) == 9000
    assert moments.times(2).at(100) == 18_000


@pytest.mark.parametrize("values", [[], [[1, 2, 3]], [[1]], ["no"]])
def test_what_is_no_list_of_lines_is_refused(values):
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own message, where a line has not two parts
        AllocationProfile.from_list(values)
