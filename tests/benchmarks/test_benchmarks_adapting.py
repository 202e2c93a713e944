"""The adapting benchmark's script of neighbours, and its count of what was trained and lost."""

from itertools import pairwise

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
