"""A compiled step without the trace that it was made from.

TensorFlow keeps the trace of every function, in case somebody differentiates it later: for MobileNetV2 that is 120 MiB,
in a process that needs none of it, since the gradients of a step are part of it already. Here a step is traced once,
and then only what TensorFlow's runtime has made of it is kept.

Not covered: a trace that TensorFlow itself refers to. It keeps the gradient of every `tf.custom_gradient` for as long
as the process lives, and with it what that has seen: where a user's layer has one, the whole trace.
"""

import gc
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Untraced:
    """Traces a function when it is first called, and lets go of the trace then.

    Args:
        function: A `tf.function` with an input signature of tensors, in any nest.
    """

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
        if type(part.graph) is not type(step.graph):
            _forget_graph(part)
    step._cached_graph = None
