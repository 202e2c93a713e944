"""Which form of targets a model wants, and whether the classes of a folder or a dataframe can give it."""

from autobatch.data.flow import FlowSource
from autobatch.data.options import ClassMode
from autobatch.data.shape import Demand
from autobatch.errors import ArgumentError, ModelError


def infer_class_mode(demand: Demand) -> tuple[ClassMode, str]:
    """The `class_mode` that suits a model's output and loss, and why.

    Raises:
        ModelError: The model has several outputs, or one that no label of a folder can stand for.
    """
    if demand.outputs > 1:
        message = f"The model has {demand.outputs} outputs, and nothing says what each is compared with. "
        raise ModelError(message + "Give class_mode, with class_mode=None if the model computes its own loss.")
    name = demand.loss or "no loss"
    if demand.is_picture_to_picture and demand.kind not in {"sparse", "categorical"}:
        return "input", f"the model's output has the shape of its input, and it is compiled with {name}"
    if demand.output is not None and demand.units is None:
        message = "A class labels a picture as a whole, and the model's output is not one vector. "
        raise ModelError(
            f"{message}Received: output shape {(None, *demand.output)}. Expected (None, classes) or (None, 1)."
        )
    units = (
        "an unknown number of outputs" if demand.units is None else f"{demand.units} output{'s' * (demand.units > 1)}"
    )
    if demand.kind == "sparse":
        return "sparse", f"{name} compares class numbers"
    if demand.kind == "categorical":
        return "categorical", f"{name} compares one-hot vectors"
    return ("binary" if demand.units == 1 else "categorical"), f"{units}, compiled with {name}"


def check_targets(demand: Demand, source: FlowSource) -> None:
    """Checks that the classes which a source gives are what the model is compared with; numbers are `check_numbers`'.

    Raises:
        ModelError: There is another number of classes than the model has outputs.
        ArgumentError: The form of the targets isn't the loss' own.
    """
    mode = source.class_mode
    if demand.outputs > 1 or mode in {"raw", "multi_output"}:
        return
    if mode is None:
        if demand.loss is not None:
            message = f"The model is compiled with {demand.loss}, which needs targets. "
            arrays = source.kind == "arrays"
            form = "a flow of x alone. Expected x and y" if arrays else "class_mode=None. Expected a class_mode"
            raise ArgumentError(f"{message}Received: {form}, or a model without a loss.")
    elif mode == "input":
        _check_pictures(demand, source)
    elif demand.output is not None and demand.units is None:
        message = f"The model's output {(None, *demand.output)} is not one vector, and {mode} targets are. "
        raise ArgumentError(message + f"Received: class_mode={mode!r}. Expected 'input'.")
    else:
        _check_form(demand, mode)
        _check_number(demand, source, mode)


def _check_pictures(demand: Demand, source: FlowSource) -> None:
    output = demand.output
    if output is None:
        return
    same = len(output) == len(source.sample_shape) and all(
        side in (None, wanted) for side, wanted in zip(output, source.sample_shape, strict=True)
    )
    if not same:
        message = f"Pictures are {source.sample_shape} and the model's output is {output}, so one can't be the other's "
        raise ArgumentError(
            message + "target. Received: class_mode='input'. Expected an output of the pictures' shape."
        )


def _check_form(demand: Demand, mode: str) -> None:
    one_hot = mode == "categorical"
    if one_hot and demand.kind == "sparse":
        wanted, form = "'sparse'", "class numbers"
    elif not one_hot and demand.kind == "categorical":
        wanted, form = "'categorical'", "one-hot vectors"
    elif not one_hot and demand.kind in {"binary", "regression"} and (demand.units or 1) > 1:
        wanted, form = "'categorical'", f"one number for each of {demand.units} outputs"
    else:
        return
    message = f"The model is compiled with {demand.loss}, which compares {form}. "
    raise ArgumentError(f"{message}Received: class_mode={mode!r}. Expected {wanted}, or leave it out.")


def _check_number(demand: Demand, source: FlowSource, mode: str) -> None:
    classes, units = len(source.class_indices), demand.units
    yes_or_no = units == 1 and mode != "categorical" and demand.kind != "sparse"
    wanted = 2 if yes_or_no else units
    # A loss of one's own may compare class numbers with an embedding, which has as many numbers as it likes.
    unrelated = mode == "sparse" and demand.kind is None and not yes_or_no
    if unrelated or wanted in (None, classes):
        return
    names = ", ".join(list(source.class_indices)[:5]) + (", ..." if classes > 5 else "")
    message = (
        f"The {source.kind} has {classes} classes ({names}), and the model has {units} output{'s' * (units != 1)}. "
    )
    expected = "2 classes, or one output for each" if yes_or_no else "one output for each class"
    raise ModelError(f"{message}Received: {classes} classes, {units} outputs. Expected {expected}.")
