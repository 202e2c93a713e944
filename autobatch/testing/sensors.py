"""A reading with given figures, and stand-ins for NVML and for the CUDA driver's memory pools."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from autobatch._text import GIB, MIB
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import ControlGroup, Device, HostMemory, ProcessMemory


def memory_reading(
    *,
    host_total_bytes: int = 64 * GIB,
    host_available_bytes: int = 48 * GIB,
    rss_bytes: int = 512 * MIB,
    group_limit_bytes: int | None = None,
    group_usage_bytes: int | None = None,
    devices: tuple[Device, ...] = (),
) -> MemoryReading:
    """Returns a reading with these figures, in bytes.

    Args:
        host_total_bytes: The machine's memory.
        host_available_bytes: What is available of it.
        rss_bytes: What this process occupies.
        group_limit_bytes: The limit of a control group, `None` for no group.
        group_usage_bytes: What is used in that group, `None` for this process alone.
        devices: The GPUs.
    """
    usage = rss_bytes if group_usage_bytes is None else group_usage_bytes
    groups = () if group_limit_bytes is None else (ControlGroup(2, "/fake", group_limit_bytes, usage, 0),)
    host = HostMemory(host_total_bytes, host_available_bytes)
    return MemoryReading(host=host, process=ProcessMemory(rss_bytes, rss_bytes), control_groups=groups, devices=devices)


@dataclass(frozen=True)
class FakeGpu:
    """A GPU, or a MIG slice of one, as `FakeNvml` plays it.

    Attributes:
        uuid: Its identity.
        total_bytes: All of its memory.
        free_bytes: What nobody has taken.
        name: What the maker calls it.
        processes: Bytes of each process number; `None` where the driver leaves them open.
        drawing: The same for processes that draw.
        slices: The slices of a GPU in MIG mode, `None` for one that is not.
        instance: The numbers of a slice: GPU instance and compute instance.
        reserved_bytes: What its driver keeps for itself, `None` for one that is too old to tell.
        refuses: The NVML functions that fail on it, and what they say.
    """

    uuid: str
    total_bytes: int = 16 * GIB
    free_bytes: int = 12 * GIB
    name: str = "Fake GPU"
    processes: Mapping[int, int | None] = field(default_factory=dict)
    drawing: Mapping[int, int | None] = field(default_factory=dict)
    slices: tuple["FakeGpu", ...] | None = None
    instance: tuple[int, int] = (0, 0)
    reserved_bytes: int | None = None
    refuses: Mapping[str, str] = field(default_factory=dict)


# What NVML's functions answer that tell a figure of what they are handed, or always the same
_NVML_ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
    "nvmlDeviceGetName": lambda gpu: gpu.name,
    "nvmlDeviceGetComputeRunningProcesses": lambda gpu: _listed(gpu.processes),
    "nvmlDeviceGetGraphicsRunningProcesses": lambda gpu: _listed(gpu.drawing),
    "nvmlDeviceGetMigMode": lambda gpu: [int(gpu.slices is not None)] * 2,
    "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
    "nvmlDeviceGetGpuInstanceId": lambda part: part.instance[0],
    "nvmlDeviceGetComputeInstanceId": lambda part: part.instance[1],
    "nvmlSystemGetDriverVersion": lambda: "560.35",
    "nvmlSystemGetNVMLVersion": lambda: "12.560.35",
    "nvmlSystemGetCudaDriverVersion": lambda: 12060,
}


def _listed(processes: Mapping[int, int | None]) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes.items()]


class FakeNvmlError(Exception):
    """What `FakeNvml` raises: its `NVMLError`."""


class FakeNvml:
    """A stand-in for the module `pynvml`: give it to `autobatch.memory.reading.read_memory` as `nvml`.

    Args:
        gpus: The machine's GPUs, in the driver's order.
        fails: Functions that fail whatever they are asked of, and what they say.

    Attributes:
        calls: The names of the functions that were called, in order.
        open_count: How often it was initialised and not shut down.

    Example:
        >>> from autobatch.memory.reading import read_memory
        >>> reading = read_memory(nvml=FakeNvml(FakeGpu("GPU-1", total_bytes=1000, free_bytes=400)))
        >>> reading.devices[0].free_bytes
        400
    """

    NVMLError = FakeNvmlError
    nvmlMemory_v2 = 0x02000028  # noqa: N815 - NVML's own name

    def __init__(self, *gpus: FakeGpu, fails: Mapping[str, str] | None = None) -> None:
        self.calls: list[str] = []
        self.open_count = 0
        self._gpus = gpus
        self._fails = dict(fails or {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _NVML_ANSWERS and not hasattr(type(self), f"_{name}"):
            raise AttributeError(name)
        return partial(self._answer, name)

    def _answer(self, name: str, *args: Any, **options: Any) -> Any:
        self.calls.append(name)
        gpu = args[0] if args and isinstance(args[0], FakeGpu) else None
        refusal = self._fails.get(name) or (gpu.refuses.get(name) if gpu is not None else None)
        if refusal:
            raise FakeNvmlError(refusal)
        answer = _NVML_ANSWERS.get(name) or getattr(self, f"_{name}")
        return answer(*args, **options)

    def _nvmlInit(self) -> None:  # noqa: N802 - NVML's own names, here and below
        self.open_count += 1

    def _nvmlShutdown(self) -> None:  # noqa: N802
        self.open_count -= 1

    def _nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._gpus)

    def _nvmlDeviceGetHandleByIndex(self, number: int) -> FakeGpu:  # noqa: N802
        gpu = self._gpus[number]
        if "nvmlDeviceGetHandleByIndex" in gpu.refuses:
            raise FakeNvmlError(gpu.refuses["nvmlDeviceGetHandleByIndex"])
        return gpu

    def _nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> SimpleNamespace:  # noqa: N802
        used = gpu.total_bytes - gpu.free_bytes
        if version is None:
            return SimpleNamespace(total=gpu.total_bytes, free=gpu.free_bytes, used=used)
        if gpu.reserved_bytes is None:
            raise FakeNvmlError("Function Not Found")
        reserved = gpu.reserved_bytes
        return SimpleNamespace(total=gpu.total_bytes, free=gpu.free_bytes, used=used - reserved, reserved=reserved)

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: FakeGpu, number: int) -> FakeGpu:  # noqa: N802
        # Numbers without a slice, as on a real GPU: the first of every two is empty here.
        slices = gpu.slices or ()
        if number % 2 == 0 or number // 2 >= len(slices):
            raise FakeNvmlError("Not Found")
        return slices[number // 2]


@dataclass
class FakePool:
    """The default memory pool of a GPU, as `FakeCuda` plays it.

    Attributes:
        reserved_bytes: What it holds of the device.
        used_bytes: What is in use of that; a trim leaves it.
        keeps_bytes: How much it keeps of what is freed: its release threshold.
        supported: Whether the device has memory pools at all.
        trims: The bytes to keep of each trim so far.
    """

    reserved_bytes: int = 0
    used_bytes: int = 0
    keeps_bytes: int = GIB
    supported: bool = True
    trims: list[int] = field(default_factory=list)


class FakeCuda:
    """A stand-in for libcuda: give it to `autobatch.memory.sensors.cuda_pool` or `autobatch.share_memory` as `driver`.

    It takes what ctypes hands to C, and writes its answers where C would.

    Args:
        pools: The pool of each visible device.
        fails: Functions that fail, and the code they return.
        missing: Functions that this driver is too old for.

    Attributes:
        calls: The names of the functions that were called, in order.

    Example:
        >>> from autobatch.memory.sensors.cuda_pool import read_pool
        >>> read_pool(0, FakeCuda(FakePool(), fails={"cuInit": 100}))[1]
        ('GPU:0: its memory pool cannot be read (cuInit: fake error 100 (100)).',)
    """

    def __init__(
        self, *pools: FakePool, fails: Mapping[str, int] | None = None, missing: frozenset[str] = frozenset()
    ) -> None:
        self.calls: list[str] = []
        self._pools = pools
        self._fails = dict(fails or {})
        self._missing = missing

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self._missing or not hasattr(type(self), f"_{name}"):
            raise AttributeError(name)
        return partial(self._answer, name)

    def _answer(self, name: str, *args: Any) -> int:
        self.calls.append(name)
        return self._fails.get(name) or getattr(self, f"_{name}")(*args)

    def _cuInit(self, _flags: Any) -> int:  # noqa: N802 - CUDA's own names, here and below
        return 0

    def _cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        return _write(count, len(self._pools))

    def _cuDeviceGet(self, device: Any, index: Any) -> int:  # noqa: N802
        # CUDA_ERROR_INVALID_DEVICE
        return _write(device, index.value) if 0 <= index.value < len(self._pools) else 101

    def _cuDeviceGetAttribute(self, value: Any, _number: Any, device: Any) -> int:  # noqa: N802
        return _write(value, int(self._pools[device.value].supported))

    def _cuDeviceGetDefaultMemPool(self, pool: Any, device: Any) -> int:  # noqa: N802
        # CUDA_ERROR_NOT_SUPPORTED; a handle of 0 would read as none
        return _write(pool, device.value + 1) if self._pools[device.value].supported else 801

    def _cuMemPoolGetAttribute(self, pool: Any, number: Any, value: Any) -> int:  # noqa: N802
        held = self._pools[pool.value - 1]
        figures = {4: held.keeps_bytes, 5: held.reserved_bytes, 7: held.used_bytes}
        return _write(value, figures[number.value])

    def _cuMemPoolTrimTo(self, pool: Any, keep: Any) -> int:  # noqa: N802
        held = self._pools[pool.value - 1]
        held.trims.append(keep.value)
        held.reserved_bytes = min(held.reserved_bytes, max(held.used_bytes, keep.value))
        return 0

    def _cuGetErrorString(self, code: Any, text: Any) -> int:  # noqa: N802
        return _write(text, f"fake error {code.value}".encode())


def _write(where: Any, value: Any) -> int:
    # what ctypes.byref points at
    where._obj.value = value
    return 0
