"""The peak model."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autobatch.errors import ArgumentError
from autobatch.memory.peak_model import PeakModel, fit_peak

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
