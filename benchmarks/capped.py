"""A process whose framework may take so much of one device and no more: beyond it, an error, as on a GPU that is full.

On a CPU, TensorFlow's pool for GPUs (BFC) serves with a limit; without oneDNN, which would bring a pool of its own, and
without GPUs. On a GPU, the first one is a logical device of that size, which the pool takes at once. CUDA's own pool
(`cuda_malloc_async`) keeps to no limit: there the rest of the GPU is taken by tensors, so nobody else has room on it.

`environment` is for whoever starts the process, `limit` for the process itself, before it computes anything. `told_by`
starts a program whose last line on stdout is JSON, and `parser` reads what it gives to it.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

Device = Literal["cpu", "gpu"]
Allocator = Literal["bfc", "cuda_malloc_async"]

MIB = 1 << 20
NAMES: dict[Device, str] = {"cpu": "CPU:0", "gpu": "GPU:0"}
_TAIL = 2000
_AT_ONCE = 0.97
_PIECE_BYTES = 1024 * MIB
_CHOSEN_HERE = ("TF_GPU_ALLOCATOR", "TF_FORCE_GPU_ALLOW_GROWTH")


def environment(device: Device, limit_mib: int, allocator: Allocator = "bfc") -> dict[str, str]:
    """This process' environment with what the limit needs in place of what somebody may have set."""
    inherited = {name: value for name, value in os.environ.items() if name not in _CHOSEN_HERE}
    own = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        own |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TF_CPU_ALLOCATOR_USE_BFC": "1",
            "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(limit_mib),
        }
    elif allocator == "cuda_malloc_async":
        own["TF_GPU_ALLOCATOR"] = allocator
    return inherited | own


def told_by(program: str, words: list[str], device: Device, limit_mib: int, allocator: Allocator) -> dict[str, Any]:
    """Runs a program in a process with a limit.

    Returns:
        What it tells in the last line of its output.

    Raises:
        RuntimeError: It failed; with its last words.
    """
    limits = ["--device", device, "--allocator", allocator, "--limit-mib", str(limit_mib)]
    command, environ = [sys.executable, program, *limits, *words], environment(device, limit_mib, allocator)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} ended with status {done.returncode}: {done.stderr[-_TAIL:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def parser(description: str | None) -> argparse.ArgumentParser:
    """What a program takes that `told_by` starts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=NAMES, default="cpu")
    parser.add_argument("--allocator", default="bfc")
    parser.add_argument("--limit-mib", type=int, required=True)
    return parser


def limit(device: Device, limit_mib: int, allocator: Allocator = "bfc") -> list[Any]:
    """Sets what the environment cannot say.

    Returns:
        What has to be kept for as long as the limit is to hold.

    Raises:
        RuntimeError: TensorFlow sees no GPU.
    """
    if device == "cpu":
        return []
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise RuntimeError("TensorFlow sees no GPU here. --stage cpu runs the same on a CPU.")
    tf.config.set_visible_devices(gpus[:1], "GPU")
    if allocator == "bfc":
        parts = [tf.config.LogicalDeviceConfiguration(memory_limit=limit_mib)]
        tf.config.set_logical_device_configuration(gpus[0], parts)
        return []
    tf.zeros([1])  # CUDA's context takes its part before the rest is counted
    return [tf.zeros([size], tf.int8) for size in pieces(_free_bytes() - limit_mib * MIB)]


def take_at_once(device: Device, limit_mib: int) -> None:
    """Has a CPU's pool take its memory now, as that of a GPU does: in pieces, what fits would depend on the past."""
    if device == "cpu":
        import tensorflow as tf

        tf.zeros([int(_AT_ONCE * limit_mib * MIB)], tf.int8)


def pieces(size_bytes: int) -> Iterator[int]:
    """Cuts a number of bytes, so that no tensor is larger than kernels count.

    Example:
        >>> [piece // MIB for piece in pieces(2500 * MIB)]
        [1024, 1024, 452]
    """
    while size_bytes > 0:
        yield min(size_bytes, _PIECE_BYTES)
        size_bytes -= _PIECE_BYTES


def _free_bytes() -> int:
    from autobatch.memory.read import read_memory

    return read_memory().devices[0].free_bytes
