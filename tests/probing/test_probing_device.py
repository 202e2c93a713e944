"""What a probe makes of a GPU that the caller's process holds part of, or that tells less than it might."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import FakeExecutor

from autobatch.backend.base import Accelerator
from autobatch.errors import DoesNotFitError
from autobatch.memory.types import Device
from autobatch.probing.request import ProbeRequest
from autobatch.probing.step_budgets import pool_bytes, pool_reason
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.testing import memory_reading

GIB, MIB = 2**30, 2**20


RESERVE = int(0.08 * 16 * GIB)


def device(free_gib=12.0, own_gib=0.0):
    own = None if own_gib is None else int(own_gib * GIB)
    return Device(0, "GPU-0", "Fake GPU", 16 * GIB, int(free_gib * GIB), own)


def gpu(in_use_gib=0.0, *, grows=True, limit_gib=None):
    limit = None if limit_gib is None else int(limit_gib * GIB)
    return Accelerator("GPU:0", 0, int(in_use_gib * GIB), limit, grows)


def probed(executor, cap=4096, mode="largest", *, on=None, set_up=None, **question):
    """The answer of a probe on a machine with a GPU, an empty one if left out."""
    seams = TunerSeams(lambda: memory_reading(devices=(on or device(),)), executor, gpu=lambda: set_up or gpu())
    return find_batch_size(None, [], ProbeRequest(mode, cap, **question), seams=seams)


@pytest.mark.parametrize("mode", ["largest", "auto"])
def test_without_statistics_of_the_device_the_search_does_not_double_until_it_runs_out(mode):
    """Seen to fail with a resource without a peak taken for one that always fits: 4096 was run."""
    executor = FakeExecutor(per_sample_bytes=MIB)
    result = probed(executor, mode=mode)
    assert [trial.size for trial in result.trials] == [2, 4]
    assert result.reasons[-1] == "Nothing above 4 was tried: trials do not tell what they take of the device."
    assert any("its allocator keeps no statistics" in note for note in result.notes)


def test_an_effective_batch_is_cut_small_where_the_device_tells_nothing():
    result = probed(FakeExecutor(per_sample_bytes=MIB), 256, "micro", effective_batch_size=256)
    assert (result.batch_size, result.accumulation_steps) == (4, 64)


def test_with_statistics_there_is_no_such_note():
    result = probed(FakeExecutor(per_sample_bytes=MIB, device=(0, MIB)))
    assert result.max_batch_size == 4096
    assert not any("statistics" in note for note in result.notes)


GROWTH_OFF = "this process holds most of the GPU (memory growth is off)"
SILENT = "memory growth is off, so what is taken of the GPU counts as this process'"


@pytest.mark.parametrize(
    ("on", "set_up", "why"),
    [
        (device(0.3, 15), gpu(0.5, grows=False), GROWTH_OFF),
        (device(0.3, 15), gpu(9, grows=False), GROWTH_OFF),
        (device(8, 8), gpu(0.5, grows=False, limit_gib=7.5), None),
        (device(15, 1), gpu(0.5), None),
        (device(16, 0), gpu(), None),
        (device(4, 12), gpu(1), "this process holds most of the GPU"),
        (device(0.5, 4), gpu(3.9), None),
        (device(0.3, None), gpu(0.5, grows=False), SILENT),
        (device(12, None), gpu(0.5, grows=False), None),
        (device(0.3, None), gpu(0.5), None),
        (device(3, None), gpu(0.5, grows=False, limit_gib=4), SILENT),
        (device(10, None), gpu(0.5, grows=False, limit_gib=4), None),
    ],
    ids=[
        "holds all",
        "holds all, and uses half",
        "holds half",
        "holds its model",
        "holds nothing",
        "has grown",
        "others hold most",
        "unknown and full",
        "unknown and mostly free",
        "unknown and growing",
        "unknown, and its own limit is more than is left",
        "unknown, and its own limit is less than is left",
    ],
)
def test_trials_run_in_the_caller_where_a_worker_would_find_less(on, set_up, why):
    """Seen to fail with half of the GPU as the measure, and with what a silent driver leaves open taken for nothing."""
    assert pool_reason(on, set_up) == why
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 100 * MIB))
    if on.free_bytes + pool_bytes(on, set_up) > RESERVE:
        probed(executor, 4, on=on, set_up=set_up)
        assert executor.where == ("worker" if why is None else "caller")


@pytest.mark.parametrize("own_gib", [15.0, None])
def test_a_process_that_holds_the_whole_gpu_has_its_pool_to_try_with_but_not_its_context(own_gib):
    """Seen to fail with a silent driver taken for a process that holds nothing, and with the context as part of it."""
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 100 * MIB))
    result = probed(executor, on=device(1.0, own_gib), set_up=gpu(1.0, grows=False))
    assert result.budgets["device"] == 14 * GIB - RESERVE
    assert max(trial.peaks["device"] for trial in result.trials) > 10 * GIB


def test_a_worker_has_no_part_in_what_the_caller_has_grown_to():
    """Seen to fail with the caller's pool in the budget of the worker: trials took more than there was."""
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 100 * MIB))
    result = probed(executor, on=device(9.0, 7.0), set_up=gpu(1.0))
    assert executor.where == "worker"
    assert max(trial.peaks["device"] for trial in result.trials) <= 9 * GIB - RESERVE
    assert "beside the worker that proves it" in result.reasons[-1]


