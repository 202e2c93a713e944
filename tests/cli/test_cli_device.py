"""--device: which devices stay visible, and what is said where the one that was asked for is not there."""

import pytest

from autobatch.cli.devices import VARIABLE, require_usable, visible
from autobatch.errors import ArgumentError, DeviceError
from autobatch.memory.sensors.gpu import read_devices
from autobatch.testing import FakeGpu, FakeNvml

GPUS = (FakeGpu("GPU-aa11"), FakeGpu("GPU-aa22"), FakeGpu("GPU-bb33"))


def seen(*gpus, environ=None):
    return read_devices(1, FakeNvml(*gpus), environ or {})[0]


@pytest.mark.parametrize(
    ("wanted", "environ", "value"),
    [
        ("cpu", {}, "-1"),
        ("gpu", {}, None),
        ("gpu:0", {}, "GPU-aa11"),
        ("gpu:2", {}, "GPU-bb33"),
        ("gpu:0", {VARIABLE: "2,0"}, "GPU-bb33"),
        ("gpu:1", {VARIABLE: "2,0"}, "GPU-aa11"),
        ("GPU-bb", {}, "GPU-bb33"),
        ("GPU-aa22", {}, "GPU-aa22"),
        ("GPU-aa", {VARIABLE: "1,2"}, "GPU-aa22"),
    ],
)
def test_the_device_is_one_of_those_that_were_visible(wanted, environ, value):
    assert visible(wanted, seen(*GPUS, environ=environ)) == value


def test_a_slice_of_a_gpu_is_named_by_its_own_identity():
    part = FakeGpu("MIG-cc44")
    assert visible("MIG-cc", seen(FakeGpu("GPU-dd55", slices=(part,)))) == "MIG-cc44"


@pytest.mark.parametrize(
    ("wanted", "environ"),
    [
        ("gpu:3", {}),
        ("gpu:1", {VARIABLE: "0"}),
        ("GPU-cc", {}),
        ("GPU-bb", {VARIABLE: "0,1"}),
        ("gpu:0", {VARIABLE: ""}),
    ],
)
def test_a_device_that_is_not_there_names_those_that_are(wanted, environ):
    devices = seen(*GPUS, environ=environ)
    with pytest.raises(DeviceError) as caught:
        visible(wanted, devices, ["a note"])
    assert f"Received: --device {wanted}." in str(caught.value)
    assert all(device.uuid in str(caught.value) for device in devices)
    assert ("a note" in str(caught.value)) == (not devices)
    assert (caught.value.device, len(caught.value.found)) == (wanted, len(devices))


def test_a_beginning_that_several_share_is_refused():
    with pytest.raises(ArgumentError, match="2 devices match"):
        visible("GPU-aa", seen(*GPUS))


@pytest.mark.parametrize(
    ("wanted", "accelerators", "gpus", "says"),
    [
        (None, (), GPUS, None),
        ("cpu", (), GPUS, None),
        ("gpu", ("GPU:0",), (), None),
        ("gpu:1", ("GPU:0",), GPUS, None),
        ("gpu", (), (), "TensorFlow finds no GPU"),
        ("gpu", (), GPUS, "TensorFlow cannot use it"),
        ("gpu:0", (), GPUS[:1], "TensorFlow cannot use it"),
    ],
)
def test_the_framework_has_the_last_word(wanted, accelerators, gpus, says):
    devices = seen(*gpus)
    if says is None:
        require_usable(wanted, accelerators, devices)
        return
    with pytest.raises(DeviceError, match=says):
        require_usable(wanted, accelerators, devices)
