"""The GPUs that this process may use, their memory, and who holds it.

Covered: no library, no driver, no device, a GPU that was lost, figures that are not supported or not permitted: each is
a note, none an error; processes that compute and that draw, in MIG slices too. Not covered: GPUs of other makers;
CUDA's own order of unlike GPUs where `CUDA_DEVICE_ORDER` isn't `PCI_BUS_ID` (NVML numbers them by their bus; that is a
note, too); clients of an MPS server, which the driver books on the server.

What this process holds: the driver's figure counts all (CUDA's context, libraries, what allocators hold). In a
container it may list the machine's numbers of processes, so that this one is not found, or another one of the same
number is. CUDA's memory pool then tells what it holds, which is all but the context and the libraries; other allocators
of the framework tell what is in use of what they hold, which is the least that it can be.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from autobatch.memory.sensors.nvml import ask, list_processes, nvml_session, read_gpu_memory, used_by_process
from autobatch.memory.types import Allocator, Device, DeviceUse, OwnFrom

_T = TypeVar("_T")
_OTHERS = (
    "NVML books less on a process of this number than this one has in use, so it is another one: in a container NVML "
    "may list the host's numbers."
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that `CUDA_VISIBLE_DEVICES` can name: a GPU, or a MIG slice of one."""

    uuid: str
    handle: Any  # what NVML calls it
    name: str | None = None
    old_name: str | None = None  # the name that older drivers gave a slice ("MIG-GPU-…/1/0")
    slices: tuple["Slot", ...] = ()
    sliced: bool = False  # whether the GPU is in MIG mode: it can then be used through a slice only


