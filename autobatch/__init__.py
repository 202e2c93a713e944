"""The batch size that fits: found by trials, proven before training, kept safe while it runs.

Everything here is imported when it is first used, so that `import autobatch` costs next to nothing and starts neither
TensorFlow nor NVML.

Example:
    >>> import autobatch
    >>> reading = autobatch.read_memory()
    >>> reading.host.total_bytes > 0
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autobatch.errors import (
    ArgumentError,
    AutobatchError,
    DataError,
    DeviceError,
    DoesNotFitError,
    MissingExtraError,
    ModelError,
    OutOfMemoryError,
    ProbeError,
    ProbeTimeoutError,
    TooLateError,
    UpdateInterruptedError,
)

if TYPE_CHECKING:
    from autobatch.backend.release import share_memory
    from autobatch.data.adapters.mixture import mix
    from autobatch.data.rebatch import accumulate_batches, rebuild
    from autobatch.infer.evaluate import evaluate
    from autobatch.infer.predict import predict
    from autobatch.memory.reading import MemoryReading, read_memory
    from autobatch.probing.probe import probe
    from autobatch.results.probe import ProbeResult
    from autobatch.results.run import Decision, Observation, RunReport
    from autobatch.train.fit import fit

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "AutobatchError",
    "DataError",
    "Decision",
    "DeviceError",
    "DoesNotFitError",
    "MemoryReading",
    "MissingExtraError",
    "ModelError",
    "Observation",
    "OutOfMemoryError",
    "ProbeError",
    "ProbeResult",
    "ProbeTimeoutError",
    "RunReport",
    "TooLateError",
    "UpdateInterruptedError",
    "__version__",
    "accumulate_batches",
    "evaluate",
    "fit",
    "mix",
    "predict",
    "probe",
    "read_memory",
    "rebuild",
    "share_memory",
]

_HOMES = {
    "Decision": "autobatch.results.run",
    "MemoryReading": "autobatch.memory.reading",
    "Observation": "autobatch.results.run",
    "ProbeResult": "autobatch.results.probe",
    "RunReport": "autobatch.results.run",
    "accumulate_batches": "autobatch.data.rebatch",
    "evaluate": "autobatch.infer.evaluate",
    "fit": "autobatch.train.fit",
    "mix": "autobatch.data.adapters.mixture",
    "predict": "autobatch.infer.predict",
    "probe": "autobatch.probing.probe",
    "read_memory": "autobatch.memory.reading",
    "rebuild": "autobatch.data.rebatch",
    "share_memory": "autobatch.backend.release",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'autobatch' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
