"""The rules by which a learning rate follows the effective batch."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.errors import ArgumentError
from autobatch.train.learning_rate import parse_rule, scale

SIZES = st.integers(1, 10**6)
RULES = st.sampled_from(["linear", "sqrt", None])


@pytest.mark.parametrize(
    ("rule", "size", "reference", "rate"),
    [
        ("linear", 512, 256, 2.0),
        ("linear", 64, 256, 0.25),
        ("sqrt", 512, 128, 2.0),
        ("sqrt", 64, 256, 0.5),
        (None, 64, 256, 1.0),
    ],
)
def test_rates(rule, size, reference, rate):
    assert scale(rule, size, reference) == rate


@given(RULES, SIZES)
def test_the_reference_batch_has_exactly_its_own_rate(rule, size):
    assert scale(rule, size, size) == 1.0


@given(RULES, SIZES, SIZES, SIZES)
def test_a_detour_over_another_size_changes_nothing(rule, size, between, reference):
    detour = scale(rule, size, between) * scale(rule, between, reference)
    assert math.isclose(scale(rule, size, reference), detour, rel_tol=1e-12)


@given(st.sampled_from(["linear", "sqrt"]), SIZES, SIZES, SIZES)
def test_a_larger_batch_never_has_a_smaller_rate(rule, one, other, reference):
    small, large = sorted((one, other))
    assert 0 < scale(rule, small, reference) <= scale(rule, large, reference)


@given(SIZES, SIZES)
def test_the_square_root_rule_is_the_root_of_the_linear_one(size, reference):
    assert math.isclose(scale("sqrt", size, reference) ** 2, scale("linear", size, reference), rel_tol=1e-12)


@pytest.mark.parametrize("rule", ["linear", "sqrt", None])
def test_rules_are_taken_by_name(rule):
    assert parse_rule(rule) == rule


@pytest.mark.parametrize("value", ["cubic", "", "Linear", True, False, 0, 1.0, [], ["linear"], ("sqrt",), {}])
def test_other_rules_are_refused_with_what_was_given(value):
    with pytest.raises(ArgumentError) as caught:
        parse_rule(value)
    assert f"Received: scale_learning_rate={value!r}. Expected 'linear'" in str(caught.value)
