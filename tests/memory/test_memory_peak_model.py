"""The peak model and the allocation profile."""

import math
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autobatch.errors import ArgumentError
from autobatch.memory.peak_model import Allocation, AllocationProfile, PeakModel, fit_peak

MIB = 1 << 20


sizes = st.integers(1, 5000)


peaks = st.integers(0, 1 << 42)


points = st.lists(st.tuples(sizes, peaks), min_size=1, max_size=8)


models = points.map(fit_peak)


@given(st.integers(0, 4096 * MIB), st.integers(1, 512 * MIB), st.lists(sizes, min_size=2, max_size=6, unique=True))
def test_an_exact_line_is_found(fixed, per_sample, measured):
    model = fit_peak([(size, fixed + per_sample * size) for size in measured])
    assert model.residual < 1e-6
    for size in (1, *measured, 10_000):
        assert model.predict(size) == pytest.approx(fixed + per_sample * size, rel=1e-5, abs=2)


@given(st.integers(0, 4096 * MIB), st.integers(0, 512 * MIB), sizes, sizes)
def test_one_point_is_an_upper_bound_of_every_line_through_it(fixed, per_sample, measured, asked):
    """Seen to fail with a plain proportion, which is below the truth under the measured size."""
    model = fit_peak([(measured, fixed + per_sample * measured)])
    assert model.predict(asked) >= (fixed + per_sample * asked) * (1 - 1e-12)


@given(points)
def test_neither_part_is_negative_and_the_residual_covers_every_point(measured):
    model = fit_peak(measured)
    assert model.fixed_bytes >= 0
    assert model.per_sample_bytes >= 0
    assert model.largest_size == max(size for size, _ in measured)
    for size, peak in measured:
        assert abs(model.predict(size) - peak) <= model.residual * max(peak, 1) * (1 + 1e-9) + 1


@given(points, st.floats(0, 1e12), st.floats(0, 1e9))
def test_no_other_line_fits_better(measured, fixed, per_sample):
    """Seen to fail with the parts cut off at zero one after the other instead of fitted again."""
    assume(len({size for size, _ in measured}) > 1)
    model = fit_peak(measured)

    def cost(intercept, slope):
        return math.fsum(((intercept + slope * size - peak) / max(peak, 1)) ** 2 for size, peak in measured)

    assert cost(model.fixed_bytes, model.per_sample_bytes) <= cost(fixed, per_sample) * (1 + 1e-6) + 1e-9


@given(models, sizes, sizes)
def test_more_samples_never_need_less(model, one, other):
    low, high = sorted((one, other))
    assert model.predict(low) <= model.predict(high)
    assert model.upper(low) <= model.upper(high)
    assert model.upper(low) >= model.predict(low)


@given(st.integers(0, 512 * MIB), st.integers(1, 64 * MIB), st.data())
def test_noise_is_covered_by_the_margin_near_the_measured_sizes(fixed, per_sample, data):
    noise = st.floats(-0.03, 0.0)
    measured = [(size, math.ceil((fixed + per_sample * size) * (1 + data.draw(noise)))) for size in (16, 32, 64, 128)]
    model = fit_peak(measured)
    worst = max(0.0, *(1 - peak / (fixed + per_sample * size) for size, peak in measured))
    assert model.upper(128) >= (fixed + per_sample * 128) * (1 - worst) - 1


@pytest.mark.parametrize(
    ("size", "margin"),
    [(4, 20), (8, 20), (16, 80), (32, 240)],
)
def test_the_margin_is_1_percent_the_residual_and_2_percent_a_doubling(size, margin):
    model = PeakModel(0.0, 100.0, residual=0.0, largest_size=8)
    expected = {4: 0.01 * 400, 8: 0.01 * 800, 16: 0.03 * 1600, 32: 0.05 * 3200}[size]
    assert model.margin_bytes(size) == math.ceil(expected)
    assert PeakModel(0.0, 100.0, 0.1, 8).margin_bytes(8) == math.ceil(800 * 0.11)


def test_repeated_measurements_of_one_size_count_by_the_largest():
    model = fit_peak([(8, 900), (8, 1000), (8, 950)])
    assert model.predict(8) == 1000
    assert model.predict(1) == 1000
    assert model.predict(16) == 2000
    assert model.residual == pytest.approx(1 / 9)


@pytest.mark.parametrize("measured", [[], [(0, 5)], [(-1, 5)], [(2, -5)]])
def test_a_model_without_a_measured_step_is_refused(measured):
    with pytest.raises(ArgumentError, match="Received: points="):
        fit_peak(measured)


# An operation of a step: what it asks for whatever the size, what for each sample, and how many later ones need it.
operations = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(1, 20)), min_size=1, max_size=30
)


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
