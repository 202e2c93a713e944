"""What lies outside the allocator counts, and what the allocator has taken ahead does not stick."""

from hypothesis import given
from hypothesis import strategies as st
from trials import FakeExecutor

from autobatch.backend.base import Accelerator
from autobatch.memory.types import Device
from autobatch.probing.peak_bound import OutsideAllocator
from autobatch.probing.request import ProbeRequest
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.testing import memory_reading

GIB, MIB = 2**30, 2**20
BYTES = st.integers(0, 64 * GIB)


@given(BYTES, st.lists(st.tuples(BYTES, BYTES), min_size=1))
def test_it_is_never_told_too_small_and_right_once_nothing_was_taken_ahead(outside, trials):
    """Seen to fail with the last difference, and with that of the first trial."""
    told = OutsideAllocator()
    answers = [told.after(outside + in_use + ahead, in_use) for in_use, ahead in trials]
    assert all(answer >= outside for answer in answers)
    assert answers == sorted(answers, reverse=True)
    assert answers[-1] == outside + min(ahead for _, ahead in trials)


@given(st.lists(st.tuples(st.none() | st.integers(-GIB, GIB), BYTES)))
def test_it_is_never_below_nothing_and_nothing_where_the_driver_does_not_tell(trials):
    """Seen to fail with the bare difference."""
    told = OutsideAllocator()
    answers = [told.after(own, in_use) for own, in_use in trials]
    assert all(answer >= 0 for answer in answers)
    assert any(own is not None for own, _ in trials) or not any(answers)


def test_a_driver_that_falls_silent_takes_nothing_back():
    told = OutsideAllocator()
    assert [told.after(900, 300), told.after(None, 500)] == [600, 600]


def probed(outside):
    """The answer on a GPU of which 12 GiB are free, where a sample takes 10 MiB of the allocator's."""
    free = Device(0, "GPU-0", "Fake GPU", 16 * GIB, 12 * GIB, 0)
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 10 * MIB), outside=outside)
    seams = TunerSeams(lambda: memory_reading(devices=(free,)), executor, gpu=lambda: Accelerator("GPU:0", 0))
    return find_batch_size(None, [], ProbeRequest("largest", cap=4096), seams=seams)


def test_the_peaks_of_a_probe_are_those_of_the_process():
    """Seen to fail with the allocator's own: the answer took 600 MiB more than its budget."""
    result = probed(lambda _: 600 * MIB)
    assert all(trial.peaks["device"] == 600 * MIB + trial.size * 10 * MIB for trial in result.trials)
    assert result.max_batch_size * 10 * MIB + 600 * MIB <= result.budgets["device"]
    assert result.max_batch_size < probed(None).max_batch_size


def test_an_allocator_that_takes_twice_what_it_uses_costs_nothing():
    """Seen to fail with each trial's own difference: the answer was half as large."""
    result = probed(lambda in_use: 600 * MIB + in_use)
    assert result.max_batch_size >= 0.98 * probed(lambda _: 600 * MIB).max_batch_size
