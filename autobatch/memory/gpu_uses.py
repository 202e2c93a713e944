"""Which processes hold memory of the GPUs, as the driver books it.

Covered: processes that compute and that draw, in MIG slices too; bytes that the driver leaves open. Not covered:
clients of an MPS server, which the driver books on the server.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autobatch.memory.facts import DeviceUse
from autobatch.memory.gpu import ask_of_visible
from autobatch.memory.gpu_memory import gpu_memory
from autobatch.memory.gpu_processes import listed
from autobatch.memory.visible import Slot


def read_device_uses(
    nvml: Any = None, environ: Mapping[str, str] | None = None
) -> tuple[tuple[DeviceUse, ...], tuple[str, ...]]:
    """Returns who holds memory of the GPUs that this process may use, and notes on what could not be read.

    A process that computes and draws on the same GPU is told once, with the larger figure.

    Args:
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.
        environ: Where `CUDA_VISIBLE_DEVICES` is looked up; `None` takes this process' environment.

    Example:
        >>> from autobatch.testing import FakeGpu, FakeNvml
        >>> read_device_uses(FakeNvml(FakeGpu("GPU-1", processes={7: 900})), {})[0]
        (DeviceUse(index=0, pid=7, used_bytes=900),)
    """
    return ask_of_visible(_uses, nvml, environ)


def _uses(nvml: Any, slots: Sequence[Slot], notes: list[str]) -> Iterator[DeviceUse]:
    for index, slot in enumerate(slots):
        total_bytes = _total(nvml, slot)
        computing, why = listed(nvml, "Compute", slot.handle, total_bytes)
        if computing is None:
            notes.append(f"GPU:{index}: there is no telling who holds its memory ({why}).")
        # Slices and the GPUs of servers draw nothing: no answer about that is no loss.
        drawing, _ = listed(nvml, "Graphics", slot.handle, total_bytes)
        computing, drawing = computing or {}, drawing or {}
        for pid in computing | drawing:
            known = [used for used in (computing.get(pid), drawing.get(pid)) if used is not None]
            yield DeviceUse(index, pid, max(known, default=None))


def _total(nvml: Any, slot: Slot) -> int | None:
    try:
        return gpu_memory(nvml, slot.handle).total_bytes
    except nvml.NVMLError:
        return None
