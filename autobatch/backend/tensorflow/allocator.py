"""TensorFlow's allocators: what they will be, what they hold, and what they need in order to release memory.

They read the environment when TensorFlow's context is made, which the first tensor, data set or layer's weight does;
importing it, seeding, listing physical devices and `keras.Input` do not. Importing this module imports no TensorFlow.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from autobatch._text import MIB
from autobatch.backend.base import Accelerator, AllocatorChoice, SharingPlan
from autobatch.memory.sensors.cuda_pool import read_pool, trim_pool
from autobatch.memory.types import Allocator

CPU, _GPU = "CPU:0", "GPU:0"
_SYSTEM = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"
_ON_CPU = {_SYSTEM: "1"}
_GPU_ALLOCATOR = "TF_GPU_ALLOCATOR"
_ON_GPU = {_GPU_ALLOCATOR: "cuda_malloc_async"}

# Makes a GPU's allocator take memory as it needs it, whatever a program says.
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
_GROWTH = {GROWTH: "true"}

# A pool on the CPU that comes before every other choice.
CPU_POOL = "TF_CPU_ALLOCATOR_USE_BFC"


def plan_sharing(environ: Mapping[str, str], pools: tuple[bool, ...]) -> SharingPlan:
    wanted = {**_ON_CPU, **(_GROWTH if pools else {}), **(_ON_GPU if pools and all(pools) else {})}
    missing = {name: value for name, value in wanted.items() if name not in environ}
    in_force = {name: value for name, value in wanted.items() if _means(environ.get(name, value), value)}
    contradicted = [
        f"{name}={environ[name]} was set before and is left alone; {name}={value} would give memory back."
        for name, value in wanted.items()
        if name not in in_force
    ]
    pooled = is_true(environ.get(CPU_POOL, ""))
    if pooled:
        contradicted.append(
            f"{CPU_POOL}={environ[CPU_POOL]} was set before and is left alone; it keeps memory on the CPU."
        )
    host = in_force.keys() >= _ON_CPU.keys() and not pooled
    return SharingPlan(missing, in_force, tuple(contradicted), host)


def uses_device_pool(environ: Mapping[str, str]) -> bool:
    """Whether TensorFlow was told to take a GPU's memory from CUDA's own pool."""
    return all(_means(environ.get(name, ""), value) for name, value in _ON_GPU.items())


def has_started() -> bool:
    """Whether TensorFlow has made its context, and with it its allocators."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return bool(getattr(context, "_initialized", False))


def why_host_memory_stays() -> str | None:
    """Why the allocator on the CPU releases nothing: a pool keeps statistics, malloc keeps none."""
    return _held_by_pool("CPU") if has_started() and allocator_bytes(CPU) is not None else None


def read_allocator(driver: Any = None) -> Allocator | None:
    found = accelerator() if has_started() else None
    if found is None:
        return None
    figures, pool = allocator_bytes(found.name), device_pool_bytes(found.number, driver)
    if figures is None and pool is None:
        return None
    current, peak = figures or (0, 0)
    return Allocator(current, peak, found.number, pool)


def device_pool_bytes(number: int, driver: Any = None) -> int | None:
    """What this process' memory pool holds of a GPU, `None` where TensorFlow does not allocate from one."""
    if not uses_device_pool(os.environ):
        return None
    pool, _ = read_pool(number, driver)
    return None if pool is None else pool.reserved_bytes


def trim_device_pools(numbers: tuple[int, ...], driver: Any = None) -> tuple[int | None, str | None]:
    """The bytes that went back to the GPUs, and why some stay; both `None` without a GPU."""
    if not numbers:
        return None, None
    tf = _tensorflow()
    # Once the GPUs have done all that they were told, what was freed on the way is free. A step that failed on one says
    # so itself; nothing can be added here.
    with suppress(tf.errors.OpError, RuntimeError):
        tf.test.experimental.sync_devices()
    trims = [trim_pool(number, driver=driver) for number in numbers]
    # TensorFlow makes a pool that it uses keep what is freed; CUDA's own default is to keep nothing.
    used = [trim for trim, _ in trims if trim is not None and trim.before.keeps_bytes]
    reasons = [note for _, notes in trims for note in notes]
    if len(used) + len(reasons) < len(numbers):
        reasons.append(_held_by_pool("GPU"))
    return sum(trim.returned_bytes for trim in used) if used else None, " ".join(reasons) or None


