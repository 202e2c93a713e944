"""What TensorFlow's allocators need in order to give memory back, and what they are once it has started.

Nothing here imports TensorFlow. Its allocators read the environment when its context is made, which the first tensor,
data set or layer's weight does; importing it, seeding, listing physical devices and `keras.Input` do not.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_ON_CPU = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
_ON_GPU = {"TF_GPU_ALLOCATOR": "cuda_malloc_async"}

# Makes a GPU's allocator take memory as it needs it, whatever a program says.
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
_GROWTH = {GROWTH: "true"}

# A pool on the CPU that comes before every other choice.
CPU_POOL = "TF_CPU_ALLOCATOR_USE_BFC"


@dataclass(frozen=True, slots=True)
class Plan:
    """The environment that makes TensorFlow's allocators give memory back.

    Attributes:
        missing: The variables to set.
        in_force: Those and the ones that are set already.
        contradicted: Notes on what somebody has set otherwise, which is theirs to decide.
        host: Whether memory on the CPU can then be given back.
    """

    missing: Mapping[str, str]
    in_force: Mapping[str, str]
    contradicted: tuple[str, ...]
    host: bool


def plan(environ: Mapping[str, str], pools: tuple[bool, ...]) -> Plan:
    """What to set in an environment.

    Args:
        environ: The environment as it is.
        pools: For each GPU whether it has memory pools.
    """
    wanted = {**_ON_CPU, **(_GROWTH if pools else {}), **(_ON_GPU if pools and all(pools) else {})}
    missing = {name: value for name, value in wanted.items() if name not in environ}
    in_force = {name: value for name, value in wanted.items() if _means(environ.get(name, value), value)}
    contradicted = (*_contradictions(environ, wanted, in_force), *_pools_on_cpu(environ))
    host = in_force.keys() >= _ON_CPU.keys() and not list(_pools_on_cpu(environ))
    return Plan(missing, in_force, contradicted, host)


def uses_device_pool(environ: Mapping[str, str]) -> bool:
    """Whether TensorFlow was told to take a GPU's memory from CUDA's own pool."""
    return all(_means(environ.get(name, ""), value) for name, value in _ON_GPU.items())


def has_started() -> bool:
    """Whether TensorFlow has made its context, and with it its allocators."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return bool(getattr(context, "_initialized", False))


def keeps_host_memory() -> bool:
    """Whether the allocator on the CPU is a pool, which gives nothing back; `False` before TensorFlow has started.

    A pool keeps statistics, malloc keeps none.
    """
    if not has_started():
        return False
    from autobatch.step.tensorflow.memory import allocator_bytes

    return allocator_bytes("CPU:0") is not None


def gpu_numbers() -> tuple[int, ...]:
    """The numbers of the GPUs that TensorFlow uses, as the CUDA driver counts them; none before it has started."""
    gpus = _tensorflow().config.get_visible_devices("GPU") if has_started() else ()
    return tuple(number_of(gpu) for gpu in gpus)


def number_of(gpu: Any) -> int:
    """The number of a physical GPU of TensorFlow's, as the CUDA driver counts those that this process may use."""
    return int(gpu.name.rpartition(":")[2])


def wait_for_gpus() -> None:
    """Returns when the GPUs have done all that they were told: what was freed on the way is free then."""
    tensorflow = _tensorflow()
    # A step that failed on the GPU says so itself; nothing can be added here.
    with suppress(tensorflow.errors.OpError, RuntimeError):
        tensorflow.test.experimental.sync_devices()


def _tensorflow() -> Any:
    return sys.modules["tensorflow"]


def _contradictions(environ: Mapping[str, str], wanted: Mapping[str, str], kept: Mapping[str, str]) -> Iterator[str]:
    for name, value in wanted.items():
        if name not in kept:
            yield f"{name}={environ[name]} was set before and is left alone; {name}={value} would give memory back."


def _pools_on_cpu(environ: Mapping[str, str]) -> Iterator[str]:
    if is_true(environ.get(CPU_POOL, "")):
        yield f"{CPU_POOL}={environ[CPU_POOL]} was set before and is left alone; it keeps memory on the CPU."


def _means(value: str, wanted: str) -> bool:
    return value == wanted or (is_true(value) and is_true(wanted))


def is_true(value: str) -> bool:
    """Whether TensorFlow takes the value of a variable for a yes."""
    return value.lower() in {"1", "true"}
