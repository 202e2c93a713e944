"""The CUDA memory pool that `cuda_malloc_async` takes from: what it holds, and giving that back to the device.

TensorFlow's allocator of that name takes from the device's *default* pool and lets it keep all that is freed (a release
threshold as large as the device). The pool belongs to the process, not to TensorFlow: the driver's own functions read
and trim it. Whatever is not there (driver, pools, device) and any code of failure is a note, never an error. Not
covered: TensorFlow's other allocator on a GPU (BFC), which gives nothing back.

A device is named by its number among those that `CUDA_VISIBLE_DEVICES` leaves; `driver` is what answers like libcuda.
"""

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

# Those of `CUmemPool_attribute` and `CUdevice_attribute` in the CUDA driver API's header.
_RELEASE_THRESHOLD, _RESERVED, _USED = 4, 5, 7
_POOLS_SUPPORTED = 115


@dataclass(frozen=True, slots=True)
class Pool:
    """The default memory pool of a device, as far as this process uses it.

    It holds `reserved_bytes` of the device; of what is freed it keeps `keeps_bytes` before it gives back by itself.
    """

    reserved_bytes: int
    used_bytes: int
    keeps_bytes: int


@dataclass(frozen=True, slots=True)
class PoolTrim:
    before: Pool
    after: Pool

    @property
    def returned_bytes(self) -> int:
        """What went back to the device; 0 if the pool grew meanwhile."""
        return max(0, self.before.reserved_bytes - self.after.reserved_bytes)


def read_pool(device_index: int, driver: Any = None) -> tuple[Pool | None, tuple[str, ...]]:
    """Returns a device's default pool, or `None` and a note that says why it cannot be read."""
    try:
        cuda = _Cuda(driver)
        return _read(cuda, _pool(cuda, device_index)), ()
    except _CudaError as error:
        return None, (f"GPU:{device_index}: its memory pool cannot be read ({error}).",)


def trim_pool(device_index: int, keep_bytes: int = 0, driver: Any = None) -> tuple[PoolTrim | None, tuple[str, ...]]:
    """Gives what a device's default pool holds and nobody uses back to the device.

    The pool may keep `keep_bytes`, in use or not. What was freed on a stream counts as used until the stream has been
    waited for. Returns the pool before and after, or `None` and a note that says why it cannot be trimmed.
    """
    try:
        cuda = _Cuda(driver)
        pool = _pool(cuda, device_index)
        before = _read(cuda, pool)
        cuda.call("cuMemPoolTrimTo", pool, ctypes.c_size_t(keep_bytes))
        return PoolTrim(before, _read(cuda, pool)), ()
    except _CudaError as error:
        return None, (f"GPU:{device_index}: its memory pool cannot be trimmed ({error}).",)


def find_pools(driver: Any = None) -> tuple[tuple[bool, ...], tuple[str, ...]]:
    """Returns for each visible GPU whether it has memory pools, and a note where there is no CUDA."""
    try:
        cuda = _Cuda(driver)
        count = ctypes.c_int()
        cuda.call("cuDeviceGetCount", ctypes.byref(count))
        return tuple(_has_pools(cuda, index) for index in range(count.value)), ()
    except _CudaError as error:
        return (), (f"No GPU is set up: {error}.",)


class _CudaError(Exception): ...


class _Cuda:
    """The driver, started; what fails raises `_CudaError` with the driver's own words."""

    def __init__(self, driver: Any) -> None:
        self._driver = _libcuda() if driver is None else driver
        if self._driver is None:
            raise _CudaError("there is no CUDA driver (libcuda.so.1 is not found)")
        self.call("cuInit", ctypes.c_uint(0))

    def call(self, name: str, *args: Any) -> None:
        try:
            function = getattr(self._driver, name)
        except AttributeError as error:
            raise _CudaError(f"the driver is too old: it has no {name}") from error
        code = int(function(*args))
        if code:
            raise _CudaError(f"{name}: {self._text(code)}")

    def _text(self, code: int) -> str:
        text = ctypes.c_char_p()
        with suppress(AttributeError):
            self._driver.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
        return f"{text.value.decode(errors='replace')} ({code})" if text.value else f"error {code}"


@cache
def _libcuda() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _has_pools(cuda: _Cuda, index: int) -> bool:
    supported = ctypes.c_int()
    cuda.call("cuDeviceGetAttribute", ctypes.byref(supported), ctypes.c_int(_POOLS_SUPPORTED), _device(cuda, index))
    return bool(supported.value)


def _device(cuda: _Cuda, index: int) -> ctypes.c_int:
    device = ctypes.c_int()
    cuda.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    return device


def _pool(cuda: _Cuda, index: int) -> ctypes.c_void_p:
    pool = ctypes.c_void_p()
    cuda.call("cuDeviceGetDefaultMemPool", ctypes.byref(pool), _device(cuda, index))
    return pool


def _read(cuda: _Cuda, pool: ctypes.c_void_p) -> Pool:
    def attribute(number: int) -> int:
        value = ctypes.c_uint64()
        cuda.call("cuMemPoolGetAttribute", pool, ctypes.c_int(number), ctypes.byref(value))
        return value.value

    return Pool(attribute(_RESERVED), attribute(_USED), attribute(_RELEASE_THRESHOLD))