def read_devices(
    pid: int, nvml: Any = None, environ: Mapping[str, str] | None = None, proc: Path = Path("/proc")
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Returns the GPUs that a process may use, in its own order, and notes on what could not be read.

    A caller that asks often makes this cheap by asking within `nvml_session`. `CUDA_VISIBLE_DEVICES` is looked up in
    `environ`; the files under `proc` tell whether NVML's numbers of processes are this machine's.
    """
    return query_visible(lambda nvml, slots, notes: _devices(nvml, slots, pid, proc, notes), nvml, environ)


def query_visible(
    question: Callable[[Any, Sequence[Slot], list[str]], Iterator[_T]], nvml: Any, environ: Mapping[str, str] | None
) -> tuple[tuple[_T, ...], tuple[str, ...]]:
    """Returns what NVML answers about the GPUs that this process may use, and notes on what it does not.

    The `question` gets NVML, the GPUs in this process' order, and the list that takes notes.
    """
    with nvml_session(nvml) as (running, why):
        if running is None:
            return (), (f"No GPU is counted: {why}.",)
        try:
            count = running.nvmlDeviceGetCount()
        except running.NVMLError as error:
            return (), (f"No GPU is counted: NVML does not count them ({error}).",)
        if count == 0:
            return (), ("No GPU is counted: NVML runs and names none.",)
        environ = os.environ if environ is None else environ
        notes: list[str] = []
        gpus = [_slot(running, number, notes) for number in range(count)]
        slots, hidden = choose_visible(gpus, environ.get("CUDA_VISIBLE_DEVICES"))
        answers = tuple(question(running, slots, notes))
        return answers, (*hidden, *order_notes(gpus, environ), *notes)


def _devices(nvml: Any, slots: Sequence[Slot], pid: int, proc: Path, notes: list[str]) -> Iterator[Device]:
    for index, slot in enumerate(slots):
        try:
            memory = read_gpu_memory(nvml, slot.handle)
        except nvml.NVMLError as error:
            notes.append(f"GPU:{index} ({slot.uuid}) is left out: it does not tell its memory ({error}).")
            continue
        own, why = used_by_process(nvml, pid, slot.handle, memory.total_bytes, proc)
        if why:
            notes.append(f"GPU:{index}: {why}")
        yield Device(
            index=index,
            uuid=slot.uuid,
            name=slot.name or "GPU",
            total_bytes=memory.total_bytes,
            free_bytes=memory.free_bytes,
            used_by_this_process_bytes=own,
            reserved_bytes=memory.reserved_bytes,
            own_from=None if own is None else "driver",
        )


def _slot(nvml: Any, number: int, notes: list[str]) -> Slot | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid = nvml.nvmlDeviceGetUUID(handle)
    except nvml.NVMLError as error:
        notes.append(f"GPU {number} of this machine is left out: it does not answer ({error}).")
        return None
    sliced = (ask(nvml, "nvmlDeviceGetMigMode", handle) or [0])[0] == 1
    slices = tuple(_slices(nvml, handle, uuid)) if sliced else ()
    return Slot(uuid, handle, ask(nvml, "nvmlDeviceGetName", handle), slices=slices, sliced=sliced)


def _slices(nvml: Any, gpu: Any, uuid: str) -> Iterator[Slot]:
    """Yields the MIG slices of a GPU; the numbers have gaps."""
    for number in range(ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
            own = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError:
            continue
        yield Slot(own, handle, ask(nvml, "nvmlDeviceGetName", handle), old_name=_old_name(nvml, handle, uuid))


def _old_name(nvml: Any, handle: Any, uuid: str) -> str | None:
    numbers = [ask(nvml, f"nvmlDeviceGet{part}InstanceId", handle) for part in ("Gpu", "Compute")]
    return None if None in numbers else f"MIG-{uuid}/{numbers[0]}/{numbers[1]}"


def read_device_uses(
    nvml: Any = None, environ: Mapping[str, str] | None = None
) -> tuple[tuple[DeviceUse, ...], tuple[str, ...]]:
    """Returns who holds memory of the GPUs that this process may use, and notes on what could not be read.

    A process that computes and draws on the same GPU is told once, with the larger figure.
    """
    return query_visible(_uses, nvml, environ)


def _uses(nvml: Any, slots: Sequence[Slot], notes: list[str]) -> Iterator[DeviceUse]:
    for index, slot in enumerate(slots):
        total_bytes = None
        with suppress(nvml.NVMLError):
            total_bytes = read_gpu_memory(nvml, slot.handle).total_bytes
        computing, why = list_processes(nvml, "Compute", slot.handle, total_bytes)
        if computing is None:
            notes.append(f"GPU:{index}: there is no telling who holds its memory ({why}).")
        # Slices and the GPUs of servers draw nothing: no answer about that is no loss.
        drawing, _ = list_processes(nvml, "Graphics", slot.handle, total_bytes)
        computing, drawing = computing or {}, drawing or {}
        for pid in computing | drawing:
            known = [used for used in (computing.get(pid), drawing.get(pid)) if used is not None]
            yield DeviceUse(index, pid, max(known, default=None))


def add_own_use(device: Device, allocator: Allocator | None) -> tuple[Device, tuple[str, ...]]:
    """Returns a device with the best figure of what this process holds of it, and notes on whose it is.

    The allocator's figures must have been read before the driver's: what it takes meanwhile makes the driver's larger,
    never smaller.
    """
    if allocator is None or allocator.device_index != device.index:
        return device, ()
    held, owner, what = _held(allocator)
    driver = device.used_by_this_process_bytes
    if driver is not None and driver >= held:
        return device, ()
    doubt = () if driver is None else (f"GPU:{device.index}: {_OTHERS}",)
    known = replace(device, used_by_this_process_bytes=held, own_from=owner)
    return known, (*doubt, f"GPU:{device.index}: what this process holds is {what}.")


def _held(allocator: Allocator) -> tuple[int, OwnFrom, str]:
    if allocator.pool_bytes is not None:
        return allocator.pool_bytes, "pool", "what CUDA's memory pool tells: without CUDA's own context"
    least = "what the framework's allocator has in use: it may hold more, which counts as other processes'"
    return allocator.current_bytes, "allocator", least


def choose_visible(gpus: Sequence[Slot | None], wanted: str | None) -> tuple[tuple[Slot, ...], tuple[str, ...]]:
    """Returns the devices that `wanted`, the value of `CUDA_VISIBLE_DEVICES`, leaves, in its order, and notes.

    Follows the CUDA Programming Guide, "CUDA Environment Variables": numbers, identities or their unique beginnings; an
    entry that names nothing hides itself and all that follow it. A GPU in MIG mode is used through its first slice
    where none is named. The machine's GPUs come in the driver's order, `None` for one that doesn't answer.
    """
    if wanted is None:
        chosen = [_usable(gpu) for gpu in gpus if gpu is not None]
        return tuple(slot for slot in chosen if slot is not None), ()
    if wanted.strip() in {"", "-1"}:
        return (), (f"CUDA_VISIBLE_DEVICES={wanted!r} hides every GPU.",)
    found: list[Slot] = []
    for entry in wanted.split(","):
        slot = _named(gpus, entry.strip())
        if slot is None:
            why = f"{entry.strip()!r} names no one GPU that answers; it and what follows it is hidden."
            return tuple(found), (f"CUDA_VISIBLE_DEVICES={wanted!r}: {why}",)
        if slot not in found:
            found.append(slot)
    return tuple(found), ()


def order_notes(gpus: Sequence[Slot | None], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns a note where the numbers of GPUs may mean other ones to CUDA than to the driver.

    CUDA puts the fastest first, unless it is told to go by the bus, as the driver does. Among GPUs of one kind that
    makes no difference, and a UUID means the same to both.
    """
    names = sorted({gpu.name for gpu in gpus if gpu is not None and gpu.name})
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    by_number = wanted is None or any(entry.strip().isdigit() for entry in wanted.split(","))
    if len(names) < 2 or not by_number or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return ()
    why = "CUDA numbers the fastest first, these figures go by the bus"
    return (
        f"GPUs of several kinds ({', '.join(names)}): {why}. With CUDA_DEVICE_ORDER=PCI_BUS_ID both mean the same.",
    )


def _named(gpus: Sequence[Slot | None], entry: str) -> Slot | None:
    if entry.isascii() and entry.isdigit():
        gpu = gpus[int(entry)] if int(entry) < len(gpus) else None
        return None if gpu is None else _usable(gpu)
    there = [gpu for gpu in gpus if gpu is not None]
    if entry.startswith("MIG-"):
        return _only([part for gpu in there for part in gpu.slices if _called(part, entry)])
    if entry.startswith("GPU-"):
        gpu = _only([gpu for gpu in there if _called(gpu, entry)])
        return None if gpu is None else _usable(gpu)
    return None


def _called(slot: Slot, entry: str) -> bool:
    # A number at the end of an old name must not match the beginning of a longer one: /1/0 is not /1/01.
    return slot.uuid.startswith(entry) or slot.old_name == entry


def _only(slots: list[Slot]) -> Slot | None:
    return slots[0] if len(slots) == 1 else None


def _usable(gpu: Slot) -> Slot | None:
    if gpu.sliced:
        return gpu.slices[0] if gpu.slices else None
    return gpu
