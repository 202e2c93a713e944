"""TensorFlow's process-wide settings, which a trial shares with its caller, and what TensorFlow says of itself."""

import os
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from autobatch.backend.base import Framework, FrameworkGpu
from autobatch.backend.tensorflow.allocator import GROWTH, number_of


def read_settings(config: Any = tf.config) -> dict[str, Any]:
    """Threads, determinism and visible GPUs with their limits, as they are set in this process."""
    gpus = config.get_visible_devices("GPU")
    parts = {gpu.name: config.get_logical_device_configuration(gpu) or () for gpu in gpus}
    return {
        "visible_gpus": [gpu.name for gpu in gpus],
        "gpu_limits_mib": {name: [part.memory_limit for part in them] for name, them in parts.items() if them},
        "inter_op_threads": int(config.threading.get_inter_op_parallelism_threads()),
        "intra_op_threads": int(config.threading.get_intra_op_parallelism_threads()),
        "deterministic": bool(framework_config.is_op_determinism_enabled()),
    }


def write_settings(
    values: dict[str, Any], config: Any = tf.config, environ: MutableMapping[str, str] | None = None
) -> None:
    """Sets what `read` returned elsewhere, and lets a GPU grow, since the caller's process may hold part of it."""
    config.threading.set_inter_op_parallelism_threads(values["inter_op_threads"])
    config.threading.set_intra_op_parallelism_threads(values["intra_op_threads"])
    if values["deterministic"]:
        config.experimental.enable_op_determinism()
    visible = [gpu for gpu in config.list_physical_devices("GPU") if gpu.name in values["visible_gpus"]]
    config.set_visible_devices(visible, "GPU")
    # The variable alone goes with limits, which TensorFlow takes as a wish for all of them at once; and it wins over
    # whatever the caller's environment says.
    (os.environ if environ is None else environ)[GROWTH] = "true"
    limits = values["gpu_limits_mib"]
    for gpu in visible:
        if gpu.name in limits:
            parts = [tf.config.LogicalDeviceConfiguration(memory_limit=limit) for limit in limits[gpu.name]]
            config.set_logical_device_configuration(gpu, parts)
        elif not limits:  # growth has to be the same for all
            config.experimental.set_memory_growth(gpu, enable=True)


def describe_tensorflow(keras_version: str) -> Framework:
    build = tf.sysconfig.get_build_info()
    return Framework(
        keras_version=keras_version,
        backend="tensorflow",
        backend_version=str(tf.__version__),
        cuda_build=bool(build.get("is_cuda_build", False)),
        cuda_version=build.get("cuda_version"),
        cudnn_version=build.get("cudnn_version"),
        compute_capabilities=tuple(build.get("cuda_compute_capabilities", ())),
        onednn=_uses_onednn(),
        gpus=tuple(_gpu(device) for device in tf.config.list_physical_devices("GPU")),
    )


def _uses_onednn() -> bool | None:
    # Not part of TensorFlow's surface, and the only one to know: the default depends on the processor.
    with suppress(ImportError, AttributeError):
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    return None


def _gpu(device: Any) -> FrameworkGpu:
    try:
        details = tf.config.experimental.get_device_details(device)
    except (ValueError, tf.errors.OpError):
        details = {}
    capability = details.get("compute_capability")
    written = None if capability is None else ".".join(map(str, capability))
    return FrameworkGpu(number_of(device), details.get("device_name"), written)
