"""A libnvidia-ml below the real `pynvml`, that answers from a record as the C library does.

It takes what ctypes hands to C and writes where C would: return codes, versions of structs, sizes of lists and their
entries, and symbols that a driver of a generation lacks. The records are in tests/memory/nvml; each says what it is
composed from.
"""

# ruff: noqa: N802 - NVML's own names

import ctypes
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pynvml

RECORDS = Path(__file__).parents[1] / "memory" / "nvml"

OK, UNINITIALIZED, INVALID_ARGUMENT, NOT_FOUND, INSUFFICIENT_SIZE, VERSION_MISMATCH = 0, 1, 2, 6, 7, 25
NOT_TOLD = 0xFFFFFFFFFFFFFFFF  # NVML_VALUE_NOT_AVAILABLE
NO_INSTANCE = 0xFFFFFFFF
ENTRIES = {16: "<I4xQ", 24: "<I4xQII", 32: "<I4xQIIQ"}


def load(name: str) -> dict[str, Any]:
    """The record of that name."""
    record: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return record


class NvmlLibrary:
    """What `ctypes.CDLL("libnvidia-ml.so.1")` would be on the machine of a record.

    Args:
        record: `gpus`, in the driver's order; `lacks`, the symbols that are not there; `returns`, the codes of
            functions that fail whatever they are asked of; `entry_bytes`, the length of an entry of a list of
            processes, by the end of the function's name; `driver`, its version; `container`, whether this process sees
            other numbers of processes than the machine's; `opened`, the file that it has open.

    Attributes:
        open_count: How often it was initialised and not shut down.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.open_count = 0
        self._record = record
        self._handles: dict[int, tuple[ctypes.Structure, Mapping[str, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self._record.get("lacks", ()) or not hasattr(type(self), f"_{name}"):
            raise AttributeError(f"libnvidia-ml.so.1: undefined symbol: {name}")
        return partial(self._answer, name)

    def _answer(self, name: str, *args: Any) -> int:
        if not self.open_count and name != "nvmlInitWithFlags":
            return UNINITIALIZED
        code: int = self._record.get("returns", {}).get(name, OK)
        if not code and args and isinstance(args[0], pynvml.c_nvmlDevice_t):
            args = (self._handles[ctypes.addressof(args[0].contents)][1], *args[1:])
            code = args[0].get("returns", {}).get(name, OK)
        return code or getattr(self, f"_{name}")(*args)

    def _nvmlInitWithFlags(self, _flags):
        self.open_count += 1
        return OK

    def _nvmlShutdown(self):
        self.open_count -= 1
        return OK

    def _nvmlSystemGetDriverVersion(self, text, _size):
        text.value = self._record["driver"].encode()
        return OK

    def _nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self._record["gpus"])
        return OK

    def _nvmlDeviceGetHandleByIndex_v2(self, number, handle):
        return self._hand_out(self._record["gpus"][number.value], handle)

    def _nvmlDeviceGetUUID(self, gpu, text, _size):
        text.value = gpu["uuid"].encode()
        return OK

    def _nvmlDeviceGetName(self, gpu, text, _size):
        text.value = gpu["name"].encode()
        return OK

    def _nvmlDeviceGetMemoryInfo(self, gpu, memory):
        told = memory._obj
        told.total, told.free, told.used = gpu["total"], gpu["free"], gpu["total"] - gpu["free"]
        return OK

    def _nvmlDeviceGetMemoryInfo_v2(self, gpu, memory):
        told = memory._obj
        if told.version != (ctypes.sizeof(told) | 2 << 24):
            return VERSION_MISMATCH
        told.total, told.free, told.reserved = gpu["total"], gpu["free"], gpu["reserved"]
        told.used = told.total - told.free - told.reserved
        return OK

    def _nvmlDeviceGetComputeRunningProcesses_v2(self, gpu, count, entries):
        return self._list("_v2", gpu["processes"], count, entries)

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, gpu, count, entries):
        return self._list("_v3", gpu["processes"], count, entries)

    def _nvmlDeviceGetGraphicsRunningProcesses_v2(self, gpu, count, entries):
        return self._list("_v2", gpu.get("drawing", ()), count, entries)

    def _nvmlDeviceGetGraphicsRunningProcesses_v3(self, gpu, count, entries):
        return self._list("_v3", gpu.get("drawing", ()), count, entries)

    def _nvmlDeviceGetMigMode(self, gpu, current, pending):
        current._obj.value = pending._obj.value = int("slices" in gpu)
        return OK

    def _nvmlDeviceGetMaxMigDeviceCount(self, _gpu, count):
        count._obj.value = 7
        return OK

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, gpu, number, handle):
        part = gpu["slices"].get(str(number.value))
        return NOT_FOUND if part is None else self._hand_out(part, handle)

    def _nvmlDeviceGetGpuInstanceId(self, part, number):
        number._obj.value = part["instance"][0]
        return OK

    def _nvmlDeviceGetComputeInstanceId(self, part, number):
        number._obj.value = part["instance"][1]
        return OK

    def _hand_out(self, gpu, handle):
        # Opaque to the caller: an address, by which the GPU is found again.
        body = pynvml.struct_c_nvmlDevice_t()
        self._handles[ctypes.addressof(body)] = body, gpu
        handle._obj.contents = body
        return OK

    def _list(self, version, processes, count, entries):
        room, count._obj.value = count._obj.value, len(processes)
        if not processes:
            return OK
        if entries is None or room < len(processes):
            return INSUFFICIENT_SIZE
        form = ENTRIES[self._record.get("entry_bytes", {}).get(version, 24)]
        rest = (NO_INSTANCE, NO_INSTANCE, 0)[: len(struct.unpack(form, bytes(struct.calcsize(form)))) - 2]
        data = b"".join(struct.pack(form, pid, NOT_TOLD if used is None else used, *rest) for pid, used in processes)
        assert len(data) <= ctypes.sizeof(entries)
        ctypes.memmove(entries, data, len(data))
        return OK


@contextmanager
def installed(library: NvmlLibrary | None) -> Iterator[None]:
    """Puts a library below `pynvml` while the context lasts; `None` for a machine that has none."""

    def nothing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    before = pynvml.nvmlLib, pynvml.CDLL
    # Functions are looked up once and kept: those of another library must not be found again.
    functions = dict(pynvml._nvmlGetFunctionPointer_cache)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    pynvml.nvmlLib = library
    if library is None:
        pynvml.CDLL = nothing
    try:
        yield
    finally:
        pynvml.nvmlLib, pynvml.CDLL = before
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(functions)
