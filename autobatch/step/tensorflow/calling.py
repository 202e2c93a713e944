"""How a step of a model is compiled and called: its data flattened, with a batch dimension of any size."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.step.tensorflow.untraced import Untraced

Function = Callable[..., Any]
Kinds = tuple[tuple[tuple[int, ...], Any], ...]


def compiled(model: Any, function: Function, signature: Any) -> Function:
    """The function as a graph, or as it is where the model runs eagerly."""
    if model.run_eagerly:
        return function
    plain = tf.autograph.experimental.do_not_convert(function)
    return tf.function(plain, input_signature=signature, jit_compile=model.jit_compile)  # type: ignore[no-any-return]


def compiled_once(model: Any, function: Function, signature: Any) -> Function:
    """As `compiled`, for a step that nobody differentiates: its trace is let go of."""
    graph = compiled(model, function, signature)
    # What XLA compiles it compiles anew for each size, and was not tried without the trace.
    return graph if model.run_eagerly or model.jit_compile else Untraced(graph)


def arrays_of(model: Any, batch: Batch) -> list[Any]:
    """The arrays of a batch in order; an eager step needs tensors."""
    arrays = list(leaves(batch.nest))
    return [tf.convert_to_tensor(array) for array in arrays] if model.run_eagerly else arrays


def form_of(batch: Batch) -> Any:
    """The nest of a batch without its arrays; `packed` fills it."""
    return map_leaves(lambda _: "*", batch.x if batch.bare else batch.nest)


def kinds_of(arrays: Sequence[Any]) -> Kinds:
    """The shape of a sample and the type of each array: what one compiled function serves."""
    return tuple((tuple(array.shape[1:]), array.dtype) for array in arrays)


def specs_of(kinds: Kinds) -> list[Any]:
    """The arrays of a compiled function, of any number of samples."""
    return [tf.TensorSpec([None, *shape], dtype) for shape, dtype in kinds]


def packed(form: Any, arrays: list[Any]) -> Any:
    """The data as Keras hands them to a step: `x` if the batch is bare, `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    present = iter(arrays)
    parts = map_leaves(lambda _: next(present), form)
    while isinstance(parts, tuple) and len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    return parts
