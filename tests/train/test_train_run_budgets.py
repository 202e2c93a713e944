"""What a reading leaves a training: never a guess where something is missing."""

import pytest

from autobatch._text import GIB
from autobatch.memory.budget import Limit, Reserve
from autobatch.memory.types import Device, OwnFrom
from autobatch.testing import memory_reading
from autobatch.train.control.watcher import IncompleteReadingError, RunBudgets

RESERVE = Reserve(fraction=0.0, floor_bytes=GIB)


def gpu(used: int | None, free: int = 6, own_from: OwnFrom | None = None) -> Device:
    return Device(
        index=0,
        uuid="GPU-1",
        name="Fake",
        total_bytes=80 * GIB,
        free_bytes=free * GIB,
        used_by_this_process_bytes=None if used is None else used * GIB,
        own_from=own_from,
    )


def test_what_this_process_holds_of_a_gpu_is_within_its_reach() -> None:
    budget = RunBudgets(RESERVE, 0).of(memory_reading(devices=(gpu(used=70),)))["device"]
    assert (budget.reach_bytes, budget.budget_bytes) == (76 * GIB, 75 * GIB)


def test_a_pool_tells_where_nvml_does_not() -> None:
    """In a container NVML lists the processes by the host's numbers."""
    budgets = RunBudgets(RESERVE, 0)
    reading = memory_reading(devices=(gpu(used=20, own_from="pool"),))
    assert budgets.of(reading)["device"].reach_bytes == 26 * GIB
    assert budgets.notes == ()


@pytest.mark.parametrize("device", [gpu(used=None), gpu(used=3, own_from="allocator")], ids=["nobody", "the least"])
def test_a_gpu_that_nobody_can_tell_of_is_not_watched_and_that_is_said(device: Device) -> None:
    """Seen to fail with what this process holds taken for nothing, and for what is in use of it.

    Its own pool looked like a neighbour's.
    """
    budgets = RunBudgets(RESERVE, 0)
    assert set(budgets.of(memory_reading(devices=(device,)))) == {"host"}
    (note,) = budgets.notes
    assert "GPU:0 is not watched" in note


OWN = Limit("device", 8 * GIB, 6 * GIB, 3 * GIB, "own limit")  # 2 GiB in use, and 1 GiB that is not limited


@pytest.mark.parametrize(
    ("device", "budget_gib", "limit"),
    [(gpu(used=4, free=40), 8, "own limit"), (gpu(used=4, free=2), 5, "GPU:0"), (gpu(used=None), 8, "own limit")],
    ids=["more is free than that", "others have taken more", "nobody tells what is free to it"],
)
def test_what_a_program_lets_the_framework_take_of_a_gpu_bounds_it(device: Device, budget_gib: int, limit: str) -> None:
    """Seen to fail with the driver's figures alone: a training grew into what its own allocator refused."""
    budget = RunBudgets(RESERVE, 0, OWN).of(memory_reading(devices=(device,)))["device"]
    assert (budget.budget_bytes, limit in budget.limit) == (budget_gib * GIB, True)


def test_what_is_left_of_a_programs_own_limit_is_that_of_the_reading():
    """Seen to fail with what was left at the start of the run."""
    budgets = RunBudgets(RESERVE, 0, OWN)
    left = [budgets.of(memory_reading(devices=(gpu(used=used, free=40),)))["device"].available_bytes for used in (3, 8)]
    assert left == [6 * GIB, 1 * GIB]


def test_a_gpu_that_nobody_can_tell_of_is_watched_by_a_programs_own_limit_and_that_is_said():
    budgets = RunBudgets(RESERVE, 0, OWN)
    budgets.of(memory_reading(devices=(gpu(used=None),)))
    (note,) = budgets.notes
    assert "by this program's own limit alone" in note


@pytest.mark.parametrize("lost", ["control group", "device"])
def test_a_limit_that_is_missing_is_not_taken_for_room(lost: str) -> None:
    """Seen to fail with the limits that are left taken for all there are: the size grew to that of the host."""
    budgets = RunBudgets(RESERVE, 0)
    budgets.of(memory_reading(group_limit_bytes=4 * GIB, devices=(gpu(used=1),)))
    left = {"devices": (gpu(used=1),)} if lost == "control group" else {"group_limit_bytes": 4 * GIB}
    for _ in range(20):
        with pytest.raises(IncompleteReadingError, match="cannot be read any more"):
            budgets.of(memory_reading(**left))
    assert budgets.of(memory_reading(**left))["host"].reach_bytes > 0


def test_a_limit_that_comes_back_is_counted_again() -> None:
    budgets = RunBudgets(RESERVE)
    whole = memory_reading(group_limit_bytes=4 * GIB)
    expected = budgets.of(whole)
    with pytest.raises(IncompleteReadingError):
        budgets.of(memory_reading())
    assert budgets.of(whole) == expected
