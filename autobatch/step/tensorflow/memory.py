"""What TensorFlow's own allocator says: bytes in use now, and at their highest since the last reset."""

import tensorflow as tf


def device_name() -> str:
    """The first logical accelerator, or the CPU."""
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"


def accelerator_names() -> tuple[str, ...]:
    """All physical GPUs that TensorFlow can use; asking does not start them."""
    return tuple(device.name.partition("device:")[2] for device in tf.config.list_physical_devices("GPU"))


def allocator_bytes(device: str) -> tuple[int, int] | None:
    """Current and peak bytes in use, or `None` where the allocator keeps no statistics (malloc on a CPU)."""
    try:
        info = tf.config.experimental.get_memory_info(device)
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
