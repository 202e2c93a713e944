"""What the adapting, accumulation and feeding benchmarks make of their samples."""

import math
from itertools import pairwise

import feeding
import numpy as np
import pytest
from accumulation import CASES, relative_difference
from hypothesis import given
from hypothesis import strategies as st
from support.adapting_scene import MIB, Life, at, lost, script, trained

seeds = st.integers(0, 10_000)
LARGEST = 1600 * MIB


@given(seeds)
def test_a_seed_gives_one_script(seed: int) -> None:
    assert script(seed, 240, LARGEST) == script(seed, 240, LARGEST)


@given(seeds)
def test_neighbours_come_one_at_a_time_and_leave_within_the_hour(seed: int) -> None:
    neighbours = script(seed, 240, LARGEST)
    assert all(earlier.end_s < later.start_s for earlier, later in pairwise(neighbours))
    assert neighbours[-1].end_s <= 240


@given(seeds)
def test_the_largest_neighbour_takes_what_was_said_and_no_other_takes_more(seed: int) -> None:
    neighbours = script(seed, 240, LARGEST)
    assert max(one.amount_bytes for one in neighbours) == LARGEST


@given(seeds)
def test_the_first_minutes_belong_to_the_training(seed: int) -> None:
    assert script(seed, 240, LARGEST)[0].start_s >= 3 * 240 / 60


@given(seeds)
def test_even_the_shortest_hour_has_its_largest_neighbour(seed: int) -> None:
    assert max(one.amount_bytes for one in script(seed, 30, LARGEST)) == LARGEST


def a_life(*, updates: int, saved_s: list[float], started_s: float = 0.0) -> Life:
    return Life(64, started_s, [(started_s + number, 64) for number in range(1, updates + 1)], saved_s)


def test_what_came_after_the_last_checkpoint_is_lost() -> None:
    assert lost(a_life(updates=5, saved_s=[1.1, 3.1])) == 2 * 64


def test_everything_is_lost_without_a_checkpoint() -> None:
    assert lost(a_life(updates=5, saved_s=[])) == 5 * 64


def test_lost_images_count_until_the_next_process_starts_and_not_after() -> None:
    lives = [a_life(updates=4, saved_s=[3.1]), a_life(updates=2, saved_s=[], started_s=10.0)]
    steps = trained(lives, 0.0, 20.0)
    assert [total for _, total in at(steps, [4.5, 10.5, 20.0])] == [256, 192, 320]


def test_a_training_that_died_for_good_keeps_its_count() -> None:
    assert trained([a_life(updates=4, saved_s=[])], 0.0, 20.0)[-1] == (20.0, 256)


def test_only_what_ended_between_start_and_stop_is_counted() -> None:
    steps = trained([a_life(updates=9, saved_s=[])], 2.0, 6.0)
    assert steps[-1] == (4.0, 4 * 64)


def test_a_restart_after_the_hour_takes_nothing_away() -> None:
    lives = [a_life(updates=4, saved_s=[]), a_life(updates=1, saved_s=[], started_s=30.0)]
    assert trained(lives, 0.0, 20.0)[-1] == (20.0, 256)


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


PICTURES = [feeding.Case(150, 64, affine=True), feeding.Case(150, 64, affine=False)]
STAGES = {"150 pixels, affine": {"decode": 1.234, "Keras' transform": 3.0}}


def found(ours):
    sides = {feeding.PLAIN: [100.0, 110.0], feeding.PROCESSES: [math.nan, math.nan], feeding.SCIPY: ours}
    return feeding.findings(PICTURES, {case.name: sides for case in PICTURES}, STAGES)


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
