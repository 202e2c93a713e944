"""Which device to use: chosen by `CUDA_VISIBLE_DEVICES`, so before the framework starts."""

import os
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING

from autobatch.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from autobatch.memory.types import Device


VARIABLE = "CUDA_VISIBLE_DEVICES"

_NO_GPU = "-1"


def set_device(wanted: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Leaves only the wanted device visible to this process and to those that it starts.

    Args:
        wanted: `cpu`, `gpu`, `gpu:K`, or the beginning of a UUID.
        environ: The environment of this process.

    Raises:
        DeviceError: It is not there.
        ArgumentError: Several are called so.
    """
    from autobatch.memory.sensors.gpu import read_devices

    devices, notes = ((), ()) if wanted == "cpu" else read_devices(os.getpid(), environ=environ)
    value = visible(wanted, devices, notes)
    if value is not None:
        environ[VARIABLE] = value


def visible(wanted: str, devices: "Sequence[Device]", notes: Sequence[str] = ()) -> str | None:
    """The value of `CUDA_VISIBLE_DEVICES` for a device, `None` to leave it as it is.

    Args:
        wanted: `cpu`, `gpu`, `gpu:K`, or the beginning of a UUID.
        devices: Those that are visible now, as the driver names them.
        notes: What the reading of them said.

    Raises:
        DeviceError: It is not among them.
        ArgumentError: Several are called so.

    Example:
        >>> from autobatch.memory.types import Device
        >>> visible("gpu:1", [Device(0, "GPU-a", "", 1, 1), Device(1, "GPU-b", "", 1, 1)])
        'GPU-b'
    """
    if wanted == "cpu":
        return _NO_GPU
    if wanted == "gpu":
        return None  # not every accelerator has this driver: the framework has the last word
    found = [device for device in devices if _is(wanted, device)]
    if not found:
        raise DeviceError(f"There is no such device. {received(wanted, devices, notes)}", wanted, names(devices))
    if len(found) > 1:
        raise ArgumentError(f"{len(found)} devices are called so. {received(wanted, devices, notes)}")
    return found[0].uuid


def require_usable(wanted: str | None, accelerators: Sequence[str], devices: "Sequence[Device]") -> None:
    """Refuses to go on without the device that was asked for, once the framework has started.

    Args:
        wanted: As above; `None` if nobody asked.
        accelerators: What the framework can use.
        devices: What the driver names.

    Raises:
        DeviceError: The framework can use none.
    """
    if wanted in {None, "cpu"} or accelerators:
        return
    why = (
        "The driver names a GPU, but TensorFlow cannot use it: install TensorFlow with its CUDA libraries "
        "(pip install 'keras-autobatch[gpu]'), and see what TensorFlow says with TF_CPP_MIN_LOG_LEVEL=0."
        if devices
        else "TensorFlow finds no GPU."
    )
    raise DeviceError(f"{why} {received(str(wanted), devices)}", wanted, names(devices))


def received(wanted: str, devices: "Sequence[Device]", notes: Sequence[str] = ()) -> str:
    """What was asked for and what there is."""
    said = "".join(f" {note}" for note in notes) if not devices else ""
    return f"Received: --device {wanted}. Expected one of: {', '.join(['cpu', *names(devices)])}.{said}"


def names(devices: "Sequence[Device]") -> list[str]:
    """What to call each device, and what it is."""
    return [f"gpu:{device.index} ({device.name}, {device.uuid})" for device in devices]


def _is(wanted: str, device: "Device") -> bool:
    if wanted.startswith("gpu:"):
        return device.index == int(wanted.removeprefix("gpu:"))
    return device.uuid.startswith(wanted)