def test_an_answer_stays_below_the_limit_that_the_program_has_set_for_itself():
    """Seen to fail with the limit left to the allocator: the answer took three times as much."""
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 100 * MIB))
    result = probed(executor, on=device(11.5, 4.5), set_up=gpu(0.5, grows=False, limit_gib=4))
    reserve = int(0.08 * 4 * GIB)
    assert executor.where == "worker"
    assert (result.budgets["device"], result.reserves["device"]) == (int(3.5 * GIB) - reserve, reserve)
    assert max(trial.peaks["device"] for trial in result.trials) <= result.budgets["device"]
    assert result.limits["device"] == "device, of which this program lets TensorFlow take 4.0 GiB"


@pytest.mark.parametrize("limit", [2 * GIB, None])
def test_the_least_of_what_others_leave_and_what_is_pretended_and_the_own_limit_counts(limit):
    """Seen to fail with the own limit in place of what is left."""
    executor = FakeExecutor(per_sample_bytes=MIB, device=(0, 100 * MIB))
    result = probed(executor, on=device(3.0, 0.5), set_up=gpu(0.5, limit_gib=8), limit_bytes=limit)
    expected = 3 * GIB - RESERVE if limit is None else int(1.5 * GIB) - int(0.08 * limit)
    assert result.budgets["device"] == expected
    assert result.limits["device"] == ("device" if limit is None else "device, as if it had 2.0 GiB")


def test_a_program_that_has_used_up_its_own_limit_is_told_so():
    with pytest.raises(DoesNotFitError, match=r"TensorFlow take 1\.0 GiB"):
        probed(FakeExecutor(), on=device(14.5, 1.5), set_up=gpu(0.95, grows=False, limit_gib=1))


PART = st.integers(0, 16).map(GIB.__mul__)


@settings(max_examples=1000)
@given(free=PART, own=st.none() | PART, in_use=PART, limit=st.none() | PART, grows=st.booleans())
def test_a_pool_is_never_more_than_what_is_taken_and_not_in_use(free, own, in_use, limit, grows):
    """Seen to fail with a limit that is larger than what is taken counted as a whole."""
    on, set_up = Device(0, "GPU-0", "Fake GPU", 16 * GIB, free, own), Accelerator("GPU:0", 0, in_use, limit, grows)
    most = 16 * GIB - free if own is None else own
    assert 0 <= pool_bytes(on, set_up) <= max(0, most - in_use)


def test_a_figure_of_the_pool_has_no_context_in_it_and_one_of_the_allocator_is_but_the_least():
    """Seen to fail with each taken for the driver's: a GiB of the pool was missing, and a whole GPU looked free."""
    set_up = Accelerator("GPU:0", 0, GIB, grows=False)
    told = [Device(0, "GPU-0", "Fake GPU", 16 * GIB, GIB, 5 * GIB, own_from=who) for who in ("driver", "pool")]
    assert [pool_bytes(on, set_up) // GIB for on in told] == [3, 4]
    silent = Device(0, "GPU-0", "Fake GPU", 16 * GIB, GIB, GIB, own_from="allocator")
    assert pool_bytes(silent, set_up) == 13 * GIB
