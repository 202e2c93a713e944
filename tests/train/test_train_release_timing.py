"""Memory that micro-batches do not need goes back while memory is tight, and seldom where little comes of it."""

import pytest

from autobatch._text import MIB
from autobatch.train.control.controller import ReleaseTiming
from autobatch.train.control.state import ResourceBudget

NEED = 1000 * MIB


def budget(free: int, occupied: int) -> ResourceBudget:
    return ResourceBudget(
        budget_bytes=occupied + free - 100 * MIB, reserve_bytes=100 * MIB, limit="host", available_bytes=free
    )


@pytest.mark.parametrize(
    ("spare", "free", "rate", "expected"),
    [
        (200, 50, 0.0, True),
        (200, 250, 0.0, False),
        (200, 250, 3e7, True),
        (200, 250, 1e6, False),
        (40, 50, 1e9, False),
        (-100, 50, 1e9, False),
    ],
    ids=["tight", "enough is free", "others are taking", "others take little", "not worth it", "nothing to give"],
)
def test_it_is_worth_it_while_memory_is_tight(spare: int, free: int, rate: float, expected: bool) -> None:
    """Seen to fail with each of the three conditions left out."""
    occupied = NEED + spare * MIB
    assert ReleaseTiming().due(0.0, occupied, NEED, budget(free * MIB, occupied), rate) is expected


def times(returned: int, rate: float, seconds: int) -> list[int]:
    timing, occupied, done = ReleaseTiming(), NEED + 200 * MIB, []
    for at_s in range(seconds):
        if timing.due(float(at_s), occupied, NEED, budget(50 * MIB, occupied), rate):
            done.append(at_s)
            timing.record(returned)
    return done


def test_it_is_done_seldom() -> None:
    assert times(returned=150 * MIB, rate=0.0, seconds=35) == [0, 10, 20, 30]


def test_it_is_done_every_second_while_others_are_taking() -> None:
    assert times(returned=150 * MIB, rate=3e7, seconds=4) == [0, 1, 2, 3]


def test_it_is_done_more_and_more_seldom_where_little_comes_of_it() -> None:
    """A pool that keeps what it has. Seen to fail with the wait left at its least."""
    assert times(returned=0, rate=3e7, seconds=300) == [0, 20, 60, 140]
