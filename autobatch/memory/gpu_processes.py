"""Who uses a GPU, as NVML lists it, and whether that can be believed.

Covered: drivers without the newest list (before 510, and 535.98); lists with entries of another length than the Python
module reads (longer from 535.43 to 535.86, shorter in one of 550: github.com/XuehaiPan/nvitop, pulls 79, 89, 226), of
which everything but the first entry is shifted, and where the older list may be right; numbers of processes that may
be those of another container. Not covered: drivers before 450, whose list the Python module cannot read. A shifted
list of one process is right, and is believed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autobatch.memory.processes import is_known_here

# The kernel's largest number of a process (PID_MAX_LIMIT in linux/threads.h): what is above it is none.
_LARGEST_PID = 1 << 22
_ODD = "the driver's list of processes does not add up: its entries are of another length than nvidia-ml-py reads"


def listed(nvml: Any, kind: str, handle: Any, total_bytes: int | None) -> tuple[dict[int, int | None] | None, str]:
    """Returns the bytes of each process that NVML lists, or `None` and why there is no telling.

    Bytes are `None` where the driver leaves them open, as it does for unified memory and some virtual GPUs.

    Args:
        nvml: A module that answers like `pynvml`, started.
        kind: "Compute" or "Graphics".
        handle: What NVML calls the GPU.
        total_bytes: All of its memory, `None` where that is unknown.

    Example:
        >>> from autobatch.testing import FakeGpu, FakeNvml
        >>> listed(FakeNvml(), "Compute", FakeGpu("GPU-1", processes={7: 900}), 1000)
        ({7: 900}, '')
    """
    reasons: list[str] = []
    for name in _names(nvml, f"nvmlDeviceGet{kind}RunningProcesses"):
        try:
            processes = getattr(nvml, name)(handle)
        except nvml.NVMLError as error:
            reasons.append(f"NVML: {error}")
            continue
        if all(_is_possible(process, total_bytes) for process in processes):
            return _by_process(processes), ""
        reasons.append(_ODD)
    return None, _ODD if _ODD in reasons else reasons[-1]


def used_by(nvml: Any, pid: int, handle: Any, total_bytes: int, proc: Path) -> tuple[int | None, str]:
    """Returns the bytes that NVML books on a process, or `None` and a sentence that says why there is no telling.

    Args:
        nvml: A module that answers like `pynvml`, started.
        pid: The process' number here.
        handle: What NVML calls the GPU.
        total_bytes: All of its memory.
        proc: Where the kernel's process files are.
    """
    processes, why = listed(nvml, "Compute", handle, total_bytes)
    if processes is None:
        return None, f"what this process itself uses is unknown ({why})."
    if pid not in processes:
        return None, (
            f"NVML lists no process {pid}. Either it has not used the GPU yet, or it runs in a container and NVML "
            "lists the host's numbers: the framework's own figures count, where they are given."
        )
    if not is_known_here(pid, proc):
        return None, (
            f"NVML lists a process {pid}, which may be another one: in a container it may list the host's numbers. "
            "The framework's own figures count, where they are given."
        )
    # Who is listed has a context, which is never nothing: 0 is what a driver tells in some containers
    # (github.com/NVIDIA/open-gpu-kernel-modules/pull/614).
    return processes[pid] or None, "" if processes[pid] else "NVML lists this process without its bytes."


def _names(nvml: Any, function: str) -> list[str]:
    """The names of a list, the newest first.

    The plain one is for stand-ins alone: with a driver of an older generation than its own, `pynvml` raises an error
    for it that is none of NVML's.
    """
    return [name for name in (f"{function}_v3", f"{function}_v2") if hasattr(nvml, name)] or [function]


def _by_process(processes: Sequence[Any]) -> dict[int, int | None]:
    used: dict[int, int | None] = {}
    for process in processes:
        amount, before = process.usedGpuMemory, used.get(process.pid, 0)
        used[process.pid] = None if amount is None or before is None else before + int(amount)
    return used


def _is_possible(process: Any, total_bytes: int | None) -> bool:
    used = process.usedGpuMemory
    return 0 < process.pid <= _LARGEST_PID and (used is None or total_bytes is None or used <= total_bytes)
