"""Sharing memory with others: allocators that can give memory back, and giving it back.

TensorFlow's default allocators keep what they have taken for as long as the process lives. `share_memory` chooses
others before TensorFlow starts; `release_memory` then returns what a smaller micro-batch no longer needs.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from autobatch.backend import current_backend, find_backend
from autobatch.errors import TooLateError
from autobatch.memory.sensors.cuda_pool import find_pools
from autobatch.memory.sensors.malloc import can_return_freed_memory, keep_freed_memory, return_freed_memory
from autobatch.memory.sensors.procfs import read_process

_NO_RETURN = "This system's C library does not return freed memory on demand."


@dataclass(frozen=True, slots=True)
class Sharing:
    """What `share_memory` has set up; `print` shows it.

    Attributes:
        settings: The environment variables that are in force for it.
        keeps_heap: Whether the C library keeps freed memory for the next step until it is told to return it.
        notes: What was not set up, and why.
    """

    settings: Mapping[str, str]
    keeps_heap: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        heap = ("The heap keeps freed memory for the next step until it is given back.",) if self.keeps_heap else ()
        return "\n".join((*(f"{name}={value}" for name, value in self.settings.items()), *heap, *self.notes))


@dataclass(frozen=True, slots=True)
class ReleasedMemory:
    """What went back to the system, and what cannot.

    Attributes:
        host_bytes: What this process occupied and no longer does; 0 if it grew meanwhile.
        device_bytes: What the pools of its GPUs held and no longer do, `None` where no pool can be trimmed.
        holds: From "host" or "device" to the reason why memory that is free may stay with this process.
    """

    host_bytes: int
    device_bytes: int | None = None
    holds: Mapping[str, str] = field(default_factory=dict)


def share_memory(*, driver: Any = None, environ: MutableMapping[str, str] | None = None) -> Sharing:
    """Sets up allocators that can give memory back, before TensorFlow starts; returns what was set up and what not.

    On a CPU TensorFlow then takes memory from the C library, whose heap keeps what is freed until `release_memory`
    returns it; on a GPU from CUDA's own pool, no more than it needs. Importing Keras or TensorFlow before is fine: the
    first layer, tensor or data set starts TensorFlow. `CUDA_VISIBLE_DEVICES` has to be set before, and a process that
    is forked afterwards cannot use a GPU: the driver is started to ask what it can. Variables that are set already are
    left alone. Calling it again changes nothing.

    Args:
        driver: What answers like libcuda; `None` takes libcuda.
        environ: The environment that TensorFlow reads; `None` takes this process' own.

    Raises:
        ModelError: Keras runs on a backend without an engine.
        TooLateError: TensorFlow has started with allocators that keep what they have.

    Example:
        >>> import autobatch
        >>> print(autobatch.share_memory())  # doctest: +SKIP
        TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1
        The heap keeps freed memory for the next step until it is given back.
        No GPU is set up: there is no CUDA driver (libcuda.so.1 is not found).
    """
    backend = current_backend()
    environ = os.environ if environ is None else environ
    pools, notes = find_pools(driver)
    plan = backend.plan_sharing(environ, pools)
    if backend.has_started() and (plan.missing or (plan.host and backend.why_host_memory_stays())):
        said = " ".join(f"{name}={value}" for name, value in (plan.missing or plan.in_force).items())
        raise TooLateError(
            f"{backend.title} has started: its first tensor, layer or data set has chosen allocators that keep what "
            "they have, and a process cannot change them. Call autobatch.share_memory() right below the imports, or "
            f"start Python with {said} in its environment."
        )
    environ.update(plan.missing)
    # Beside a GPU the host's memory is the loaders', whose threads would wait for each other at a single heap.
    keeps_heap, heap_notes = keep_freed_memory(environ) if plan.host and not pools else (False, ())
    # Told to take from a pool where there is none, TensorFlow aborts the process.
    without = ", ".join(f"GPU:{index}" for index, supported in enumerate(pools) if not supported)
    if without:
        notes = (*notes, f"No GPU's memory can be given back: the driver has no memory pools for {without}.")
    return Sharing(plan.in_force, keeps_heap, (*plan.contradicted, *heap_notes, *notes))


def release_memory(*, driver: Any = None) -> ReleasedMemory:
    """Returns memory that this process has freed to the system, as far as its allocators can; never raises.

    What is in use stays. The more there is to return, the longer it takes; with nothing to return, it is quick.

    Args:
        driver: What answers like libcuda; `None` takes libcuda.

    Example:
        >>> release_memory().host_bytes >= 0
        True
    """
    before = read_process()[0].rss_bytes
    return_freed_memory()
    host_bytes = max(0, before - read_process()[0].rss_bytes)
    backend = find_backend() if "keras" in sys.modules else None  # without Keras no framework holds anything
    device_bytes, why = (None, None) if backend is None else backend.release_device_memory(driver)
    stays = (backend and backend.why_host_memory_stays()) or (None if can_return_freed_memory() else _NO_RETURN)
    held = {"host": stays, "device": why}
    return ReleasedMemory(
        host_bytes, device_bytes, {name: reason for name, reason in held.items() if reason is not None}
    )
