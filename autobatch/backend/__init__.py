"""Chooses the engine for a model. Everything outside `backend/` makes engines here."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from autobatch.backend.base import Accelerator, AllocatorChoice, Engine, ForwardEngine, Framework, StateVariable
from autobatch.backend.release import device_pool_bytes
from autobatch.backend.tensorflow.allocator import has_started
from autobatch.data.batch import Batch
from autobatch.errors import ModelError
from autobatch.memory.reading import MemoryReading, read_memory
from autobatch.memory.sensors.malloc import keep_freed_memory, keeps_freed_memory
from autobatch.memory.types import Allocator

_ENGINE_FOR = "tensorflow"


def engine_for(model: Any, example: Batch, *, rescaled: bool = False) -> Engine:
    """The engine that trains a compiled model.

    Args:
        model: A compiled Keras model; it is built from `example` if it is not built yet.
        example: A few samples in the form that training will use.
        rescaled: Whether its learning rate is to follow the effective batch, through `Engine.rescale`.

    Raises:
        ModelError: Keras runs on a backend without an engine, or the model cannot be trained in micro-batches.
    """
    require_backend()
    from autobatch.backend.tensorflow.engine import TensorFlowEngine

    return TensorFlowEngine(model, example, rescaled=rescaled)


def forward_engine_for(model: Any, example: Batch, *, evaluates: bool) -> ForwardEngine:
    """The engine that evaluates a model or predicts with it.

    Args:
        model: A Keras model, compiled if it is to be evaluated; it is built from `example` if it is not built yet.
        example: A few samples in the form that is going to be used.
        evaluates: Whether it is to be evaluated.

    Raises:
        ModelError: Keras runs on a backend without an engine, or the model cannot be run this way.
    """
    require_backend()
    from autobatch.backend.tensorflow.forward import TensorFlowForwardEngine

    return TensorFlowForwardEngine(model, example, evaluates=evaluates)


def require_runnable(model: Any, *, evaluates: bool) -> None:
    """Refuses a model that cannot be evaluated, or cannot predict, without building anything.

    Raises:
        ModelError: No Keras model, not compiled though it is to be evaluated, or several replicas.
    """
    require_backend()
    from autobatch.backend.tensorflow.forward import require_runnable as tensorflow_require_runnable

    tensorflow_require_runnable(model, evaluates=evaluates)


def require_trainable(model: Any) -> None:
    """Refuses a model that no engine can train, without building anything.

    Raises:
        ModelError: Not compiled, several replicas, or an optimizer that accumulates by itself.
    """
    require_backend()
    from autobatch.backend.tensorflow.engine import require_supported

    require_supported(model)


def divides_by_weights(model: Any) -> bool:
    """Whether a loss of a compiled model divides by the sum of the sample weights; nothing is built to find out."""
    from autobatch.backend.tensorflow.capture import asks_for_weights

    return asks_for_weights(model.loss)


def idle_pool_bytes() -> int:
    """Bytes that the framework's CPU allocator keeps for itself and will use again, as far as it tells."""
    from autobatch.backend.tensorflow.allocator import allocator_bytes

    figures = allocator_bytes("CPU:0")
    return figures[1] - figures[0] if figures else 0


def device_bytes() -> int:
    """Bytes in use on the accelerator that training runs on, 0 on a CPU."""
    found = accelerator()
    return 0 if found is None else found.in_use_bytes


def preserved(model: Any) -> AbstractContextManager[None]:
    """Puts a model back, bit for bit, when the context ends: weights, state, metrics, optimizer and random seeds."""
    from autobatch.backend.tensorflow.variables import preserved as tensorflow_preserved

    return tensorflow_preserved(model)


def state_variables(model: Any, *, shared_seed: bool | None = None) -> list[StateVariable]:
    """Everything of a built model that a training changes: weights, state, metrics, optimizer and seeds, in order.

    Args:
        model: A model whose engine has been made.
        shared_seed: Whether the seed that all of Keras shares is the last of them, made if need be; by default it is
            if something has drawn from it.
    """
    from autobatch.backend.tensorflow.variables import state_variables as tensorflow_state_variables

    return tensorflow_state_variables(model, shared_seed=shared_seed)


