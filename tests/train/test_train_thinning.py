"""Readings that are kept: as many as tell something, and never too many."""

import math

from hypothesis import given
from hypothesis import strategies as st

from autobatch.memory.types import Device
from autobatch.testing import memory_reading
from autobatch.train.control.state import ResourceBudget, binding
from autobatch.train.recorder import Thinning, device_bytes

REACH = 1000


def kept(readings):
    """The times of those that are kept."""
    thinning = Thinning()
    return [at_s for at_s, micro, headroom in readings if thinning.keeps(at_s, micro, headroom, REACH)]


def test_a_calm_run_keeps_one_every_half_second():
    assert kept([(0.1 * n, 8, 500) for n in range(21)]) == [0.1 * n for n in (0, 5, 10, 15, 20)]


def test_a_micro_batch_that_is_another_is_kept_sooner():
    assert kept([(0.0, 8, 500), (0.06, 8, 500), (0.07, 4, 500)]) == [0.0, 0.07]


def test_a_headroom_that_has_moved_by_more_than_2_per_cent_of_the_reach_is_kept_sooner():
    assert kept([(0.0, 8, 500), (0.06, 8, 520), (0.07, 8, 521), (0.2, 8, None), (0.3, 8, None)]) == [0.0, 0.07, 0.2]


def test_the_first_one_is_kept():
    assert kept([(3.0, 8, None)]) == [3.0]


def bound(seconds):
    return 1001 + 1000 * math.log(max(1.0, seconds / 500))


@given(st.floats(1.0, 1e6), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20), st.booleans())
def test_there_are_never_more_than_is_said(start_s, steps, wild):
    """From any moment on, at any pace. Seen to fail with changes kept without a bound."""
    thinning, at_s, times = Thinning(), start_s, []
    for number in range(400):
        at_s += 0.01 + steps[number % len(steps)] * max(1.0, start_s / 2000)
        if thinning.keeps(at_s, number % 2 if wild else 8, number * 997 % REACH if wild else 500, REACH):
            times.append(at_s)
    most = (bound(at_s) - bound(start_s) + (at_s - start_s) / 0.5 * (start_s < 500) + 1) * (10 if wild else 1)
    assert len(times) <= most + 1


def test_four_hours_of_turmoil_are_bounded():
    """A reading every 50 ms that differs from the last one."""
    thinning = Thinning()
    count = sum(thinning.keeps(0.05 * n, n % 2, n % 3 * 400, REACH) for n in range(20 * 3600 * 4))
    assert count <= 10 * bound(3600 * 4)


def test_the_binding_limit_is_the_one_with_the_least_to_take():
    host, device = ResourceBudget(900, 100, "host", 500), ResourceBudget(800, 0, "GPU:0", 450)
    assert binding({"host": host, "device": device}).limit == "host"
    assert binding({}) is None


def test_what_is_held_on_devices_is_their_sum_as_far_as_it_is_known():
    devices = tuple(Device(n, f"GPU-{n}", "Fake", 10, 5, used) for n, used in enumerate([3, None, 4]))
    assert device_bytes(memory_reading(devices=devices)) == 7
    assert device_bytes(memory_reading(devices=devices[1:2])) is None
    assert device_bytes(memory_reading()) is None
