"""What TensorFlow's own allocator says: bytes in use now, and at their highest since the last reset.

And the one place that knows which accelerator steps run on: the first one that TensorFlow uses.
"""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autobatch._text import MIB
from autobatch.step.accelerator import Accelerator
from autobatch.step.tensorflow.sharing import GROWTH, number_of

_CPU, _GPU = "CPU:0", "GPU:0"


def accelerator(config: Any = tf.config, environ: Mapping[str, str] | None = None) -> Accelerator | None:
    """The GPU that steps run on, `None` on a CPU.

    Args:
        config: What answers like `tf.config`.
        environ: The environment that TensorFlow reads; `None` takes this process' own.
    """
    if not config.list_logical_devices("GPU"):
        return None
    # TensorFlow counts in the driver's order, whatever the order in which somebody has named those to be used.
    gpu = min(config.get_visible_devices("GPU"), key=number_of)
    parts = config.get_logical_device_configuration(gpu)
    figures = allocator_bytes(_GPU, config)
    return Accelerator(
        name=_GPU,
        number=number_of(gpu),
        in_use_bytes=figures[0] if figures else 0,
        limit_bytes=int(parts[0].memory_limit) * MIB if parts else None,
        grows=_grows(gpu, config, os.environ if environ is None else environ),
    )


def device_name() -> str:
    """The first logical accelerator, or the CPU."""
    return _GPU if tf.config.list_logical_devices("GPU") else _CPU


def accelerator_names() -> tuple[str, ...]:
    """All physical GPUs that TensorFlow can use; asking does not start them."""
    return tuple(device.name.partition("device:")[2] for device in tf.config.list_physical_devices("GPU"))


def allocator_bytes(device: str, config: Any = tf.config) -> tuple[int, int] | None:
    """Current and peak bytes in use, or `None` where the allocator keeps no statistics (malloc on a CPU)."""
    try:
        info = config.experimental.get_memory_info(device)
    except (ValueError, tf.errors.OpError):
        return None
    current, peak = int(info["current"]), int(info["peak"])
    return (current, peak) if peak else None


def reset_peak(device: str) -> None:
    """Starts a new peak; does nothing where the allocator keeps no statistics."""
    try:
        tf.config.experimental.reset_memory_stats(device)
    except (ValueError, tf.errors.OpError):
        return


def _grows(gpu: Any, config: Any, environ: Mapping[str, str]) -> bool:
    # The variable wins over what the program says, and only these two words do.
    forced = {"true": True, "false": False}.get(environ.get(GROWTH, ""))
    return bool(config.experimental.get_memory_growth(gpu)) if forced is None else forced
