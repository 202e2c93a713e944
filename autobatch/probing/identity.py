"""What an answer depends on: if any of it differs, an earlier answer is not an answer."""

import hashlib
import inspect
import json
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import keras

from autobatch.backend import settings
from autobatch.data.batch import Batch, leaves
from autobatch.memory.reading import MemoryReading
from autobatch.memory.sensors.nvml import read_driver
from autobatch.memory.types import Driver
from autobatch.probing.anonymous import without_made_up_names
from autobatch.probing.own_code import own_code
from autobatch.probing.parcel import configuration

# Variables that change how much memory a step takes, how fast it is, or which device it runs on.
_ENVIRONMENT = ("TF_", "KERAS_", "XLA_", "CUDA_", "OMP_", "MKL_", "DNNL_", "ONEDNN_", "GLIBC_", "MALLOC_", "LD_PRELOAD")
_PACKAGES = ("keras-autobatch", "keras", "tensorflow", "numpy")


def identity(
    model: Any,
    samples: Batch,
    reading: MemoryReading,
    question: Mapping[str, Any],
    step: str = "train",
    *,
    driver: Callable[[], tuple[Driver | None, tuple[str, ...]]] = read_driver,
) -> dict[str, Any] | None:
    """Everything that the memory and speed of a model's steps depend on, as JSON-ready values.

    Args:
        model: A Keras model.
        samples: A few samples in the form that training will use.
        reading: Of this machine.
        question: What was asked for.
        step: What the trials run.
        driver: Tells of the driver of GPUs, where there are any.

    Returns:
        `None` where that cannot be written down: a model without a configuration, or code without a source.
    """
    try:
        config = json.dumps(without_made_up_names(configuration(model, step)), sort_keys=True)
        code = sorted({_source(item) for item in own_code(model, step)})
    except Exception:  # noqa: BLE001 - any get_config may raise anything; then the answer is just not kept
        return None
    return {
        "model": hashlib.sha256(config.encode()).hexdigest(),
        "code": code,
        "frozen": [bool(variable.trainable) for variable in model.variables],
        "samples": [[str(array.dtype), list(array.shape[1:])] for array in leaves((samples.x, samples.y))],
        "weighted": samples.sample_weight is not None,
        "policy": [keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()],
        "compile": [bool(model.jit_compile), bool(model.run_eagerly)],
        "framework": settings(),
        "environment": {key: os.environ[key] for key in sorted(os.environ) if key.startswith(_ENVIRONMENT)},
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": [platform.machine(), platform.python_version(), _processor(), os.cpu_count()],
        "host": reading.host.total_bytes,
        "devices": [[device.uuid, device.name, device.total_bytes] for device in reading.devices],
        "driver": _version_of(driver()[0]) if reading.devices else None,
        "question": dict(question),
    }


def _source(code: Any) -> str:
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:  # importlib's PackageNotFoundError: a checkout, or a build under another name
        return "unknown"


def _version_of(driver: Driver | None) -> str | None:
    return None if driver is None else driver.version


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a pseudo-file, read line by line
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
