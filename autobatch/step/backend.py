"""Chooses the engine for a model. Everything outside `step/` makes engines here."""

from contextlib import AbstractContextManager
from typing import Any

from autobatch.data.batch import Batch
from autobatch.errors import ModelError
from autobatch.step.engine import Engine


def engine_for(model: Any, example: Batch) -> Engine:
    """The engine that trains a compiled model.

    Args:
        model: A compiled Keras model; it is built from `example` if it is not built yet.
        example: A few samples in the form that training will use.

    Raises:
        ModelError: Keras runs on a backend without an engine, or the model cannot be trained in micro-batches.
    """
    require_backend()
    from autobatch.step.tensorflow.engine import TensorFlowEngine

    return TensorFlowEngine(model, example)


def require_trainable(model: Any) -> None:
    """Refuses a model that no engine can train, without building anything.

    Raises:
        ModelError: Not compiled, several replicas, or an optimizer that accumulates by itself.
    """
    require_backend()
    from autobatch.step.tensorflow.engine import require_supported

    require_supported(model)


def divides_by_weights(model: Any) -> bool:
    """Whether a loss of a compiled model divides by the sum of the sample weights; nothing is built to find out."""
    from autobatch.step.tensorflow.intercept import asks_for_weights

    return asks_for_weights(model.loss)


def idle_pool_bytes() -> int:
    """Bytes that the framework's CPU allocator keeps for itself and will use again, as far as it tells."""
    from autobatch.step.tensorflow.memory import allocator_bytes

    figures = allocator_bytes("CPU:0")
    return figures[1] - figures[0] if figures else 0


def device_bytes() -> int:
    """Bytes in use on the accelerator that training runs on, 0 on a CPU."""
    from autobatch.step.tensorflow.memory import allocator_bytes, device_name

    device = device_name()
    figures = None if device == "CPU:0" else allocator_bytes(device)
    return figures[0] if figures else 0


def preserved(model: Any) -> AbstractContextManager[None]:
    """Puts a model back, bit for bit, when the context ends: weights, state, metrics, optimizer and random seeds."""
    from autobatch.step.tensorflow.state import preserved as tensorflow_preserved

    return tensorflow_preserved(model)


def preserved_random_states() -> AbstractContextManager[None]:
    """Puts Python's and numpy's random states back when the context ends."""
    from autobatch.step.tensorflow.state import preserved_random_states as tensorflow_preserved_random_states

    return tensorflow_preserved_random_states()


def accelerator_index() -> int | None:
    """The number of the GPU that training runs on, `None` on a CPU."""
    from autobatch.step.tensorflow.memory import device_name

    device, _, index = device_name().partition(":")
    return int(index) if device == "GPU" else None


def settings() -> dict[str, Any]:
    """What of the framework's global settings changes a step's memory or speed; `apply_settings` takes it."""
    from autobatch.step.tensorflow import settings as tensorflow_settings

    return tensorflow_settings.read()


def apply_settings(values: dict[str, Any]) -> None:
    """Sets what `settings` read in another process; call it before the framework is used."""
    from autobatch.step.tensorflow import settings as tensorflow_settings

    tensorflow_settings.write(values)


def require_backend() -> None:
    """Refuses Keras backends that have no engine.

    Raises:
        ModelError: Keras runs on JAX or torch.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        msg = f"Received: Keras backend {keras.backend.backend()!r}. Expected 'tensorflow' (set KERAS_BACKEND)."
        raise ModelError(msg)
