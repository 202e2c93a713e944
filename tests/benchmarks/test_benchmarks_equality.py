"""How far apart two trainings end, as the accumulation benchmark counts it."""

import numpy as np
import pytest
from accumulation import CASES, relative_difference
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("found", "whole", "before", "difference"),
    [
        ([[3.0, 3.0]], [[3.0, 3.0]], [[1.0, 1.0]], 0.0),
        ([[3.5, 3.0]], [[3.0, 3.0]], [[1.0, 1.0]], 0.25),
        ([[1.0, 1.0]], [[3.0, 2.0]], [[1.0, 1.0]], 1.0),
        ([[0.0], [1.5]], [[0.0], [1.0]], [[10.0], [1.0]], 0.05),
    ],
)
def test_the_largest_difference_counts_over_the_largest_change(found, whole, before, difference):
    arrays = ([np.asarray(values) for values in nest] for nest in (found, whole, before))
    assert relative_difference(*arrays) == pytest.approx(difference)


def test_nothing_to_compare_has_no_difference():
    assert relative_difference([], [], []) is None


@given(scale=st.floats(1e-3, 1e3), off=st.floats(0, 10))
def test_the_unit_of_a_weight_plays_no_part(scale, off):
    before, whole = np.zeros(3), np.array([1.0, 2.0, -4.0])
    found = whole + np.array([0.0, off, 0.0])
    assert relative_difference([found * scale], [whole * scale], [before]) == pytest.approx(off / 4)


def test_cases_cover_what_is_promised_and_what_is_not():
    assert {case.promised for case in CASES} == {True, False}


@pytest.mark.parametrize(
    "facet",
    [lambda c: c.effective_batch_size % c.micro_batch_size != 0, lambda c: c.samples % c.effective_batch_size != 0],
)
def test_cases_cover_even_and_uneven_cuts(facet):
    assert {bool(facet(case)) for case in CASES} == {True, False}
