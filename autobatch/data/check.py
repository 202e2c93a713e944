"""Whether a model can be run on samples at all: seen on a few of them, before anything is started.

What Keras itself would refuse is refused here, sooner and in other words; what Keras takes is let through. A step, a
loss or a `call` of the user's may take anything, so it is never second-guessed.

A functional model compares all lengths that it knows. A sequential one compares the number of dimensions only, and
what a layer then makes of them may well work: a convolution takes pictures of another size. So where lengths differ
and Keras does not say at once, the model is called without numbers, on shapes alone.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from autobatch._text import format_count
from autobatch.data.batch import Batch, holds_objects, is_text, leaves
from autobatch.data.model_spec import ModelSpec, Shape, fixed_batch_size, run_symbolically, runs
from autobatch.errors import ArgumentError, ModelError

Step = Literal["train", "evaluate", "predict"]
_STEPS = {"train": "train_step", "evaluate": "test_step", "predict": "predict_step"}
_INSTEAD = {
    "train": "Expected (x, y), such as fit(model, x, y); an autoencoder's targets are its inputs: (x, x).",
    "evaluate": "Expected (x, y), or autobatch.predict for data without targets.",
}


def require_compatible(model: Any, batch: Batch, what: str = "data", *, step: Step = "train") -> None:
    """Refuses samples, given as `what`, that a step of the model's must fail on, whatever their number.

    The model may be built or not, and nothing in it is changed.
    """
    if not is_keras_own(model, _STEPS[step]):
        return
    if step != "predict" and is_keras_own(model, "compute_loss") and model.loss is not None:
        _require_targets(batch.y, what, step)
        _require_numbers(_compared(model.loss, batch.y), what)
    _require_arrays(batch.x, what)
    if is_keras_own(model, "call"):
        require_inputs(model, batch.x, what)


def is_keras_own(owner: Any, method: str) -> bool:
    """Whether a method is the one that comes with Keras: neither overridden in a subclass nor set on the object."""
    module = getattr(getattr(owner, method, None), "__module__", None)
    return method not in vars(owner) and str(module).partition(".")[0] == "keras"


def require_inputs(model: Any, x: Any, what: str) -> None:
    """Refuses arrays (a row for each sample, in any nest) that a model which says what it takes does not take."""
    wanted = getattr(model, "inputs", None)  # models of a class of one's own have none
    if not wanted:
        return
    specs = _specs(model, wanted)
    sole = x[0] if isinstance(x, list | tuple) and len(x) == 1 else x  # the input of a sequential model
    given = _in_order(x, specs, what) if specs else [sole] if hasattr(sole, "shape") else []
    pairs = [(tensor, array) for tensor, array in zip(wanted, given, strict=False) if array is not None]
    for tensor, array in pairs:
        _require_type(tensor, array, what)
        if not _may_fit(tuple(tensor.shape[1:]), array.shape[1:], compares_lengths=bool(specs)):
            raise _refused(tensor, array, what)
    differing = [(t, array) for t, array in pairs if not _fits(tuple(t.shape[1:]), array.shape[1:])]
    if differing:
        try:
            run_symbolically(model, x, fixed_batch_size(model))
        except Exception as error:
            # Any layer may raise anything; whatever it is, the same comes of the samples themselves.
            raise _refused(*differing[0], what) from error


def require_fixed_size(size: int, **given: Any) -> None:
    """Refuses other sizes than the one that a model is fixed to."""
    for name, value in given.items():
        if value not in (None, size):
            msg = f"The model takes batches of {size} samples and no others: its Input or its state fixes that. "
            raise ArgumentError(f"{msg}Received: {name}={value!r}. Expected {size}, or it left out.")


def require_whole_batches(model: Any, batch: Batch, samples: int | None, what: str = "data") -> None:
    """Refuses so many samples where the last batch of a pass would be short, and the model fixed to another size."""
    size = fixed_batch_size(model)
    short = samples % size if size and samples else 0
    if short and not runs(model, batch.x, short):
        msg = f"The model takes batches of {size} samples and no others, and the last one would have {short}. "
        raise ArgumentError(f"{msg}Received: {samples} samples in {what}. Expected a multiple of {size}.")


def _specs(model: Any, wanted: Sequence[Any]) -> list[Any]:
    """What a functional model checks its inputs against, in the order of its inputs; else nothing."""
    specs = getattr(model, "input_spec", None)
    return specs if isinstance(specs, list) and len(specs) == len(wanted) and all(specs) else []


def _in_order(x: Any, specs: Sequence[Any], what: str) -> list[Any]:
    names = [spec.name for spec in specs]
    if isinstance(x, dict):
        missing = [name for name in names if name not in x]
        if missing:
            takes, lacks = format_count(len(names), "input"), ", ".join(map(repr, missing))
            msg = f"The model takes {takes}, and {lacks} is missing. "
            raise ArgumentError(f"{msg}Received: inputs named {list(x)} in {what}. Expected {names}.")
        return [x[name] for name in names]
    given: list[Any] = keras.tree.flatten(x)
    if len(given) != len(names):
        takes, received = (format_count(len(each), "input") for each in (names, given))
        msg = f"The model takes {takes}. Received: {received} in {what}. "
        raise ArgumentError(f"{msg}Expected {len(names)}, as a list in this order or a dict: {names}.")
    return given


def _require_type(tensor: Any, array: Any, what: str) -> None:
    if is_text(array) and tensor.dtype != "string":
        msg = f"The model takes numbers ({tensor.dtype}), and these inputs are text. "
        received = f"Received: inputs of {array.dtype} in {what}, beginning with {array.ravel()[:1].tolist()!r:.80}. "
        raise ArgumentError(f"{msg}{received}Expected numbers, or a model with a layer that reads text in front.")


def _may_fit(wanted: Shape, there: Shape, *, compares_lengths: bool) -> bool:
    """Whether Keras lets a sample of one shape in where it expects another; it adds or drops a last axis of 1."""
    more = len(there) - len(wanted)
    adds, drops = more == -1 and wanted[-1:] == (1,), more == 1 and there[-1:] == (1,)
    return (not more or adds or drops) and (not compares_lengths or fits_shape(_bare(wanted), _bare(there)))


def _fits(wanted: Shape, there: Shape) -> bool:
    """Whether nothing has to be tried out."""
    as_let_in = there[: len(wanted)] if len(there) > len(wanted) else there + (1,) * (len(wanted) - len(there))
    return fits_shape(wanted, as_let_in)


def fits_shape(wanted: Shape, there: Shape) -> bool:
    """Whether lengths are those that are wanted, where they are settled; shapes may be of different rank."""
    return all(length in (None, other) for length, other in zip(wanted, there, strict=False))


def _bare(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return shape[:-1] if shape[-1:] == (1,) else shape


def _refused(tensor: Any, array: Any, what: str) -> ArgumentError:
    there, wanted = tuple(array.shape[1:]), tuple(tensor.shape[1:])
    msg = f"The samples are of shape {there}, and the model takes {wanted}. "
    received = f"Received: inputs of shape {(None, *there)} in {what}. "
    return ArgumentError(f"{msg}{received}Expected {(None, *wanted)}.")


def _require_targets(y: Any, what: str, step: str) -> None:
    if next(leaves(y), None) is None:
        msg = f"There is nothing to compare the model's outputs with. Received: {what} without targets. "
        raise ArgumentError(msg + _INSTEAD[step])


def _compared(loss: Any, y: Any) -> Any:
    """The targets that a loss is for: outputs may have none, and what goes with them is not looked at."""
    if isinstance(loss, dict) and isinstance(y, dict):
        return {name: y[name] for name in y if loss.get(name) is not None}
    if isinstance(loss, list | tuple) and isinstance(y, list | tuple) and len(loss) == len(y):
        return [target for target, one in zip(y, loss, strict=True) if one is not None]
    return y


def _require_arrays(x: Any, what: str) -> None:
    for array in leaves(x):
        if holds_objects(array) and not is_text(array):
            msg = f"A model takes numbers or text. Received: inputs of Python objects ({array.dtype}) in {what}. "
            raise ArgumentError(f"{msg}Expected arrays of one type, such as x.astype('float32').")


def _require_numbers(y: Any, what: str) -> None:
    for array in leaves(y):
        if not holds_objects(array) and array.dtype.kind not in "mM":
            continue
        received = f"Received: targets of {array.dtype} in {what}, beginning with {array.ravel()[:1].tolist()!r:.80}. "
        if is_text(array):
            msg = "Targets are compared as numbers, and these are names. "
            how = "classes, y = np.unique(names, return_inverse=True), or keras.layers.StringLookup"
        else:
            kind = "Python objects" if holds_objects(array) else "dates or times"
            msg = f"Targets are compared as numbers, and these are {kind}. "
            how = "an array of numbers, such as y.astype('float32')"
        raise ArgumentError(f"{msg}{received}Expected {how}.")


def require_numeric_targets(spec: ModelSpec, targets: Any, named: str) -> None:
    """Refuses arrays of targets, called `named`, that are no numbers or not in the form that the loss compares.

    A loss of one's own may compare anything with anything, so only those of Keras are held to a form.
    """
    arrays = [np.asarray(leaf) for leaf in leaves(targets)]
    _require_numbers(arrays, named)
    if spec.outputs and len(arrays) != spec.outputs:
        message = f"The model has {format_count(spec.outputs, 'output')}, and each is compared with one "
        received = f"{named} with {format_count(len(arrays), 'array')}"
        raise ArgumentError(f"{message}array of targets. Received: {received}. Expected {spec.outputs}.")
    if len(arrays) != 1 or spec.kind is None or spec.output is None:
        return
    if spec.kind == "sparse":
        _require_class_numbers(spec.loss, spec.output, arrays[0], named)
    else:
        _require_target_shape(spec, spec.output, arrays[0], named)


def _require_target_shape(spec: ModelSpec, output: Shape, array: Any, named: str) -> None:
    shape = array.shape[1:]
    # Keras takes one number for a vector of one.
    one = shape in {(), (1,)} and output in {(), (1,)}
    fits = len(shape) == len(output) and fits_shape(output, shape)
    if one or fits:
        return
    message = f"The model returns {(None, *output)} and is compiled with {spec.loss}, which compares that with the "
    expected = f"{(None, *output)}"
    if spec.kind == "categorical" and shape in {(), (1,)}:
        expected += ", one-hot vectors, or a sparse loss"
    raise ArgumentError(f"{message}same shape. Received: {named} of shape {array.shape}. Expected {expected}.")


def _require_class_numbers(loss: str | None, output: Shape, array: Any, named: str) -> None:
    shape, units = array.shape[1:], output[-1] if output else 1
    if len(shape) == len(output) and shape[-1:] == (1,):
        shape = shape[:-1]
    if len(shape) != len(output) - 1 or not fits_shape(output, shape):
        message = f"The model is compiled with {loss}, which compares class numbers. "
        expected = f"{(None, *output[:-1])}"
        raise ArgumentError(f"{message}Received: {named} of shape {array.shape}. Expected {expected}.")
    if array.size and units is not None and not (array.min() >= 0 and array.max() < units):
        message = f"The model has {units} outputs, one for each class, so classes are numbered from 0 to {units - 1}. "
        received = f"{named} with numbers from {array.min()} to {array.max()}"
        raise ModelError(f"{message}Received: {received}. Expected 0 to {units - 1}.")
