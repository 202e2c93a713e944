"""A stand-in for the CUDA driver's memory pools."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autobatch._text import GIB


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
        figures = {4: held.keeps_bytes, 5: held.reserved_bytes, 6: held.reserved_bytes, 7: held.used_bytes}
        return _write(value, figures.get(number.value, held.used_bytes))

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
