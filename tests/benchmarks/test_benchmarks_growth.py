"""The pure parts of the growth benchmark: slopes, what counts as flat or linear, and a search without a model."""

import math

import pytest
from growth import row
from hypothesis import given, settings
from hypothesis import strategies as st
from support.growth_subjects import Growth, Probed, searched, slope, tail


@settings(max_examples=30)
@given(limit=st.integers(2, 2**16))
def test_a_search_that_runs_nothing_never_tries_what_does_not_fit(limit):
    assert max(trial.size for trial in searched(limit)) <= limit


def test_the_parts_of_a_probe_add_up_to_all_of_it():
    found = Probed(total_s=10.0, start_s=4.0, trials_s=5.0, steps_s=2.0)
    parts = (found.start_s, found.compiling_s, found.here_s, found.steps_s)
    assert (sum(parts), found.beside_steps_s) == (10.0, 8.0)


@pytest.mark.parametrize(
    ("promise", "ours", "verdict"),
    [("linear", True, "linear"), ("flat", True, "MORE than flat"), ("flat", False, "-")],
)
def test_a_row_says_whether_a_cost_grows_as_it_may(promise, ours, verdict):
    growth = Growth("a cost", "files", promise, {10: [1e-3], 1000: [1e-1]}, ours)
    assert row(growth) == ["a cost", "files: 10 to 1,000", "1 ms", "100 ms", 1.0, 1.0, verdict]


@settings(max_examples=30)
@given(
    exponent=st.floats(-2, 3),
    factor=st.floats(1e-9, 1e3),
    sizes=st.lists(st.integers(1, 10**9), min_size=2, max_size=8, unique=True),
)
def test_a_power_has_its_exponent_as_slope(exponent, factor, sizes):
    points = [(size, factor * size**exponent) for size in sizes]
    spread = math.log(max(sizes)) - math.log(min(sizes))
    assert slope(points) == pytest.approx(exponent, abs=1e-9 / min(1.0, spread) ** 2 + 1e-9)


def test_one_place_has_no_slope():
    with pytest.raises(ValueError, match="two different places"):
        slope([(8, 1.0), (8, 2.0)])


@pytest.mark.parametrize(
    ("sizes", "last"),
    [
        ([1, 10, 100, 1000], [100, 1000]),
        ([1, 4, 16, 64, 256], [16, 64, 256]),
        ([4, 32], [4, 32]),
        ([10, 20], [10, 20]),
    ],
)
def test_the_tail_is_the_last_factor_of_ten_or_all(sizes, last):
    assert [x for x, _ in tail([(size, 1.0) for size in sizes])] == last


def grown(promise, cost):
    return Growth("a cost", "files", promise, {size: [cost(size)] * 3 for size in (10**3, 10**4, 10**5, 10**6)})


@pytest.mark.parametrize(
    ("promise", "cost", "kept"),
    [
        ("flat", lambda _: 1e-6, True),
        ("flat", lambda size: 1e-6 * size, False),
        ("flat", lambda size: 1e-6 * size**0.2, False),
        ("logarithmic", lambda size: 1e-6 * math.log(size), True),
        ("logarithmic", lambda size: 1e-6 * size, False),
        ("linear", lambda size: 1e-6 * size, True),
        ("linear", lambda size: 1e-6 * size * math.log(size), True),
        ("linear", lambda size: 1e-9 * size**2, False),
    ],
)
def test_a_cost_may_grow_as_promised_and_no_more(promise, cost, kept):
    assert grown(promise, cost).kept is kept


def test_a_square_that_hides_behind_a_fixed_part_is_seen_at_the_end():
    hidden = grown("linear", lambda size: 1.0 + 1e-9 * size**2)
    assert (hidden.slope < 1.3, hidden.kept) == (True, False)


def test_points_are_the_medians_of_the_turns_in_order():
    growth = Growth("a cost", "files", "flat", {10: [1.0, 9.0, 2.0], 1: [5.0, 4.0, 6.0]})
    assert growth.points == [(1.0, 5.0), (10.0, 2.0)]
