"""Whether targets that are numbers as they stand can be compared with what a model returns."""

from typing import Any

import numpy as np

from autobatch.data.batch import leaves
from autobatch.data.shape import Demand
from autobatch.errors import ArgumentError, ModelError


def check_numbers(demand: Demand, targets: Any, named: str) -> None:
    """Checks targets that are handed over as they are.

    A loss of one's own may compare anything with anything, so only those of Keras are held to a form.

    Args:
        demand: What the model asks.
        targets: An array with a row for each sample, or a nest of them for several outputs.
        named: Where they come from, for the message, such as `"y"`.

    Raises:
        ArgumentError: They aren't numbers, or not in the form that the loss compares.
        ModelError: There are more classes than the model has outputs.
    """
    arrays = [np.asarray(leaf) for leaf in leaves(targets)]
    for array in arrays:
        _check_type(array, named)
    if demand.outputs and len(arrays) != demand.outputs:
        message = f"The model has {demand.outputs} output{'s' * (demand.outputs > 1)}, and each is compared with one "
        received = f"{named} with {len(arrays)} array{'s' * (len(arrays) != 1)}"
        raise ArgumentError(f"{message}array of targets. Received: {received}. Expected {demand.outputs}.")
    if len(arrays) != 1 or demand.kind is None or demand.output is None:
        return
    if demand.kind == "sparse":
        _check_class_numbers(demand.loss, demand.output, arrays[0], named)
    else:
        _check_shape(demand, demand.output, arrays[0], named)


def _check_type(array: Any, named: str) -> None:
    if array.dtype.kind in "biufc":
        return
    message = f"Targets are compared as numbers, and {named} holds {array.dtype}. "
    first = array.ravel()[0] if array.size else None
    raise ArgumentError(f"{message}Received: {named} beginning with {first!r:.80}. Expected numbers.")


def _check_shape(demand: Demand, output: tuple[int | None, ...], array: Any, named: str) -> None:
    shape = array.shape[1:]
    # Keras takes one number for a vector of one.
    one = shape in {(), (1,)} and output in {(), (1,)}
    fits = len(shape) == len(output) and all(side in (None, is_) for side, is_ in zip(output, shape, strict=False))
    if one or fits:
        return
    message = f"The model returns {(None, *output)} and is compiled with {demand.loss}, which compares that with the "
    expected = f"{(None, *output)}"
    if demand.kind == "categorical" and shape in {(), (1,)}:
        expected += ", one-hot vectors, or a sparse loss"
    raise ArgumentError(f"{message}same shape. Received: {named} of shape {array.shape}. Expected {expected}.")


def _check_class_numbers(loss: str | None, output: tuple[int | None, ...], array: Any, named: str) -> None:
    shape, units = array.shape[1:], output[-1] if output else 1
    if len(shape) == len(output) and shape[-1:] == (1,):
        shape = shape[:-1]
    fits = len(shape) == len(output) - 1 and all(side in (None, is_) for side, is_ in zip(output, shape, strict=False))
    if not fits:
        message = f"The model is compiled with {loss}, which compares class numbers. "
        expected = f"{(None, *output[:-1])}"
        raise ArgumentError(f"{message}Received: {named} of shape {array.shape}. Expected {expected}.")
    if array.size and units is not None and not (array.min() >= 0 and array.max() < units):
        message = f"The model has {units} outputs, one for each class, so classes are numbered from 0 to {units - 1}. "
        received = f"{named} with numbers from {array.min()} to {array.max()}"
        raise ModelError(f"{message}Received: {received}. Expected 0 to {units - 1}.")
