"""What libnvidia-ml answers on a machine, written down in the form of the tests' records (`tests/memory/nvml/*.json`).

A record of a real driver is worth more than a composed one: what stands under `samples` of a result can be put there.
Numbers of processes and identities of GPUs are in it, names of processes are not. Not told: lists of processes whose
entries are of another length than the Python module reads; they are written down as it reads them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobatch.memory.processes import sees_machines_numbers

# What autobatch asks for and not every driver has
_SYMBOLS = (
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v2",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
)
_LISTS = {"processes": "nvmlDeviceGetComputeRunningProcesses", "drawing": "nvmlDeviceGetGraphicsRunningProcesses"}


def recorded(nvml: Any = None, proc: Path = Path("/proc")) -> dict[str, Any]:
    """The record of this machine.

    Args:
        nvml: What answers like `pynvml`; that module if left out.
        proc: Where the kernel's process files are.

    Raises:
        pynvml.NVMLError: NVML does not run here, or names no GPU.
    """
    if nvml is None:
        import pynvml as nvml
    nvml.nvmlInit()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return {
            "about": "Recorded by scripts/gpu_check.",
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "lacks": [name for name in _SYMBOLS if not _has(nvml, name)],
            "container": not sees_machines_numbers(proc),
            "gpus": [_gpu(nvml, handle) for handle in handles],
        }
    finally:
        nvml.nvmlShutdown()


class _Asking:
    """Asks what there is, and keeps the codes of what was refused; what a driver lacks is neither."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.refused: dict[str, int] = {}

    def __call__(self, symbol: str, function: Callable[[], Any]) -> Any:
        if not _has(self._nvml, symbol):
            return None
        try:
            return function()
        except self._nvml.NVMLError as error:
            self.refused[symbol] = int(error.value)
            return None


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    ask = _Asking(nvml)
    told = _figures(nvml, handle, ask)
    mode = ask("nvmlDeviceGetMigMode", lambda: nvml.nvmlDeviceGetMigMode(handle))
    if mode and mode[0]:
        told["slices"] = _slices(nvml, handle)
    return told | ({"returns": ask.refused} if ask.refused else {})


def _figures(nvml: Any, handle: Any, ask: _Asking) -> dict[str, Any]:
    """What a GPU tells, or a slice of one; 0 where it refuses."""
    memory = ask("nvmlDeviceGetMemoryInfo", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    version = getattr(nvml, "nvmlMemory_v2", None)
    newer = ask("nvmlDeviceGetMemoryInfo_v2", lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=version))
    told: dict[str, Any] = {
        "uuid": ask("nvmlDeviceGetUUID", lambda: nvml.nvmlDeviceGetUUID(handle)) or "",
        "name": ask("nvmlDeviceGetName", lambda: nvml.nvmlDeviceGetName(handle)) or "",
        "total": int(memory.total) if memory else 0,
        "free": int(memory.free) if memory else 0,
        "reserved": int(newer.reserved) if newer else 0,
    }
    for key, name in _LISTS.items():
        for symbol in (f"{name}_v2", f"{name}_v3"):  # the newest that answers stands
            listed = ask(symbol, lambda symbol=symbol: getattr(nvml, symbol)(handle))
            if listed is not None:
                told[key] = [[one.pid, one.usedGpuMemory] for one in listed]
    return {"processes": []} | told


def _slices(nvml: Any, handle: Any) -> dict[str, Any]:
    """The slices of a GPU, by their numbers, which have gaps."""
    found = {}
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            instance = [nvml.nvmlDeviceGetGpuInstanceId(part), nvml.nvmlDeviceGetComputeInstanceId(part)]
        except nvml.NVMLError:
            continue
        ask = _Asking(nvml)
        told = _figures(nvml, part, ask) | {"instance": instance}
        found[str(number)] = told | ({"returns": ask.refused} if ask.refused else {})
    return found


def _has(nvml: Any, symbol: str) -> bool:
    try:
        nvml._nvmlGetFunctionPointer(symbol)  # there is no public way to ask for a symbol
    except nvml.NVMLError:
        return False
    return True
