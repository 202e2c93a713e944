"""Which devices `CUDA_VISIBLE_DEVICES` leaves to this process, in which order.

Follows the CUDA Programming Guide, "CUDA Environment Variables": numbers, identities or their unique beginnings; an
entry that names nothing hides itself and all that follow it. A GPU in MIG mode is used through its first slice where
none is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that `CUDA_VISIBLE_DEVICES` can name: a GPU, or a MIG slice of one."""

    uuid: str
    handle: Any  # what NVML calls it
    name: str | None = None
    old_name: str | None = None  # the name that older drivers gave a slice ("MIG-GPU-…/1/0")
    slices: tuple["Slot", ...] = ()
    sliced: bool = False  # whether the GPU is in MIG mode: it can then be used through a slice only


def choose_visible(gpus: Sequence[Slot | None], wanted: str | None) -> tuple[tuple[Slot, ...], tuple[str, ...]]:
    """Returns the devices that `wanted`, the value of `CUDA_VISIBLE_DEVICES`, leaves, in its order, and notes.

    The machine's GPUs come in the driver's order, `None` for one that doesn't answer.
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
