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
    """Leaves only that device (`cpu`, `gpu`, `gpu:K`, the beginning of a UUID) visible, also to child processes."""
    from autobatch.memory.sensors.gpu import read_devices

    devices, notes = ((), ()) if wanted == "cpu" else read_devices(os.getpid(), environ=environ)
    value = visible(wanted, devices, notes)
    if value is not None:
        environ[VARIABLE] = value


def visible(wanted: str, devices: "Sequence[Device]", notes: Sequence[str] = ()) -> str | None:
    """The value of `CUDA_VISIBLE_DEVICES` for one of the devices that are visible now, `None` to leave it as it is.

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
        raise DeviceError(f"There is no such device. {_received(wanted, devices, notes)}", wanted, _names(devices))
    if len(found) > 1:
        raise ArgumentError(f"{len(found)} devices match. {_received(wanted, devices, notes)}")
    return found[0].uuid


def require_usable(wanted: str | None, accelerators: Sequence[str], devices: "Sequence[Device]") -> None:
    if wanted in {None, "cpu"} or accelerators:
        return
    from autobatch.backend import current_backend

    backend = current_backend()
    received = _received(str(wanted), devices)
    if devices:
        why = f"The driver finds a GPU, but {backend.title} cannot use it. {received} {backend.hints.gpu_libraries}"
    else:
        why = f"{backend.title} finds no GPU. {received}"
    raise DeviceError(why, wanted, _names(devices))


def _received(wanted: str, devices: "Sequence[Device]", notes: Sequence[str] = ()) -> str:
    said = "".join(f" {note}" for note in notes) if not devices else ""
    return f"Received: --device {wanted}. Expected one of: {', '.join(['cpu', *_names(devices)])}.{said}"


def _names(devices: "Sequence[Device]") -> list[str]:
    return [f"gpu:{device.index} ({device.name}, {device.uuid})" for device in devices]


def _is(wanted: str, device: "Device") -> bool:
    if wanted.startswith("gpu:"):
        return device.index == int(wanted.removeprefix("gpu:"))
    return device.uuid.startswith(wanted)
