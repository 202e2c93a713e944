"""Findings about GPUs: what the driver shows beside what TensorFlow can use."""

from collections.abc import Iterator

from autobatch._text import counted
from autobatch.doctor.finding import Finding, ok, warning
from autobatch.doctor.surroundings import Surroundings

_LIBRARIES = (
    "pip install 'tensorflow[and-cuda]' brings CUDA's libraries. What is missing is named by: TF_CPP_MIN_LOG_LEVEL=0 "
    "python -c 'import tensorflow; tensorflow.config.list_physical_devices()'"
)


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields the driver, and whether TensorFlow can use what it shows."""
    yield _driver(seen)
    if seen.framework.backend_version is not None:
        yield _used(seen) if seen.framework.gpus else _unused(seen)
    for note in seen.reading.notes:
        if note.startswith("GPU") and "NVML lists no process" not in note:
            yield _noted(note)


def _noted(note: str) -> Finding:
    if "CUDA_DEVICE_ORDER" in note:
        remedy = "Put CUDA_DEVICE_ORDER=PCI_BUS_ID into the environment, or name GPUs by their UUID."
        return warning("devices", "gpu_order", note, remedy)
    remedy = "Training works; sizes then rest on the framework's own figures. nvidia-smi shows what the driver says."
    return warning("devices", "gpu_memory", note, remedy)


def _driver(seen: Surroundings) -> Finding:
    if seen.driver is None:
        return ok("devices", "driver", seen.driver_note or "There is no driver of a GPU.")
    driver, count = seen.driver, len(seen.machine_gpus)
    cuda = f", serves CUDA up to {driver.cuda_version}" if driver.cuda_version else ""
    nvml = f" (NVML {driver.nvml_version})" if driver.nvml_version else ""
    return ok("devices", "driver", f"NVIDIA driver {driver.version}{nvml}{cuda}; it shows {_gpus(count)}.")


def _used(seen: Surroundings) -> Finding:
    names = ", ".join(f"GPU:{gpu.index} {gpu.name or ''}".strip() for gpu in seen.framework.gpus)
    used, visible = len(seen.framework.gpus), len(seen.reading.devices)
    if not visible:
        said = f"TensorFlow can use {names}, but NVML shows no GPU, so that its memory cannot be read."
        remedy = (
            "Install the driver's libnvidia-ml beside its libcuda. In a container that is "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility."
        )
        return warning("devices", "gpus", said, remedy)
    if used < visible:
        said = f"TensorFlow can use {used} of {_gpus(visible)} that this process may use: {names}."
        built = ", ".join(seen.framework.compute_capabilities) or "unknown"
        return warning(
            "devices", "gpus", said, f"It was built for these kinds: {built}. An older GPU needs an older build."
        )
    return ok("devices", "gpus", f"TensorFlow can use {names}{_hidden(seen)}.")


def _unused(seen: Surroundings) -> Finding:
    count, visible = len(seen.machine_gpus), len(seen.reading.devices)
    if not count:
        return _unseen(seen)
    if not visible:
        said = f"CUDA_VISIBLE_DEVICES={seen.environ.get('CUDA_VISIBLE_DEVICES', '')!r} hides {_gpus(count)}."
        remedy = "To train on a GPU, unset CUDA_VISIBLE_DEVICES, or have it name one by its number or UUID."
        return warning("devices", "gpus", said, remedy)
    if not seen.framework.cuda_build:
        said = f"The driver shows {_gpus(count)}, but this TensorFlow was built without CUDA and uses none."
        return warning("devices", "gpus", said, "pip install 'tensorflow[and-cuda]' (a build with CUDA; Linux only).")
    said = (
        f"The driver shows {_gpus(count)}, but TensorFlow can use none: CUDA's libraries are missing or do not match."
    )
    return warning("devices", "gpus", said, _LIBRARIES)


def _unseen(seen: Surroundings) -> Finding:
    if seen.driver is not None:
        return ok("devices", "gpus", "No GPU is there; training runs on the CPU.")
    said = "No GPU can be seen, because the driver cannot be asked"
    by_cuda = [f"CUDA counts {_gpus(len(seen.pools))}"] if seen.pools else []
    signs = [*by_cuda, *(f"{path} is there" for path in seen.device_files)]
    if not signs:
        return ok("devices", "gpus", f"{said}; training runs on the CPU.")
    remedy = (
        "nvidia-smi says what is wrong with the driver. A container needs the driver's libraries, too: "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility."
    )
    return warning("devices", "gpus", f"{said}, but {', '.join(signs)}.", remedy)


def _hidden(seen: Surroundings) -> str:
    hidden = len(seen.machine_gpus) - len(seen.reading.devices)
    return f"; CUDA_VISIBLE_DEVICES hides {hidden} more" if hidden > 0 else ""


def _gpus(count: int) -> str:
    return counted(count, "GPU")
