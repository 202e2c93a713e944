"""What the memory of a GPU comes to: all of it, what is free, and what the driver keeps for itself.

Drivers since 510 tell the last one apart (`nvmlDeviceGetMemoryInfo_v2`). Before, and on WSL, where the newer question
fails, it is unknown and looks like somebody's.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """The memory of a GPU, or of a slice of one.

    Attributes:
        total_bytes: All of it.
        free_bytes: What nobody has taken.
        reserved_bytes: What the driver and the firmware keep for themselves, `None` where that is not told.
    """

    total_bytes: int
    free_bytes: int
    reserved_bytes: int | None = None


def gpu_memory(nvml: Any, handle: Any) -> GpuMemory:
    """Returns the memory of a GPU, by the newest of the questions that its driver answers.

    Args:
        nvml: A module that answers like `pynvml`, started.
        handle: What NVML calls the GPU.

    Raises:
        nvml.NVMLError: The driver answers none of them.

    Example:
        >>> from autobatch.testing import FakeGpu, FakeNvml
        >>> gpu_memory(FakeNvml(), FakeGpu("GPU-1", total_bytes=1000, free_bytes=400, reserved_bytes=50))
        GpuMemory(total_bytes=1000, free_bytes=400, reserved_bytes=50)
    """
    version = getattr(nvml, "nvmlMemory_v2", None)
    if version is not None:
        # Which code says that a driver is too old differs; what is wrong with the GPU itself, the plain question says.
        with suppress(nvml.NVMLError):
            told = nvml.nvmlDeviceGetMemoryInfo(handle, version=version)
            return GpuMemory(int(told.total), int(told.free), int(told.reserved))
    told = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuMemory(int(told.total), int(told.free))
