"""What this process holds of a GPU: the driver's figure, or that of who else can tell.

The driver's counts all: CUDA's context, libraries, what allocators hold. In a container it may list the machine's
numbers of processes, so that this one is not found, or another one of the same number is. CUDA's memory pool then tells
what it holds, which is all but the context and the libraries; other allocators of the framework tell what is in use of
what they hold, which is the least that it can be.
"""

from dataclasses import replace

from autobatch.memory.facts import Allocator, Device, OwnFrom

_OTHERS = (
    "NVML books less on a process of this number than this one has in use, so it is another one: in a container NVML "
    "may list the host's numbers."
)


def with_own(device: Device, allocator: Allocator | None) -> tuple[Device, tuple[str, ...]]:
    """Returns a device with the best figure of what this process holds of it, and notes on whose it is.

    Args:
        device: As the driver tells it.
        allocator: The framework's own figures, read before the driver's: what it takes meanwhile makes the driver's
            larger, never smaller.

    Example:
        >>> device, notes = with_own(Device(0, "GPU-1", "Fake GPU", 1000, 400), Allocator(90, 100, 0, pool_bytes=120))
        >>> device.used_by_this_process_bytes, device.own_from, device.used_by_others_bytes
        (120, 'pool', 480)
    """
    if allocator is None or allocator.device_index != device.index:
        return device, ()
    held, owner, what = _held(allocator)
    driver = device.used_by_this_process_bytes
    if driver is not None and driver >= held:
        return device, ()
    doubt = () if driver is None else (f"GPU:{device.index}: {_OTHERS}",)
    known = replace(device, used_by_this_process_bytes=held, own_from=owner)
    return known, (*doubt, f"GPU:{device.index}: what this process holds is {what}.")


def _held(allocator: Allocator) -> tuple[int, OwnFrom, str]:
    if allocator.pool_bytes is not None:
        return allocator.pool_bytes, "pool", "what CUDA's memory pool tells: without CUDA's own context"
    least = "what the framework's allocator has in use: it may hold more, which counts as other processes'"
    return allocator.current_bytes, "allocator", least
