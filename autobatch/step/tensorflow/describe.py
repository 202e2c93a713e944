"""What TensorFlow says of itself; nothing here starts it."""

from contextlib import suppress
from typing import Any

import tensorflow as tf

from autobatch.step.framework import Framework, FrameworkGpu
from autobatch.step.tensorflow.sharing import number_of


def describe(keras_version: str) -> Framework:
    """Versions, how it was built, and the GPUs that it can use.

    Args:
        keras_version: Of the Keras on top.
    """
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