def gpu_numbers() -> tuple[int, ...]:
    """The numbers of the GPUs that TensorFlow uses, as the CUDA driver counts them; none before it has started."""
    gpus = _tensorflow().config.get_visible_devices("GPU") if has_started() else ()
    return tuple(number_of(gpu) for gpu in gpus)


def number_of(gpu: Any) -> int:
    """The number of a physical GPU of TensorFlow's, as the CUDA driver counts those that this process may use."""
    return int(gpu.name.rpartition(":")[2])


def _tensorflow() -> Any:
    import tensorflow as tf

    return tf


def _held_by_pool(device: str) -> str:
    return (
        f"TensorFlow's default allocator on a {device} keeps what it has; call autobatch.share_memory() before "
        "TensorFlow starts."
    )


def _means(value: str, wanted: str) -> bool:
    return value == wanted or (is_true(value) and is_true(wanted))


def is_true(value: str) -> bool:
    """Whether TensorFlow takes the value of a variable for a yes."""
    return value.lower() in {"1", "true"}


def accelerator(config: Any = None, environ: Mapping[str, str] | None = None) -> Accelerator | None:
    """The GPU that steps run on, `None` on a CPU."""
    config = config or _tensorflow().config
    if not config.list_logical_devices("GPU"):
        return None
    # TensorFlow counts in the driver's order, whatever the order in which somebody has named those to be used.
    gpu = min(config.get_visible_devices("GPU"), key=number_of)
    parts = config.get_logical_device_configuration(gpu)
    figures = allocator_bytes(_GPU, config)
    # The variable wins over what the program says, and only these two words do.
    forced = {"true": True, "false": False}.get((os.environ if environ is None else environ).get(GROWTH, ""))
    return Accelerator(
        name=_GPU,
        number=number_of(gpu),
        in_use_bytes=figures[0] if figures else 0,
        limit_bytes=int(parts[0].memory_limit) * MIB if parts else None,
        grows=bool(config.experimental.get_memory_growth(gpu)) if forced is None else forced,
    )


def device_name() -> str:
    """The first logical accelerator, or the CPU."""
    return _GPU if _tensorflow().config.list_logical_devices("GPU") else CPU


def accelerator_names() -> tuple[str, ...]:
    """All physical GPUs that TensorFlow can use; asking does not start them."""
    return tuple(device.name.partition("device:")[2] for device in _tensorflow().config.list_physical_devices("GPU"))


def allocator_bytes(device: str, config: Any = None) -> tuple[int, int] | None:
    """Current and peak bytes in use, or `None` where the allocator keeps no statistics (malloc on a CPU)."""
    tf = _tensorflow()
    try:
        info = (config or tf.config).experimental.get_memory_info(device)
    except (ValueError, tf.errors.OpError):
        return None
    current, peak = int(info["current"]), int(info["peak"])
    return (current, peak) if peak else None


def reset_peak(device: str) -> bool:
    """Starts a new peak; `False` where the allocator keeps no statistics."""
    tf = _tensorflow()
    try:
        tf.config.experimental.reset_memory_stats(device)
    except (ValueError, tf.errors.OpError):
        return False
    return True


def on_cpu(environ: Mapping[str, str], *, onednn: bool, returns_freed: bool) -> AllocatorChoice:
    """The allocator on the CPU: the one with the highest priority of those that are asked for."""
    if is_true(environ.get(CPU_POOL, "")):
        return AllocatorChoice("TensorFlow's pool (BFC)", _said(environ, CPU_POOL))
    if onednn and not is_true(environ.get(_SYSTEM, "")):
        return AllocatorChoice("oneDNN's pool (BFC)")
    because = _said(environ, _SYSTEM) if onednn else ""
    return AllocatorChoice("the C library's (malloc)", because, gives_back=returns_freed)


def on_gpu(environ: Mapping[str, str]) -> AllocatorChoice:
    grows = is_true(environ.get(GROWTH, ""))
    growth = [_said(environ, GROWTH)] if GROWTH in environ else []
    if uses_device_pool(environ):
        because = " ".join([_said(environ, _GPU_ALLOCATOR), *growth])
        return AllocatorChoice("CUDA's pool (cuda_malloc_async)", because, gives_back=True, takes_all=not grows)
    return AllocatorChoice("TensorFlow's pool (BFC)", " ".join(growth), takes_all=not grows)


def _said(environ: Mapping[str, str], name: str) -> str:
    return f"{name}={environ[name]}"
