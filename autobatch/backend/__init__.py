"""The backends: one folder for each framework that has an engine, chosen by `keras.backend.backend()`.

To add one, write a folder like `tensorflow/`, whose `BACKEND` is an `autobatch.backend.base.Backend`, and name it in
`BACKENDS`. Nothing outside this package imports a framework.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from autobatch.backend.base import Accelerator, Backend, Engine, ForwardEngine, Framework
from autobatch.data.batch import Batch
from autobatch.errors import ModelError
from autobatch.memory.reading import MemoryReading, read_memory
from autobatch.memory.sensors.malloc import keep_freed_memory, keeps_freed_memory

BACKENDS = {"tensorflow": "autobatch.backend.tensorflow"}

# Log levels at which frameworks greet nobody; they are read when a framework is imported.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}


def find_backend(name: str | None = None) -> Backend | None:
    """The backend of a name, by default the one that Keras runs on; `None` for one without an engine."""
    module = BACKENDS.get(_keras_backend() if name is None else name)
    return None if module is None else importlib.import_module(module).BACKEND


def current_backend() -> Backend:
    """The backend that Keras runs on; a `ModelError` if it has no engine."""
    found = find_backend()
    if found is None:
        expected = " or ".join(map(repr, BACKENDS))
        raise ModelError(f"Received: Keras backend {_keras_backend()!r}. Expected {expected} (set KERAS_BACKEND).")
    return found


def engine_for(model: Any, example: Batch, *, rescaled: bool = False, group: int = 1) -> Engine:
    """The engine that trains a compiled model on the backend that Keras runs on; see `Backend.engine`."""
    return current_backend().engine(model, example, rescaled=rescaled, group=group)


def forward_engine_for(model: Any, example: Batch, *, evaluates: bool) -> ForwardEngine:
    """The engine that evaluates a model or predicts with it; see `Backend.forward_engine`."""
    return current_backend().forward_engine(model, example, evaluates=evaluates)


def framework_packages() -> tuple[str, ...]:
    """The distributions of the framework that Keras runs on; none for a backend without an engine."""
    found = find_backend()
    return () if found is None else found.packages


def accelerator() -> Accelerator | None:
    """The GPU that steps run on, `None` on a CPU and for a backend without an engine."""
    found = find_backend()
    return None if found is None else found.accelerator()


def accelerator_names() -> tuple[str, ...]:
    """All GPUs that the framework can use; none for a backend without an engine."""
    found = find_backend()
    return () if found is None else found.accelerator_names()


def read_memory_here() -> MemoryReading:
    """A reading for a process that trains: what its driver can't tell of it, its framework does."""
    found = find_backend()
    return read_memory(allocator=None if found is None else found.allocator_figures())


def settings() -> dict[str, Any]:
    """What of this process' global settings changes a step's memory or speed; `apply_settings` takes it."""
    return {**current_backend().settings(), "keeps_heap": keeps_freed_memory()}


def apply_settings(values: dict[str, Any]) -> None:
    """Sets what `settings` read in another process; call it before the framework is used."""
    if values["keeps_heap"]:
        keep_freed_memory(os.environ)  # the environment was inherited, the settings of the heap were not
    current_backend().apply_settings(values)


def describe() -> Framework:
    """Keras and its backend, with what it can use; what cannot be imported is said, not raised."""
    try:
        import keras

        found, version = find_backend(), str(keras.__version__)
        return Framework(keras_version=version, backend=_keras_backend()) if found is None else found.describe(version)
    except Exception as error:  # noqa: BLE001 - a broken installation raises whatever it likes
        return Framework(error=f"{type(error).__name__}: {error}", backend=_keras_backend())


def _keras_backend() -> str:
    """What Keras runs on; before it is imported, which takes seconds, what it is going to."""
    keras = sys.modules.get("keras")
    if keras is not None:
        return str(keras.backend.backend())
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    try:
        file = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"
        return str(json.loads(file.read_text(encoding="utf-8")).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError, RuntimeError):  # the last: there is no home
        return "tensorflow"
