"""Who holds memory of GPUs, and the driver's versions, with recorded answers."""

import pytest

from autobatch.memory.sensors.gpu import read_device_uses
from autobatch.memory.sensors.nvml import read_driver
from autobatch.memory.types import Driver
from autobatch.testing import FakeGpu, FakeNvml

GIB = 1 << 30


def uses(*gpus, visible=None, fails=None):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found, notes = read_device_uses(FakeNvml(*gpus, fails=fails), environ)
    return [(use.index, use.pid, use.used_bytes) for use in found], notes


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        pytest.param(FakeGpu("GPU-1"), [], id="nobody"),
        pytest.param(FakeGpu("GPU-1", processes={7: 10, 8: 20}), [(0, 7, 10), (0, 8, 20)], id="two that compute"),
        pytest.param(FakeGpu("GPU-1", drawing={9: 30}), [(0, 9, 30)], id="one that draws"),
        pytest.param(FakeGpu("GPU-1", processes={7: 10}, drawing={7: 30}), [(0, 7, 30)], id="one that does both"),
        pytest.param(FakeGpu("GPU-1", processes={7: None}), [(0, 7, None)], id="bytes left open"),
        pytest.param(FakeGpu("GPU-1", processes={7: None}, drawing={7: 5}), [(0, 7, 5)], id="left open once"),
    ],
)
def test_each_process_is_told_once_for_each_gpu(gpu, expected):
    """Seen to fail with the figures of a process that computes and draws added up."""
    assert uses(gpu) == (expected, ())


def test_numbers_of_gpus_are_those_that_this_process_sees():
    first, second = FakeGpu("GPU-1", processes={7: 10}), FakeGpu("GPU-2", processes={8: 20})
    assert uses(first, second, visible="1,0")[0] == [(0, 8, 20), (1, 7, 10)]


def test_a_slice_tells_its_own_processes():
    part = FakeGpu("MIG-1", processes={7: 10})
    assert uses(FakeGpu("GPU-1", slices=(part,), processes={9: 90}))[0] == [(0, 7, 10)]


@pytest.mark.parametrize(
    ("function", "left", "notes"),
    [
        ("nvmlDeviceGetComputeRunningProcesses", [(0, 8, 20)], 1),
        ("nvmlDeviceGetGraphicsRunningProcesses", [(0, 7, 10)], 0),
    ],
)
def test_one_list_that_is_refused_leaves_the_other(function, left, notes):
    found, said = uses(FakeGpu("GPU-1", processes={7: 10}, drawing={8: 20}), fails={function: "Not Supported"})
    assert found == left
    assert len(said) == notes


def test_a_driver_that_does_not_start_lists_nobody_and_says_so():
    found, notes = uses(FakeGpu("GPU-1", processes={7: 10}), fails={"nvmlInit": "Driver Not Loaded"})
    assert found == []
    assert "Driver Not Loaded" in notes[0]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ((), Driver("560.35", "12.560.35", "12.6")),
        (("nvmlSystemGetNVMLVersion",), Driver("560.35", None, "12.6")),
        (("nvmlSystemGetCudaDriverVersion",), Driver("560.35", "12.560.35", None)),
        (("nvmlSystemGetDriverVersion",), None),
        (("nvmlInit",), None),
    ],
)
def test_the_versions_are_those_that_nvml_tells(fails, expected):
    nvml = FakeNvml(fails=dict.fromkeys(fails, "no"))
    driver, notes = read_driver(nvml)
    assert driver == expected
    assert bool(notes) == (expected is None)
    assert nvml.open_count == 0
