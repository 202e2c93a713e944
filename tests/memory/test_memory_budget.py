"""Limits, reserves and budgets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch._text import format_bytes
from autobatch.errors import ArgumentError
from autobatch.memory.budget import DEFAULT_RESERVE, Budget, Limit, Reserve, parse_reserve
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Allocator, ControlGroup, Device, HostMemory, ProcessMemory
from autobatch.testing import memory_reading

MIB = 1 << 20
GIB = 1 << 30
NOTHING = Reserve(0.0, 0)

amounts = st.integers(0, 1 << 45)
reserves = st.builds(Reserve, st.floats(0, 0.99), amounts)
groups = st.builds(ControlGroup, st.sampled_from([1, 2]), st.just("/g"), amounts, amounts, amounts)
devices = st.builds(Device, st.integers(0, 9), st.just("GPU-1"), st.just("x"), amounts, amounts, st.none() | amounts)
readings = st.builds(
    MemoryReading,
    host=st.builds(HostMemory, amounts, amounts),
    process=st.builds(ProcessMemory, amounts, st.none() | amounts),
    control_groups=st.lists(groups, max_size=3).map(tuple),
    devices=st.lists(devices, max_size=3).map(tuple),
    allocator=st.none() | st.builds(Allocator, amounts, amounts, st.none() | st.integers(0, 9)),
)


@given(readings, reserves)
def test_the_budget_is_the_tightest_of_all_limits(reading, reserve):
    """Seen to fail with the least capacity chosen, and with the least available before the reserve."""
    budget = reading.budget(reserve)
    assert budget.limit in reading.limits
    assert all(
        budget.free_bytes <= limit.available_bytes - limit.budget(reserve).reserve_bytes for limit in reading.limits
    )
    assert budget.budget_bytes == max(0, budget.limit.occupied_bytes + budget.free_bytes)


@given(readings, reserves)
def test_host_and_device_budgets_are_never_tighter_than_both_together(reading, reserve):
    joint = reading.budget(reserve)
    parts = [part for part in (reading.host_budget(reserve), reading.device_budget(reserve)) if part is not None]
    assert joint.free_bytes == min(part.free_bytes for part in parts)
    assert reading.host_budget(reserve).limit.kind != "device"
    assert (reading.device_budget(reserve) is None) == (not reading.devices)


@given(readings)
def test_a_reading_is_json(reading):
    facts = json.loads(json.dumps(reading.to_dict()))
    assert facts["binding"]["free_bytes"] == reading.budget().free_bytes
    assert len(facts["budgets"]) == len(reading.limits)


@given(groups)
def test_a_group_never_has_less_than_nothing(group):
    assert 0 <= group.available_bytes <= group.limit_bytes


@given(reserves, amounts, amounts)
def test_a_reserve_grows_with_the_capacity_and_leaves_some(reserve, one, other):
    low, high = sorted((one, other))
    assert reserve.bytes_of(low) <= reserve.bytes_of(high)
    assert 0 <= reserve.bytes_of(high) <= high


@pytest.mark.parametrize(
    ("reserve", "capacity", "expected"),
    [
        (None, 100 * GIB, 8 * GIB),
        (None, GIB, 128 * MIB),
        (None, 200 * MIB, 100 * MIB),
        (0.0, GIB, 0),
        (0, GIB, 0),
        (0.5, 1000, 500),
        (0.75, 1000, 750),
        (GIB, 4 * GIB, GIB),
        (GIB, GIB, GIB // 2),
        (Reserve(0.1, 0), 1000, 100),
    ],
)
def test_a_reserve_is_a_fraction_or_bytes(reserve, capacity, expected):
    assert parse_reserve(reserve).bytes_of(capacity) == expected


@pytest.mark.parametrize("reserve", [1.0, -0.1, -1, float("nan"), float("inf"), True, "8%", "0.1", [], 2.5])
def test_a_reserve_that_is_neither_is_refused_with_what_was_received(reserve):
    with pytest.raises(ArgumentError, match="Received: reserve="):
        parse_reserve(reserve)


@pytest.mark.parametrize(
    ("reading", "kind"),
    [
        (memory_reading(), "host"),
        (memory_reading(group_limit_bytes=4 * GIB), "control group"),
        (memory_reading(devices=(Device(0, "GPU-1", "x", 8 * GIB, 6 * GIB),)), "device"),
        (memory_reading(host_available_bytes=GIB, devices=(Device(0, "GPU-1", "x", 8 * GIB, 6 * GIB),)), "host"),
    ],
)
def test_whichever_is_tightest_binds_and_is_said(reading, kind):
    assert reading.budget().limit.kind == kind
    text = str(reading)
    assert text.startswith(f"Limited by the {kind}")
    assert text.count("\n> ") == 1
    assert f"\n> {kind}" in text


def test_an_ancestor_with_more_available_can_bind_through_its_reserve():
    """Seen to fail with only the group that has the least available kept."""
    own = ControlGroup(2, "/own", 6 * GIB, GIB, 0)
    ancestor = ControlGroup(2, "/", 100 * GIB, 94 * GIB, 0)
    reading = MemoryReading(HostMemory(900 * GIB, 900 * GIB), ProcessMemory(GIB), (own, ancestor))
    assert reading.control_group == own
    assert reading.budget().limit.detail == "v2 /"
    assert reading.budget().free_bytes < 0
    assert reading.budget(NOTHING).limit.detail == "v2 /own"


@pytest.mark.parametrize(("used", "occupied"), [(5, 5), (None, 0)])
def test_what_nobody_tells_of_a_device_counts_as_others(used, occupied):
    reading = memory_reading(devices=(Device(0, "GPU-1", "x", 100, 50, used),))
    assert reading.device_limits[0].occupied_bytes == occupied


def test_one_device_can_be_asked_for():
    both = (Device(0, "GPU-1", "x", 100, 50), Device(1, "GPU-2", "y", 100, 20))
    reading = memory_reading(devices=both)
    assert reading.device_budget(NOTHING).free_bytes == 20
    assert reading.device_budget(NOTHING, index=0).free_bytes == 50
    assert reading.device_budget(NOTHING, index=7) is None


def test_a_budget_shows_how_far_the_reserve_is_eaten_into():
    budget = Budget(Limit("host", 1000, 50, 10), 80)
    assert (budget.free_bytes, budget.budget_bytes) == (-30, 0)
    assert str(budget) == "host: -30 bytes free beside a reserve of 80 bytes"


def test_notes_are_printed():
    reading = MemoryReading(HostMemory(9, 9), ProcessMemory(1), notes=("no GPU",))
    assert str(reading).endswith("note: no GPU")


def test_the_default_reserve_is_8_percent_and_at_least_128_mib():
    assert Reserve(0.08, 128 * MIB) == DEFAULT_RESERVE


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (900, "900 bytes"),
        (-12 << 10, "-12 KiB"),
        (180355072, "172 MiB"),
        (5 << 29, "2.5 GiB"),
        (1 << 50, "1,048,576.0 GiB"),
    ],
)
def test_bytes_read_as_people_write_them(count, text):
    assert format_bytes(count) == text
