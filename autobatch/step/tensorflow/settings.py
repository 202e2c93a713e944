"""TensorFlow's process-wide settings that a trial in another process must share with its caller."""

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config


def read() -> dict[str, Any]:
    """Threads, determinism and visible GPUs, as they are set in this process."""
    return {
        "visible_gpus": [gpu.name for gpu in tf.config.get_visible_devices("GPU")],
        "inter_op_threads": int(tf.config.threading.get_inter_op_parallelism_threads()),
        "intra_op_threads": int(tf.config.threading.get_intra_op_parallelism_threads()),
        "deterministic": bool(config.is_op_determinism_enabled()),
    }


def write(values: dict[str, Any]) -> None:
    """Sets what `read` returned elsewhere, and lets a GPU grow, since the caller's process may hold part of it."""
    tf.config.threading.set_inter_op_parallelism_threads(values["inter_op_threads"])
    tf.config.threading.set_intra_op_parallelism_threads(values["intra_op_threads"])
    if values["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    visible = [gpu for gpu in tf.config.list_physical_devices("GPU") if gpu.name in values["visible_gpus"]]
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:
        tf.config.experimental.set_memory_growth(gpu, True)
