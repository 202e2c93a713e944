"""Memory of a GPU, or of a control group in its place, taken and given back without any framework.

Both are the same to an actor: `take` returns a handle or raises `OutOfMemoryError`, `is_intact` reads back what was
written, `give` gives it back. Covered: the default device of CUDA, through its driver's own functions.
"""

import contextlib
import ctypes
import mmap
from pathlib import Path
from typing import Any, Protocol

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_PAGE = 4096
_FILLED = 0xA5
_LEFT_BYTES = 128 << 20
_PIECE_BYTES = 1 << 20


class OutOfMemoryError(Exception):
    """There is not as much as was asked for."""


class Memory(Protocol):
    """Where an actor takes memory."""

    def take(self, size: int) -> Any:
        """Takes and fills so many bytes; raises `OutOfMemoryError` where there are not as many."""

    def is_intact(self, handle: Any) -> bool:
        """Whether what was written is still there."""

    def give(self, handle: Any) -> None:
        """Gives it back."""


class Cuda:
    """The memory of the first GPU that `CUDA_VISIBLE_DEVICES` leaves.

    Args:
        driver: What answers like libcuda; `None` takes libcuda.
    """

    def __init__(self, driver: Any = None) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1") if driver is None else driver
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._device = device

    def take(self, size: int) -> tuple[int, int]:
        """Takes and fills so many bytes.

        Raises:
            OutOfMemoryError: There are not as many.
        """
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        self._call("cuMemsetD8_v2", pointer, ctypes.c_ubyte(_FILLED), ctypes.c_size_t(size))
        self._call("cuCtxSynchronize")
        return pointer.value, size

    def is_intact(self, handle: tuple[int, int]) -> bool:
        """Whether the first and the last page read as they were written."""
        pointer, size = handle
        page = ctypes.create_string_buffer(min(size, _PAGE))
        for start in (pointer, pointer + size - len(page)):
            self._call("cuMemcpyDtoH_v2", page, ctypes.c_uint64(start), ctypes.c_size_t(len(page)))
            if page.raw != bytes([_FILLED]) * len(page):
                return False
        return True

    def give(self, handle: tuple[int, int]) -> None:
        """Gives it back to the device."""
        self._call("cuMemFree_v2", ctypes.c_uint64(handle[0]))

    def free_and_total(self) -> tuple[int, int]:
        """What the driver says is free, and all there is, in bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def uuids(self) -> list[str]:
        """The devices that CUDA counts, in its order, as NVML calls them."""
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        return [self._uuid(number) for number in range(count.value)]

    def _uuid(self, number: int) -> str:
        device, raw = ctypes.c_int(), ctypes.create_string_buffer(16)
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(number))
        self._call("cuDeviceGetUuid_v2", raw, device)
        digits = raw.raw.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _call(self, name: str, *args: Any) -> None:
        code = int(getattr(self._driver, name)(*args))
        if code == _OUT_OF_MEMORY:
            raise OutOfMemoryError(f"{name}: out of memory")
        if code:
            raise RuntimeError(f"{name}: error {code}")


class Host:
    """The memory of a control group, which stands for a GPU where there is none.

    The kernel kills who takes more than there is, whoever that is, in the middle of a step; a GPU's driver refuses. So
    what is not there is not taken, nor the last that is.

    Args:
        group: The group's folder; `None` for the machine, of which there is always enough.
    """

    def __init__(self, group: Path | None = None) -> None:
        self._group = group

    def take(self, size: int) -> mmap.mmap:
        """Takes and fills so many bytes.

        Raises:
            OutOfMemoryError: The group has not as many.
        """
        if self._group is not None and group_free(self._group) - _LEFT_BYTES < size:
            raise OutOfMemoryError(f"{size} bytes are not there")
        piece = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        filling = bytes([_FILLED]) * _PIECE_BYTES  # as one, the filling would take as much again
        for start in range(0, size, _PIECE_BYTES):
            piece.write(filling[: size - start])
        return piece

    def is_intact(self, handle: mmap.mmap) -> bool:
        """Whether the first and the last byte read as they were written."""
        return handle[0] == handle[len(handle) - 1] == _FILLED

    def give(self, handle: mmap.mmap) -> None:
        """Gives it back to the group."""
        handle.close()


def group_free(group: Path) -> int:
    """What the processes of a control group may still take, in bytes; the page cache gives way, and is free."""
    facts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    return group_limit(group) - int(facts.get("rss") or facts.get("anon") or 0)


def group_limit(group: Path) -> int:
    """What the processes of a control group may hold together, in bytes."""
    for name in ("memory.limit_in_bytes", "memory.max"):
        with contextlib.suppress(FileNotFoundError):
            return int((group / name).read_text(encoding="utf-8"))
    raise RuntimeError(f"{group} has no limit")
