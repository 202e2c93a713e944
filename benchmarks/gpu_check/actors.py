"""Processes that hold, take, or keep allocating memory beside what is checked: `python actors.py ROLE JSON`.

The JSON names the control group to join before anything is taken, or none, and whose memory is meant: "gpu" or "host".
Every actor prints a line of JSON for what happens, with the moment on the clock that all processes share.

- `hold`: takes `amount` bytes, and keeps them until it is ended.
- `take`: takes `amount` bytes at `rate` bytes a second, keeps them for `hold_s` seconds, gives them back and ends. What
  is not there it asks for again, as soon as somebody has let go of it, until nobody has for `patience_s` seconds.
- `churn`: takes `amount` bytes, reads them back and gives them back, 20 times a second, as a training does that is not
  ours; ends with status 1 at the first time that they are not there.
- `search`: takes twice as much each time until there is no more, as a search by trial and error does, and whatever
  somebody lets go of, until the file `stop` is there.
- `tensorflow`: takes 512 MiB of the GPU by TensorFlow, says what it reads of itself, and ends.

Memory of a GPU is that of the first one that `CUDA_VISIBLE_DEVICES` leaves, through the driver's own functions.
"""

import contextlib
import ctypes
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

if __name__ == "__main__":
    PART: dict[str, Any] = json.loads(sys.argv[2])
    if PART.get("group"):  # before anything is imported: all that it occupies counts
        Path(PART["group"], "cgroup.procs").write_text("0", encoding="utf-8")

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
    """The memory of the first GPU that `CUDA_VISIBLE_DEVICES` leaves."""

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


MIB = 1 << 20
FAILED = 1
STEP_S = 0.05
_EDGE_S = 0.001
_PATIENCE_S = 5


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


def memory_of(part: dict[str, Any]) -> Memory:
    """Where an actor takes memory: of the GPU, of the group that stands for one, or of the machine."""
    if part["of"] == "gpu":
        return Cuda()
    return Host(Path(part["group"]) if part.get("group") else None)


def hold(memory: Memory, part: dict[str, Any]) -> int:
    """Takes it all at once, and keeps it until somebody says a word."""
    handle = memory.take(part["amount"])
    say("held", held=part["amount"])
    if isinstance(memory, Cuda):
        say("driver", free_and_total=memory.free_and_total(), uuids=memory.uuids())
    say("own", **_own())
    sys.stdin.readline()
    memory.give(handle)
    say("held", held=0)
    return 0


def take(memory: Memory, part: dict[str, Any]) -> int:
    """Takes piece by piece at a rate; waits for what is not there."""
    step = max(MIB, int(part["rate"] * STEP_S) // MIB * MIB)
    handles: list[Any] = []
    held = waited = 0
    while held + MIB <= part["amount"]:
        began = time.monotonic()
        size = min(step, (part["amount"] - held) // MIB * MIB)
        try:
            handles.append(memory.take(size))
            held, waited = held + size, 0
            say("held", held=held)
        except OutOfMemoryError:
            # Of a large card a step is more than a training leaves free: the last of it is taken in smaller ones.
            step = max(MIB, step // 2 // MIB * MIB)
            waited += 1
        time.sleep(max(0.0, began + STEP_S - time.monotonic()))
        if waited * STEP_S > part.get("patience_s", _PATIENCE_S):
            break  # nobody lets go of any more
    say("has", held=held, waited=waited)
    time.sleep(part["hold_s"])
    intact = all(memory.is_intact(handle) for handle in handles)
    for handle in handles:
        memory.give(handle)
    say("held", held=0)
    return 0 if intact else FAILED


def churn(memory: Memory, part: dict[str, Any]) -> int:
    rounds = 0
    while True:
        try:
            handle = memory.take(part["amount"])
        except OutOfMemoryError:
            say("failed", rounds=rounds)
            return FAILED
        time.sleep(STEP_S / 2)
        if not memory.is_intact(handle):
            say("spoiled", rounds=rounds)
            return FAILED
        memory.give(handle)
        rounds += 1
        say("round", rounds=rounds)
        time.sleep(STEP_S / 2)


def search(memory: Memory, part: dict[str, Any]) -> int:
    """Doubles until there is no more, and stays at the edge until it is told to stop.

    Others give back and take again: one look for the last byte could fall into a moment in which they hold theirs, and
    on a busy machine any span of time could.
    """
    handles: list[Any] = []
    size, found, full = part["amount"], 0, False
    while not (full and Path(part["stop"]).exists()):
        try:
            handles.append(memory.take(size))
            found, size = found + size, 2 * size
        except OutOfMemoryError:
            if size == MIB and not full:
                full = True
                say("full", held=found)
            size = max(MIB, size // 2)
            time.sleep(_EDGE_S)  # a look is cheap, and others need the processor
    say("had", held=found)
    for handle in handles:
        memory.give(handle)
    return 0


def _own() -> dict[str, Any]:
    from autobatch.memory.sensors.gpu import read_devices
    from autobatch.memory.sensors.procfs import read_process

    devices, notes = read_devices(os.getpid())
    own = devices[0].used_by_this_process_bytes if devices else None
    return {"pid": os.getpid(), "device_bytes": own, "rss_bytes": read_process()[0].rss_bytes, "notes": notes}


def tensorflow(_: Memory, part: dict[str, Any]) -> int:
    """Takes memory by TensorFlow, and says what it reads of itself."""
    import tensorflow as tf

    from autobatch.backend import read_memory_here

    with tf.device("GPU:0"):
        taken = tf.ones((part["amount"] // 4,)) + 1
    float(taken[0])
    reading = read_memory_here()
    device = reading.devices[0]
    own = {"own": device.used_by_this_process_bytes, "own_from": device.own_from, "notes": reading.notes}
    say("own", taken=part["amount"], **own)
    return 0


ROLES = {"tensorflow": tensorflow, "hold": hold, "take": take, "churn": churn, "search": search}

if __name__ == "__main__":
    sys.exit(ROLES[sys.argv[1]](memory_of(PART), PART))