def is_shared_seed(name: str) -> bool:
    """Whether a state variable of that name is the seed that all of Keras shares, which belongs to no model."""
    from autobatch.backend.tensorflow.variables import SHARED_SEED

    return name == SHARED_SEED


def preserved_random_states() -> AbstractContextManager[None]:
    """Puts Python's and numpy's random states back when the context ends."""
    from autobatch.backend.tensorflow.variables import preserved_random_states as tensorflow_preserved_random_states

    return tensorflow_preserved_random_states()


def accelerator() -> Accelerator | None:
    """The GPU that steps run on, `None` on a CPU."""
    from autobatch.backend.tensorflow.allocator import accelerator as tensorflow_accelerator

    return tensorflow_accelerator()


def framework_figures(driver: Any = None) -> Allocator | None:
    """What the framework tells of the GPU that training runs on.

    Args:
        driver: What answers like libcuda; `None` takes libcuda.

    Returns:
        `None` on a CPU, where nothing is told, and before the framework has started: asking would start it.
    """
    found = accelerator() if has_started() else None
    if found is None:
        return None
    from autobatch.backend.tensorflow.allocator import allocator_bytes

    figures, pool = allocator_bytes(found.name), device_pool_bytes(found.number, driver)
    if figures is None and pool is None:
        return None
    current, peak = figures or (0, 0)
    return Allocator(current, peak, found.number, pool)


def read_memory_here() -> MemoryReading:
    """A reading for a process that trains: what its driver can't tell of it, its framework does."""
    return read_memory(allocator=framework_figures())


def accelerators() -> tuple[str, ...]:
    """The names of all GPUs that the framework can use; none for a framework without an engine."""
    import keras

    if keras.backend.backend() != _ENGINE_FOR:
        return ()
    from autobatch.backend.tensorflow.allocator import accelerator_names

    return accelerator_names()


def settings() -> dict[str, Any]:
    """What of the framework's global settings changes a step's memory or speed; `apply_settings` takes it."""
    from autobatch.backend.tensorflow import config as tensorflow_settings

    return {**tensorflow_settings.read_settings(), "keeps_heap": keeps_freed_memory()}


def apply_settings(values: dict[str, Any]) -> None:
    """Sets what `settings` read in another process; call it before the framework is used."""
    from autobatch.backend.tensorflow import config as tensorflow_settings

    if values["keeps_heap"]:
        keep_freed_memory(os.environ)  # the environment was inherited, the settings of the heap were not
    tensorflow_settings.write_settings(values)


def describe() -> Framework:
    """Keras and its backend, with what it can use; what cannot be imported is said, not raised."""
    try:
        import keras

        backend = str(keras.backend.backend())
        if backend != "tensorflow":
            return Framework(keras_version=str(keras.__version__), backend=backend)
        from autobatch.backend.tensorflow.config import describe_tensorflow

        return describe_tensorflow(str(keras.__version__))
    except Exception as error:  # noqa: BLE001 - a broken installation raises whatever it likes
        return Framework(error=f"{type(error).__name__}: {error}")


def allocator_choices(
    environ: Mapping[str, str], *, onednn: bool, returns_freed: bool
) -> tuple[AllocatorChoice, AllocatorChoice]:
    """The allocators that TensorFlow takes on a CPU and on a GPU when it starts.

    Args:
        environ: The environment that it reads.
        onednn: Whether it uses oneDNN.
        returns_freed: Whether the C library can hand freed memory back.
    """
    from autobatch.backend.tensorflow.allocator import on_cpu, on_gpu

    return on_cpu(environ, onednn=onednn, returns_freed=returns_freed), on_gpu(environ)


def require_backend() -> None:
    """Refuses Keras backends that have no engine.

    Raises:
        ModelError: Keras runs on JAX or torch.
    """
    import keras

    if keras.backend.backend() != _ENGINE_FOR:
        msg = f"Received: Keras backend {keras.backend.backend()!r}. Expected {_ENGINE_FOR!r} (set KERAS_BACKEND)."
        raise ModelError(msg)
