"""Whether arrays are those that a model takes."""

from typing import Any

from autobatch.data.shape import Shape, input_shapes
from autobatch.errors import ArgumentError


def check_inputs(model: Any, inputs: list[Any] | dict[str, Any]) -> None:
    """Checks that there is an array for each input, as far as the model knows its inputs.

    Args:
        model: A Keras model.
        inputs: Arrays with a row for each sample, in the order of the model's inputs, or by their names.

    Raises:
        ArgumentError: There are others, or of other shapes.
    """
    shapes = input_shapes(model)
    if not shapes:
        return
    if isinstance(inputs, dict):
        fits = inputs.keys() == shapes.keys() and all(_fits(shapes[name], inputs[name].shape) for name in shapes)
        received = ", ".join(f"{name!r} {array.shape}" for name, array in inputs.items())
    else:
        fits = len(inputs) == len(shapes) and all(map(_fits, shapes.values(), (array.shape for array in inputs)))
        received = ", ".join(str(array.shape) for array in inputs)
    if not fits:
        expected = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
        message = f"The arrays in x are not what the model takes. Received: x with {received}. "
        raise ArgumentError(f"{message}Expected {expected}.")


def _fits(wanted: Shape, shape: tuple[int, ...]) -> bool:
    if len(shape) == 1 and len(wanted) == 2:  # Keras gives a vector of numbers its second dimension
        shape = (*shape, 1)
    return len(wanted) == len(shape) and all(side in (None, is_) for side, is_ in zip(wanted, shape, strict=True))
