"""What a micro-batch needs, from the peak model and the trials that ran."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.memory.peak_model import PeakModel, fit_peak
from autobatch.train.control.footprint import footprint_of

sizes = st.integers(1, 600)
peaks = st.integers(0, 1 << 40)
measurements = st.dictionaries(sizes, peaks, max_size=8)
models = st.one_of(
    st.lists(st.tuples(sizes, peaks), min_size=1, max_size=6).map(fit_peak),
    st.builds(
        PeakModel, st.floats(0, 1e12), st.floats(0, 1e10), st.floats(0, 5), st.integers(1, 600), st.floats(0, 1e12)
    ),
)


@settings(deadline=None, max_examples=500)
@given(st.integers(0, 1 << 40), models, measurements, sizes, sizes)
def test_more_samples_never_need_less(baseline, model, measured, one, other):
    """Seen to fail with the model's prediction in place of the largest peak beyond the largest measured size."""
    need = footprint_of(baseline, model, measured)
    low, high = sorted((one, other))
    assert need(low) <= need(high)


@settings(deadline=None, max_examples=300)
@given(models, measurements.filter(bool), st.data())
def test_nothing_needs_less_than_it_or_a_smaller_size_was_seen_to_need(model, measured, data):
    """Seen to fail with the smallest peak of all larger sizes alone: 8 at 900 and 16 at 850 made it 850 for 8."""
    size = data.draw(st.sampled_from(sorted(measured)))
    assert footprint_of(0, model, measured)(size) >= max(peak for tried, peak in measured.items() if tried <= size)


@settings(deadline=None, max_examples=300)
@given(models, st.dictionaries(sizes, peaks, min_size=1, max_size=8), st.data())
def test_a_size_that_was_measured_is_not_doubted(model, measured, data):
    """Seen to fail with the model's upper bound alone."""
    rising = dict(zip(sorted(measured), sorted(measured.values()), strict=True))
    size = data.draw(st.sampled_from(sorted(rising)))
    assert footprint_of(0, model, rising)(size) == rising[size]


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 1 << 40), models, measurements, sizes)
def test_beyond_what_was_measured_the_model_counts(baseline, model, measured, size):
    size += max(measured, default=0)
    expected = max([model.upper(size), *measured.values()])
    assert footprint_of(baseline, model, measured)(size) == baseline + expected


def test_what_bounds_the_sizes_beyond_counts_instead_of_the_model():
    need = footprint_of(100, fit_peak([(2, 1000), (4, 1000)]), {2: 1000, 4: 1000}, lambda size: 300.5 * size)
    assert [need(size) for size in (2, 4, 5, 8)] == [1100, 1100, 1603, 2504]


@pytest.mark.parametrize(
    ("size", "needed"),
    [
        (1, 1010),  # by the model: 1 % on 1000
        (4, 1313),
        (8, 1700),  # measured
        (12, 2121),
        (16, 2500),  # measured: the model would say 2525
        (32, 4223),  # beyond: 1 % and 2 % for a doubling, on 4100
    ],
)
def test_between_measured_sizes_the_smaller_of_model_and_next_measured_counts(size, needed):
    model = PeakModel(fixed_bytes=900.0, per_sample_bytes=100.0, residual=0.0, largest_size=16)
    need = footprint_of(0, model, {8: 1700, 16: 2500})
    assert need(size) == needed


def test_the_baseline_is_on_top():
    model = fit_peak([(1, 100), (2, 200)])
    assert footprint_of(5000, model, {1: 100, 2: 200})(2) == 5200
