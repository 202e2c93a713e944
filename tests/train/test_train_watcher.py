"""Readings while training: rate-limited, as cheap as promised, and never in the way."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surroundings import NOTHING_RESERVED, ROOMY, Clock, Sensor

from autobatch.memory.budget import Reserve
from autobatch.memory.types import Device
from autobatch.testing import memory_reading
from autobatch.train.control.watcher import LEAST_S, MOST_S, RunBudgets, Watcher


def watch(sensor, clock, **options):
    return Watcher(sensor, RunBudgets(NOTHING_RESERVED), clock=clock, **options)


def test_the_first_reading_is_due_at_once_and_the_next_after_an_interval():
    clock = Clock()
    one = watch(Sensor(ROOMY), clock)
    assert one.due
    one.look()
    assert not one.due
    clock.now_s += LEAST_S - 0.001
    assert not one.due
    clock.now_s += 0.001
    assert one.due


@given(costs=st.lists(st.floats(0, 0.5), min_size=1, max_size=20))
def test_readings_cost_half_a_per_cent_at_most_unless_they_are_slower_than_any_interval(costs):
    """Seen to fail with an interval that does not follow the cost."""
    clock = Clock()
    for cost_s in costs:
        one = watch(Sensor(ROOMY, takes_s=cost_s, clock=clock), clock)
        began_s = clock.now_s
        one.look()
        ended_s = clock.now_s
        while not one.due:
            clock.now_s += max(1e-4, one.interval_s / 50)
        assert one.interval_s == pytest.approx(min(MOST_S, max(LEAST_S, 200 * (ended_s - began_s))))
        assert ended_s - began_s <= 0.005 * (clock.now_s - began_s) or one.interval_s == MOST_S


def test_a_sensor_that_gets_quick_again_is_read_often_again():
    clock = Clock()
    sensor = Sensor(ROOMY, takes_s=1.0, clock=clock)
    one = watch(sensor, clock)
    one.look()
    assert one.interval_s == MOST_S
    sensor._takes_s = 0.0
    one.look()
    assert one.interval_s == LEAST_S


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("nonsense"), RuntimeError("NVML")])
def test_a_sensor_that_fails_is_said_once_and_is_nothing_to_stop_for(error, caplog):
    """Seen to fail with the error passed on."""
    clock = Clock()
    one = watch(Sensor(ROOMY, error, error, ROOMY), clock)
    with caplog.at_level(logging.WARNING, "autobatch"):
        answers = [one.look() is not None for _ in range(4)]
    assert answers == [True, False, False, True]
    assert one.last is not None
    assert len(one.notes) == len(caplog.records) == 1
    assert repr(error) in one.notes[0]


def test_what_a_broken_sensor_says_may_change_and_is_said_once_all_the_same():
    """Seen to fail with each text said once."""
    one = watch(Sensor(*(OSError(f"try {number}") for number in range(5))), Clock())
    for _ in range(5):
        one.look()
    assert len(one.notes) == 1


def test_what_is_not_watched_is_said_with_the_first_reading_and_once():
    """Seen to fail with it told after the training alone, and never while something is evaluated or predicted."""
    device = Device(0, "GPU-1", "Fake GPU", total_bytes=100, free_bytes=60, used_by_this_process_bytes=None)
    said = []
    one = Watcher(
        lambda: memory_reading(devices=(device,)), RunBudgets(NOTHING_RESERVED, 0), clock=Clock(), note=said.append
    )
    one.look()
    assert "GPU:0 is not watched" in said[0]
    one.look()
    assert tuple(said) == one.notes
    assert len(said) == 1


def test_after_a_failure_the_last_reading_is_none():
    one = watch(Sensor(ROOMY, OSError("gone")), Clock())
    one.look()
    one.look()
    assert one.last is None


def test_what_is_not_an_error_of_the_sensor_ends_the_training():
    one = watch(Sensor(ROOMY), Clock())
    one._read = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        one.look()


def test_the_budget_of_a_resource_may_be_below_zero():
    """What others have eaten into the reserve beyond what this process occupies counts."""
    reading = Sensor(300, rss_bytes=100, gpu_budgets=[50])()
    found = RunBudgets(Reserve(fraction=0.0, floor_bytes=400), 0).of(reading)
    assert {name: (budget.budget_bytes, budget.reserve_bytes) for name, budget in found.items()} == {
        "host": (-100, 400),
        "device": (-350, 400),
    }
    assert set(RunBudgets(NOTHING_RESERVED).of(reading)) == {"host"}
    assert set(RunBudgets(NOTHING_RESERVED, 1).of(reading)) == {"host"}
