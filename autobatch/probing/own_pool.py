"""What the caller's own allocator holds of a GPU, and whether trials have to run where they find that: in the caller.

TensorFlow takes a whole GPU at its start, unless it is told otherwise, and gives nothing back. Another process then
finds nothing left, while a step of the caller's may use it all.
"""

from autobatch._text import GIB
from autobatch.backend.base import Accelerator
from autobatch.memory.budget import Budget, Limit, Reserve
from autobatch.memory.types import Device

# A context with the kernels and workspaces that training loads, of which no step can make use: 0.3 to 0.9 GiB.
_OUTSIDE = GIB
OWN_LIMIT = "the memory_limit of its logical device"


def held_bytes(device: Device, gpu: Accelerator) -> int:
    """What this process' allocator holds of a GPU at least, as far as it can be told.

    In a container the driver may list no process that can be known for this one. If memory growth is off, the
    allocator has taken all that it may at its start.

    Args:
        device: The GPU, as it was read.
        gpu: The same, as the framework has set it up.

    Example:
        >>> silent = Device(0, "GPU-0", "GPU", total_bytes=16 * GIB, free_bytes=GIB)
        >>> [held_bytes(silent, Accelerator("GPU:0", 0, grows=grows)) // GIB for grows in (True, False)]
        [0, 14]
    """
    used = device.used_by_this_process_bytes
    if used is not None and not _is_silent(device):
        # A pool tells of itself alone, the driver of everything.
        return max(gpu.in_use_bytes, used if device.own_from == "pool" else used - _OUTSIDE)
    if gpu.grows:
        return gpu.in_use_bytes
    taken = device.total_bytes - device.free_bytes - _OUTSIDE
    if gpu.limit_bytes is not None:
        return max(gpu.in_use_bytes, min(gpu.limit_bytes, taken))
    return taken if device.free_bytes < device.total_bytes // 2 else gpu.in_use_bytes


def pool_bytes(device: Device, gpu: Accelerator) -> int:
    """What this process holds of a GPU without using it: a step of its own can, no other process.

    Args:
        device: The GPU, as it was read.
        gpu: The same, as the framework has set it up.
    """
    return max(0, held_bytes(device, gpu) - gpu.in_use_bytes)


def own_budget(gpu: Accelerator, reserve: Reserve) -> Budget | None:
    """What is left of the limit that a program has set for itself on a GPU, `None` where there is none.

    Args:
        gpu: The GPU, as the framework has set it up.
        reserve: What to leave free of the limit: an allocator that is full is full of holes.
    """
    limit = own_limit(gpu, gpu.in_use_bytes)
    return None if limit is None else Budget(limit, limit.reserve_bytes(reserve))


def own_limit(gpu: Accelerator, kept_bytes: int) -> Limit | None:
    """The limit that a program has set for itself on a GPU, `None` where there is none.

    Args:
        gpu: The GPU, as the framework has set it up.
        kept_bytes: What counts as occupied now, with or without what lies outside the allocator, which is not limited.
    """
    if gpu.limit_bytes is None:
        return None
    left = max(0, gpu.limit_bytes - gpu.in_use_bytes)
    return Limit("device", gpu.limit_bytes, left, kept_bytes, OWN_LIMIT)


def why_stay_in(device: Device, gpu: Accelerator) -> str | None:
    """Why trials have to run in this process: a worker would find less than it; `None` where it finds as much.

    Args:
        device: The GPU, as it was read.
        gpu: The same, as the framework has set it up.
    """
    if pool_bytes(device, gpu) <= device.free_bytes:
        return None
    if _is_silent(device):
        return "memory growth is off, so what is taken of the GPU counts as this process'"
    return "this process holds most of the GPU" + ("" if gpu.grows else " (memory growth is off)")


def _is_silent(device: Device) -> bool:
    """Whether the driver does not tell of this process; the allocator's own figure is the least that it can be."""
    return device.used_by_this_process_bytes is None or device.own_from == "allocator"
