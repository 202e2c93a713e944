"""Who uses a GPU, as NVML lists it, and whether that can be believed.

Covered: drivers before 510, whose list has an older name; lists with entries of another length than the Python module
reads (longer in some drivers of the 535 series, shorter in one of 550: github.com/XuehaiPan/nvitop, pulls 79 and 226),
of which everything but the first entry is shifted; numbers of processes that may be those of another container. Not
covered: drivers before 450, whose list the Python module cannot read. A shifted list of one process is right, and is
believed.
"""

from collections.abc import Sequence
from contextlib import suppress
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
    try:
        processes = _answer(nvml, f"nvmlDeviceGet{kind}RunningProcesses", handle)
    except nvml.NVMLError as error:
        return None, f"NVML: {error}"
    if not all(_is_possible(process, total_bytes) for process in processes):
        return None, _ODD
    used: dict[int, int | None] = {}
    for process in processes:
        amount, before = process.usedGpuMemory, used.get(process.pid, 0)
        used[process.pid] = None if amount is None or before is None else before + int(amount)
    return used, ""


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
    return processes[pid], "" if processes[pid] is not None else "NVML lists this process without its bytes."


def _answer(nvml: Any, function: str, handle: Any) -> Sequence[Any]:
    """Asks by the newest name that the driver knows.

    The plain name is for stand-ins alone: with a driver of an older generation than its own, `pynvml` raises an error
    for it that is none of NVML's.
    """
    *newer, last = [name for name in (f"{function}_v3", f"{function}_v2") if hasattr(nvml, name)] or [function]
    answer: Sequence[Any]
    for name in newer:
        with suppress(nvml.NVMLError):
            answer = getattr(nvml, name)(handle)
            return answer
    answer = getattr(nvml, last)(handle)
    return answer


def _is_possible(process: Any, total_bytes: int | None) -> bool:
    used = process.usedGpuMemory
    return 0 < process.pid <= _LARGEST_PID and (used is None or total_bytes is None or used <= total_bytes)
