"""How a step of a model is compiled and called: its data flattened, with a batch dimension of any size.

TensorFlow keeps the trace of every function, in case somebody differentiates it later: for MobileNetV2 that is 120 MiB,
in a process that needs none of it, since the gradients of a step are part of it already. So a step is traced once
(`Untraced`), and then only what TensorFlow's runtime has made of it is kept.

Not covered: a trace that TensorFlow itself refers to. It keeps the gradient of every `tf.custom_gradient` for as long
as the process lives, and with it what that has seen: where a user's layer has one, the whole trace.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import summary_ops_v2

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.data.model_spec import fixed_batch_size


class Untraced:
    """Traces a function when it is first called, and lets go of the trace then."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._step: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        """Runs it on arrays or tensors in the form of the signature."""
        if self._step is None:
            self._step = self._traced()
        return self._step(*args)

    def _traced(self) -> Callable[..., Any]:
        function, concrete = self._function, self._function.get_concrete_function()
        step: Any = getattr(concrete, "inference_fn", None)
        if not hasattr(step, "_cached_graph"):
            return function  # type: ignore[no-any-return]  # another TensorFlow, which keeps it elsewhere
        captured = list(concrete.captured_inputs)
        del self._function, function, concrete
        _forget_graph(step)
        # It is full of cycles, which would stay until Python next looks for some.
        gc.collect()

        def run(*args: Any) -> Any:
            given = [tf.convert_to_tensor(array) for array in tf.nest.flatten(args)]
            return step.call_preflattened([*given, *captured])

        return run


def _forget_graph(step: Any) -> None:
    for part in step.children:
        # Branches and bodies of loops, whose graphs are of types of their own, refer to the trace that they were part
        # of. Other functions may be in use elsewhere.
        if hasattr(part, "graph") and type(part.graph) is not type(step.graph):
            _forget_graph(part)
    step._cached_graph = None


Function = Callable[..., Any]
Kinds = tuple[tuple[tuple[int | None, ...], Any], ...]


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


def summary_writer() -> Any:
    """Where summaries of layers and steps go now; what is traced writes to the one that it was traced with."""
    return summary_ops_v2._summary_state.writer


def arrays_of(model: Any, batch: Batch) -> list[Any]:
    """The arrays of a batch in order; an eager step needs tensors."""
    arrays = list(leaves(batch.nest))
    return [tf.convert_to_tensor(array) for array in arrays] if model.run_eagerly else arrays


def form_of(batch: Batch) -> Any:
    """The nest of a batch without its arrays; `packed` fills it."""
    return map_leaves(lambda _: "*", batch.x if batch.bare else batch.nest)


class KnownKinds:
    """What has come of each form of data: a length that is seen to differ is left open, so that few are compiled."""

    def __init__(self, model: Any) -> None:
        # State that is written in a call has the shape of the batch, so that has to be known where it is fixed.
        self._fixed = fixed_batch_size(model) is not None
        self._seen: dict[Any, Kinds] = {}

    def of(self, form: str, arrays: Sequence[Any]) -> Kinds:
        """The shape and the type of each array: what one compiled function serves, whatever the number of samples."""
        kinds = tuple(((len(a) if self._fixed else None, *a.shape[1:]), a.dtype) for a in arrays)
        alike = form, tuple((len(shape), dtype) for shape, dtype in kinds)
        before = self._seen.get(alike, kinds)
        if before != kinds and not self._fixed:
            lengths = [zip(one, other, strict=True) for (one, _), (other, _) in zip(before, kinds, strict=True)]
            common = [tuple(one if one == other else None for one, other in pairs) for pairs in lengths]
            kinds = tuple((shape, dtype) for shape, (_, dtype) in zip(common, kinds, strict=True))
        self._seen[alike] = kinds
        return kinds


def specs_of(kinds: Kinds) -> list[Any]:
    return [tf.TensorSpec(shape, dtype) for shape, dtype in kinds]


def packed(form: Any, arrays: list[Any]) -> Any:
    """The data as Keras hands them to a step: `x` if the batch is bare, `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    present = iter(arrays)
    parts = map_leaves(lambda _: next(present), form)
    while isinstance(parts, tuple) and len(parts) > 1 and parts[-1] is None:
        parts = parts[:-1]
    return parts


@contextlib.contextmanager
def replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an instance attribute and restores what was there, own or inherited."""
    missing = object()
    before = vars(target).get(name, missing)
    setattr(target, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(target, name)
        else:
            setattr(target, name, before)
