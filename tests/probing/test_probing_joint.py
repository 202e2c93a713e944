"""The host's memory, with what the loaders take of it, and the device's decide together: the scarcer one binds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import FakeExecutor

from autobatch.backend.base import Accelerator
from autobatch.memory.types import Device
from autobatch.probing.reasons import nothing_left_error
from autobatch.probing.request import ProbeRequest
from autobatch.probing.tuner import Tuner, TunerSeams, find_batch_size
from autobatch.results.trial import Outcome
from autobatch.testing import memory_reading

GIB, MIB = 2**30, 2**20
GPU = Accelerator("GPU:0", 0)


def device(free_bytes=12 * GIB, index=0, own=0):
    return Device(index, f"GPU-{index}", "Fake GPU", 16 * GIB, free_bytes, own)


def joint(*, available=20 * GIB, read_ahead=0, devices=None, executor=None, gpu=GPU):
    """The answer of a probe on a machine with a GPU: a sample takes 4 MiB of the host, 10 of the device."""
    devices = (device(),) if devices is None else devices
    executor = executor or FakeExecutor(per_sample_bytes=4 * MIB, device=(200 * MIB, 10 * MIB))
    question = ProbeRequest("largest", cap=4096, read_ahead_bytes=read_ahead)
    seams = TunerSeams(
        lambda: memory_reading(host_available_bytes=available, devices=devices), executor, gpu=lambda: gpu
    )
    return find_batch_size(None, [], question, seams=seams)


def require_within(result):
    """No size that was tried is over either budget."""
    assert all(trial.outcome is Outcome.RAN for trial in result.trials)
    for trial in result.trials:
        assert all(trial.peaks[name] <= budget for name, budget in result.budgets.items())


@pytest.mark.parametrize(
    ("read_ahead", "binds", "largest"), [(0, "device", range(1020, 1076)), (12 * GIB, "host", range(660, 714))]
)
def test_what_the_loaders_read_ahead_may_bind_before_the_device_does(read_ahead, binds, largest):
    """Seen to fail with read-ahead left out of the host's budget, and with the first resource's budget alone."""
    result = joint(read_ahead=read_ahead)
    assert result.binding == binds
    assert result.max_batch_size in largest
    assert result.limits == {"host": "host", "device": "device"}
    assert result.budgets["device"] == 12 * GIB - int(0.08 * 16 * GIB)
    assert f"({binds}), over the budget of" in result.reasons[-1]
    require_within(result)


@given(
    host=st.tuples(st.integers(0, GIB), st.integers(1, 64 * MIB)),
    on_device=st.tuples(st.integers(0, GIB), st.integers(1, 64 * MIB)),
    read_ahead=st.integers(0, 8 * GIB),
)
def test_no_size_is_over_either_budget_whatever_the_model(host, on_device, read_ahead):
    """Seen to fail with the first resource's bound alone deciding what is tried next."""
    executor = FakeExecutor(fixed_bytes=host[0], per_sample_bytes=host[1], device=on_device)
    result = joint(read_ahead=read_ahead, executor=executor)
    require_within(result)
    assert result.binding in {"host", "device"}


def test_the_reading_of_the_gpu_that_steps_run_on_counts():
    """Seen to fail with the tightest of all GPUs, and with the first."""
    devices = (device(GIB), device(12 * GIB, index=1), device(2 * GIB, index=2))
    result = joint(devices=devices, gpu=Accelerator("GPU:0", 1))
    assert result.budgets["device"] == 12 * GIB - int(0.08 * 16 * GIB)


def test_on_a_cpu_a_gpu_that_is_there_is_no_limit():
    result = joint(gpu=None, executor=FakeExecutor(per_sample_bytes=4 * MIB))
    assert set(result.budgets) == {"host"}
    assert result.binding == "host"


def test_a_full_gpu_is_no_room_and_the_loaders_have_no_part_in_that():
    tuner = Tuner(
        None,
        [],
        ProbeRequest("largest", cap=8, read_ahead_bytes=GIB),
        seams=TunerSeams(lambda: memory_reading(devices=(device(GIB),)), FakeExecutor(), gpu=lambda: GPU),
    )
    error = nothing_left_error(
        "device", tuner.budgets.tightest("device"), tuner.budgets.limit("device"), ProbeRequest("auto", 8)
    )
    with pytest.raises(type(error), match=r"1\.0 GiB that are available \(device\), 1\.3 GiB are the reserve\. "):
        tuner.require_budget()
