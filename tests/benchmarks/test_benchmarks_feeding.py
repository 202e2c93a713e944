"""What the feeding benchmark makes of its samples."""

import math

import feeding
import numpy as np
import pytest

CASES = [feeding.Case(150, 64, affine=True), feeding.Case(150, 64, affine=False)]
STAGES = {"150 pixels, affine": {"decode": 1.234, "Keras' transform": 3.0}}


def found(ours):
    sides = {feeding.PLAIN: [100.0, 110.0], feeding.PROCESSES: [math.nan, math.nan], feeding.SCIPY: ours}
    return feeding.findings(CASES, {case.name: sides for case in CASES}, STAGES)


@pytest.mark.parametrize(("ours", "met"), [([300.0, 330.0], True), ([290.0, 300.0], False)])
def test_the_goal_is_at_least_three_times_plain(ours, met):
    (goal,) = found(ours).goals
    assert goal.met is met


def test_a_side_that_hung_has_no_figure():
    ratios, rates, _ = found([300.0, 330.0]).tables
    assert ratios.rows[0] == ["150 pixels, affine", 105, None, "3.00 (3.00 to 3.00)"]
    assert rates.rows[0] == ["150 pixels, affine", 105, None, 315]


def test_a_side_that_hangs_is_asked_once():
    calls = []

    def hangs():
        calls.append(1)
        raise TimeoutError

    run = feeding.patient(hangs)
    assert all(math.isnan(run()) for _ in range(3))
    assert len(calls) == 1


def test_a_pass_that_hands_out_too_few_is_an_error():
    with pytest.raises(RuntimeError, match="2 pictures were handed out, of 3"):
        feeding.a_pass(iter([(np.zeros(2), None)]), 3)


def test_the_pictures_are_the_same_in_every_run():
    one, other = (feeding.natural(np.random.default_rng(1), 40, 30) for _ in range(2))
    assert one.shape == (40, 30, 3)
    assert np.array_equal(one, other)
