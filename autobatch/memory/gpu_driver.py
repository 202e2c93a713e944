"""Which versions the GPUs' driver has."""

from typing import Any

from autobatch.memory.facts import Driver
from autobatch.memory.gpu import started


def read_driver(nvml: Any = None) -> tuple[Driver | None, tuple[str, ...]]:
    """Returns the driver's versions, or `None` and a note that says why they cannot be read.

    Args:
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.

    Example:
        >>> from autobatch.testing import FakeNvml
        >>> read_driver(FakeNvml())[0]
        Driver(version='560.35', nvml_version='12.560.35', cuda_version='12.6')
    """
    with started(nvml) as (running, why):
        if running is None:
            return None, (f"The driver of the GPUs cannot be asked: {why}.",)
        version = _told(running, "nvmlSystemGetDriverVersion")
        if version is None:
            return None, ("NVML runs, but does not tell the driver's version.",)
        return Driver(str(version), _told(running, "nvmlSystemGetNVMLVersion"), _cuda(running)), ()


def _cuda(nvml: Any) -> str | None:
    # NVML writes 12.4 as 12040
    number = _told(nvml, "nvmlSystemGetCudaDriverVersion")
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _told(nvml: Any, function: str) -> Any:
    try:
        return getattr(nvml, function)()
    except nvml.NVMLError:
        return None
