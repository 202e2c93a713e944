"""Sharing memory with others: allocators that can give memory back, and giving it back.

TensorFlow's default allocators keep what they have taken for as long as the process lives. `share_memory` chooses
others before TensorFlow starts; `release_memory` then returns what a smaller micro-batch no longer needs.
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from autobatch.backend.tensorflow import allocator as tensorflow
from autobatch.errors import TooLateError
from autobatch.memory.sensors.cuda_pool import find_pools, read_pool, trim_pool
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
        TooLateError: TensorFlow has started with allocators that keep what they have.

    Example:
        >>> import autobatch
        >>> print(autobatch.share_memory())  # doctest: +SKIP
        TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1
        The heap keeps freed memory for the next step until it is given back.
        No GPU is set up: there is no CUDA driver (libcuda.so.1 is not found).
    """
    environ = os.environ if environ is None else environ
    pools, notes = find_pools(driver)
    plan = tensorflow.plan_sharing(environ, pools)
    if tensorflow.has_started() and (plan.missing or (plan.host and tensorflow.keeps_host_memory())):
        raise TooLateError(_too_late(plan.missing or plan.in_force))
    environ.update(plan.missing)
    # Beside a GPU the host's memory is the loaders', whose threads would wait for each other at a single heap.
    keeps_heap, heap_notes = keep_freed_memory(environ) if plan.host and not pools else (False, ())
    return Sharing(plan.in_force, keeps_heap, (*plan.contradicted, *heap_notes, *notes, *_without_pools(pools)))


def contradictions(environ: Mapping[str, str], pools: tuple[bool, ...]) -> tuple[str, ...]:
    """Returns a note on each variable that keeps `share_memory` from sharing.

    Args:
        environ: The environment that TensorFlow reads.
        pools: For each visible GPU whether it has memory pools.

    Example:
        >>> contradictions({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0"}, ())[0][:46]
        'TF_ONEDNN_USE_SYSTEM_ALLOCATOR=0 was set befor'
    """
    return tensorflow.plan_sharing(environ, pools).contradicted


def release_memory(*, driver: Any = None) -> ReleasedMemory:
    """Gives memory that this process has freed back to the system, as far as its allocators can; never raises.

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
    device_bytes, why = _trim_pools(tensorflow.gpu_numbers(), driver)
    held = {"host": _why_host_holds(), "device": why}
    return ReleasedMemory(
        host_bytes, device_bytes, {name: reason for name, reason in held.items() if reason is not None}
    )


def device_pool_bytes(number: int, driver: Any = None) -> int | None:
    """Returns what this process' memory pool holds of a GPU, `None` where TensorFlow does not allocate from one.

    Args:
        number: Of the GPU, as CUDA counts them.
        driver: What answers like libcuda; `None` takes libcuda.
    """
    if not tensorflow.uses_device_pool(os.environ):
        return None
    pool, _ = read_pool(number, driver)
    return None if pool is None else pool.reserved_bytes


def _why_host_holds() -> str | None:
    if tensorflow.keeps_host_memory():
        return _held_by_pool("CPU")
    return None if can_return_freed_memory() else _NO_RETURN


def _trim_pools(numbers: tuple[int, ...], driver: Any) -> tuple[int | None, str | None]:
    """The bytes that went back to the GPUs, and why some stay; both `None` without a GPU."""
    if not numbers:
        return None, None
    tensorflow.wait_for_gpus()
    trims = [trim_pool(number, driver=driver) for number in numbers]
    # TensorFlow makes a pool that it uses keep what is freed; CUDA's own default is to keep nothing.
    used = [trim for trim, _ in trims if trim is not None and trim.before.keeps_bytes]
    reasons = [note for _, notes in trims for note in notes]
    if len(used) + len(reasons) < len(numbers):
        reasons.append(_held_by_pool("GPU"))
    return sum(trim.returned_bytes for trim in used) if used else None, " ".join(reasons) or None


def _held_by_pool(device: str) -> str:
    return (
        f"TensorFlow's default allocator on a {device} keeps what it has; call autobatch.share_memory() before "
        "TensorFlow starts."
    )


def _without_pools(pools: tuple[bool, ...]) -> Iterator[str]:
    # Told to take from a pool where there is none, TensorFlow aborts the process.
    if not all(pools):
        names = ", ".join(f"GPU:{index}" for index, supported in enumerate(pools) if not supported)
        yield f"No GPU's memory can be given back: the driver has no memory pools for {names}."


def _too_late(settings: Mapping[str, str]) -> str:
    said = " ".join(f"{name}={value}" for name, value in settings.items())
    return (
        "TensorFlow has started: its first tensor, layer or data set has chosen allocators that keep what they have, "
        "and a process cannot change them. Call autobatch.share_memory() right below the imports, or start Python "
        f"with {said} in its environment."
    )
