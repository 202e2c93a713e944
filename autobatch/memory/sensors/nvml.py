"""NVML: started and closed, the memory of a GPU, the processes on it, the driver's versions.

The only place that imports `pynvml`; `nvml` is it or something that answers like it, `handle` what it calls a GPU.
What a reading says of each GPU is put together in `gpu.py`.

Drivers since 510 tell what they keep for themselves (`nvmlDeviceGetMemoryInfo_v2`). Before, and on WSL, where the newer
question fails, it is unknown and looks like somebody's.

Lists of processes. Covered: drivers without the newest list (before 510, and 535.98); lists with entries of another
length than the Python module reads (longer from 535.43 to 535.86, shorter in one of 550: github.com/XuehaiPan/nvitop,
pulls 79, 89, 226), of which everything but the first entry is shifted, and where the older list may be right; numbers
of processes that may be those of another container. Not covered: drivers before 450, whose list the Python module
cannot read. A shifted list of one process is right, and is believed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from autobatch.memory.sensors.procfs import is_local_pid
from autobatch.memory.types import Driver

# The kernel's largest number of a process (PID_MAX_LIMIT in linux/threads.h)
_LARGEST_PID = 1 << 22
_ODD = "the driver's list of processes does not add up: its entries are of another length than nvidia-ml-py reads"


@contextmanager
def nvml_session(nvml: Any = None) -> Iterator[tuple[Any, str]]:
    """Keeps NVML started while the context lasts; hands out NVML, or `None` and why there is none.

    NVML counts who started it, so contexts may overlap: readings within one don't start it each time.
    """
    why = ""
    try:
        nvml = _pynvml() if nvml is None else nvml
        nvml.nvmlInit()
    except ImportError:
        why = "the Python module of NVML (nvidia-ml-py) is not installed"
    except nvml.NVMLError as error:
        why = f"NVML does not start ({error})"
    if why:
        yield None, why
        return
    try:
        yield nvml, ""
    finally:
        # The readings are taken; a driver that fails to close has nothing left to say.
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _pynvml() -> Any:
    import pynvml

    return pynvml


def ask(nvml: Any, function: str, *args: Any) -> Any:
    """Returns what NVML answers, `None` where it answers with an error."""
    try:
        return getattr(nvml, function)(*args)
    except nvml.NVMLError:
        return None


class GpuMemory(NamedTuple):
    """The memory of a GPU, or of a slice of one; `reserved_bytes` is what driver and firmware keep for themselves."""

    total_bytes: int
    free_bytes: int
    reserved_bytes: int | None = None


def read_gpu_memory(nvml: Any, handle: Any) -> GpuMemory:
    """Returns the memory of a GPU, by the newest of the questions that its driver answers."""
    version = getattr(nvml, "nvmlMemory_v2", None)
    if version is not None:
        # Which code says that a driver is too old differs; what is wrong with the GPU itself, the plain question says.
        with suppress(nvml.NVMLError):
            told = nvml.nvmlDeviceGetMemoryInfo(handle, version=version)
            return GpuMemory(int(told.total), int(told.free), int(told.reserved))
    told = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuMemory(int(told.total), int(told.free))


def list_processes(
    nvml: Any, kind: str, handle: Any, total_bytes: int | None
) -> tuple[dict[int, int | None] | None, str]:
    """Returns the bytes of each process that NVML lists, or `None` and why there is no telling.

    Bytes are `None` where the driver leaves them open, as it does for unified memory and some virtual GPUs.
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


def used_by_process(nvml: Any, pid: int, handle: Any, total_bytes: int, proc: Path) -> tuple[int | None, str]:
    """Returns the bytes that NVML books on a process, or `None` and a sentence that says why there is no telling."""
    processes, why = list_processes(nvml, "Compute", handle, total_bytes)
    if processes is None:
        return None, f"what this process itself uses is unknown ({why})."
    if pid not in processes:
        return None, (
            f"NVML lists no process {pid}. Either it has not used the GPU yet, or it runs in a container and NVML "
            "lists the host's numbers: the framework's own figures count, where they are given."
        )
    if not is_local_pid(pid, proc):
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


def read_driver(nvml: Any = None) -> tuple[Driver | None, tuple[str, ...]]:
    """Returns the driver's versions, or `None` and a note that says why they cannot be read."""
    with nvml_session(nvml) as (running, why):
        if running is None:
            return None, (f"The driver of the GPUs cannot be asked: {why}.",)
        version = ask(running, "nvmlSystemGetDriverVersion")
        if version is None:
            return None, ("NVML runs, but does not tell the driver's version.",)
        number = ask(running, "nvmlSystemGetCudaDriverVersion")  # 12.4 as 12040
        cuda = None if number is None else f"{number // 1000}.{number % 1000 // 10}"
        return Driver(str(version), ask(running, "nvmlSystemGetNVMLVersion"), cuda), ()
