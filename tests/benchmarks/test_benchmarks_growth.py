"""The pure parts of the growth benchmark: the search without a model, and how rows read."""

import pytest
from growth import row
from hypothesis import given
from hypothesis import strategies as st
from support.growth_subjects import Growth, Probed, searched


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
