"""What a model says of the pictures it takes and the targets it is compared with."""

from dataclasses import dataclass
from typing import Any, Self

from autobatch.data.loss import LossKind, kind_of, losses_of, name_of
from autobatch.data.options import ColorMode
from autobatch.errors import ModelError

COLORS: dict[ColorMode, int] = {"grayscale": 1, "rgb": 3, "rgba": 4}
"""Channels of each of Keras' colour modes."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a compiled model asks of its data.

    Attributes:
        input: Shape of one picture, which is the first input of that rank, `None` if the model doesn't know it yet.
        output: Shape of one output likewise, `None` if there are several, too.
        outputs: How many outputs there are, 0 if the model doesn't know.
        loss: Name of the compiled loss, `None` if there is none or there are several.
        kind: What that loss compares, `None` if it can't be told.
    """

    input: Shape | None
    output: Shape | None
    outputs: int
    loss: str | None
    kind: LossKind | None

    @classmethod
    def of(cls, model: Any, *, several_inputs: bool = False) -> Self:
        """Reads a model.

        Args:
            model: A Keras model.
            several_inputs: Whether it may take other inputs beside the picture.

        Raises:
            ModelError: It isn't compiled, takes no picture, or several inputs where there is but the picture.
        """
        if not getattr(model, "compiled", False):
            message = "The model is not compiled, so there is no loss to train it with. Call model.compile(...) first."
            raise ModelError(message)
        inputs, outputs = shapes_of(model, "input_shape"), shapes_of(model, "output_shape")
        if len(inputs) > 1 and not several_inputs:
            message = f"The model takes {len(inputs)} inputs, and pictures on disk feed one; arrays feed several. "
            raise ModelError(
                message + f"Received: input shapes {inputs}. Expected one, (None, height, width, channels)."
            )
        pictures = next((shape for shape in inputs if len(shape) == 4), None)
        if inputs and pictures is None:
            message = "The model takes no pictures. "
            raise ModelError(message + f"Received: input shape {inputs[0]}. Expected (None, height, width, channels).")
        losses = losses_of(model)
        single = len(losses) == 1
        return cls(
            input=pictures[1:] if pictures else None,
            output=outputs[0][1:] if len(outputs) == 1 else None,
            outputs=len(outputs),
            loss=name_of(losses[0]) if single else None,
            kind=kind_of(losses[0]) if single else None,
        )

    @property
    def units(self) -> int | None:
        """How many numbers a flat output has, `None` if it isn't flat or isn't known."""
        if self.output is None or len(self.output) > 1:
            return None
        return self.output[0] if self.output else 1

    @property
    def is_picture_to_picture(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.output is not None and len(self.output) == 3 and self.output == self.input


def input_shapes(model: Any) -> dict[str, Shape]:
    """Shapes of a model's inputs with the batch dimension, in order, by name; empty if it doesn't know them."""
    return {tensor.name: tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()}


def output_names(model: Any) -> list[str]:
    """Names of a model's outputs, in the order in which Keras compares them with a list; empty if it has none."""
    try:
        nest = model.output
    except (AttributeError, ValueError):  # only a functional model has one
        nest = None
    return sorted(nest) if isinstance(nest, dict) else list(getattr(model, "output_names", None) or ())


def shapes_of(model: Any, name: str) -> list[Shape]:
    """The shapes of `input_shape` or `output_shape` with the batch dimension, out of any nest; empty if unknown."""
    return _flat(_nest(model, name))


def _nest(model: Any, name: str) -> Any:
    try:
        return getattr(model, name)
    except (AttributeError, ValueError):  # a model that has never been called has no shapes
        return None


def _flat(nest: Any) -> list[Shape]:
    if nest is None:
        return []
    if isinstance(nest, dict):
        return [shape for value in nest.values() for shape in _flat(value)]
    if isinstance(nest, list | tuple) and any(isinstance(value, list | tuple | dict) for value in nest):
        return [shape for value in nest for shape in _flat(value)]
    return [tuple(nest)]
