"""Whether inputs are those that a model takes, by the rules that Keras itself goes by.

A functional model compares all lengths that it knows. A sequential one compares the number of dimensions only, and
what a layer then makes of them may well work: a convolution takes pictures of another size. So where lengths differ
and Keras does not say at once, the model is called without numbers, on shapes alone.
"""

from collections.abc import Sequence
from typing import Any

import keras

from autobatch.data.text import is_text
from autobatch.errors import ArgumentError


def require_inputs(model: Any, x: Any, what: str) -> None:
    """Refuses inputs that a model which says what it takes does not take.

    Args:
        model: A Keras model, built or not.
        x: A few samples: an array of shape `(samples, ...)`, or a list, tuple or dict of such arrays.
        what: What they were given as, for the message.

    Raises:
        ArgumentError: Another number of inputs, other names, other shapes, or text for numbers.
    """
    wanted = getattr(model, "inputs", None)  # models of a class of one's own have none
    if not wanted:
        return
    specs = _specs(model, wanted)
    given = _in_order(x, specs, what) if specs else _only(x)
    pairs = [(tensor, array) for tensor, array in zip(wanted, given, strict=False) if array is not None]
    for tensor, array in pairs:
        _require_type(tensor, array, what)
        if not _may_fit(tuple(tensor.shape[1:]), array.shape[1:], compares_lengths=bool(specs)):
            raise _refused(tensor, array, what)
    differing = [(t, array) for t, array in pairs if not _fits(tuple(t.shape[1:]), array.shape[1:])]
    if differing:
        _try_out(model, x, differing[0], what)


def _specs(model: Any, wanted: Sequence[Any]) -> list[Any]:
    """What a functional model checks its inputs against, in the order of its inputs; else nothing."""
    specs = getattr(model, "input_spec", None)
    return specs if isinstance(specs, list) and len(specs) == len(wanted) and all(specs) else []


def _in_order(x: Any, specs: Sequence[Any], what: str) -> list[Any]:
    names = [spec.name for spec in specs]
    if isinstance(x, dict):
        missing = [name for name in names if name not in x]
        if missing:
            msg = f"The model takes {_several(names)}, and {', '.join(map(repr, missing))} is missing. "
            raise ArgumentError(f"{msg}Received: inputs named {list(x)} in {what}. Expected {names}.")
        return [x[name] for name in names]
    given: list[Any] = keras.tree.flatten(x)
    if len(given) != len(names):
        msg = f"The model takes {_several(names)}. Received: {_several(given)} in {what}. "
        raise ArgumentError(f"{msg}Expected {len(names)}, as a list in this order or a dict: {names}.")
    return given


def _only(x: Any) -> list[Any]:
    """The input of a sequential model, where it is one for certain."""
    if isinstance(x, list | tuple) and len(x) == 1:
        x = x[0]
    return [x] if hasattr(x, "shape") else []


def _several(items: Sequence[Any]) -> str:
    return f"{len(items)} input{'s' * (len(items) != 1)}"


def _require_type(tensor: Any, array: Any, what: str) -> None:
    if is_text(array) and tensor.dtype != "string":
        msg = f"The model takes numbers ({tensor.dtype}), and these inputs are text. "
        received = f"Received: inputs of {array.dtype} in {what}, beginning with {array.ravel()[:1].tolist()!r:.80}. "
        raise ArgumentError(f"{msg}{received}Expected numbers, or a model with a layer that reads text in front.")


def _may_fit(wanted: tuple[int | None, ...], there: tuple[int, ...], *, compares_lengths: bool) -> bool:
    """Whether Keras lets a sample of one shape in where it expects another; it adds or drops a last axis of 1."""
    more = len(there) - len(wanted)
    adds, drops = more == -1 and wanted[-1:] == (1,), more == 1 and there[-1:] == (1,)
    return (not more or adds or drops) and (not compares_lengths or _alike(_bare(wanted), _bare(there)))


def _fits(wanted: tuple[int | None, ...], there: tuple[int, ...]) -> bool:
    """Whether nothing has to be tried out."""
    as_let_in = there[: len(wanted)] if len(there) > len(wanted) else there + (1,) * (len(wanted) - len(there))
    return _alike(wanted, as_let_in)


def _alike(wanted: tuple[int | None, ...], there: tuple[int | None, ...]) -> bool:
    return all(length in (None, other) for length, other in zip(wanted, there, strict=False))


def _bare(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return shape[:-1] if shape[-1:] == (1,) else shape


def _try_out(model: Any, x: Any, pair: tuple[Any, Any], what: str) -> None:
    # Keras has no public call that leaves no trace in the model: each on a symbolic tensor is noted in its layers.
    from keras.src.backend import compute_output_spec

    try:
        compute_output_spec(model, keras.tree.map_structure(_symbol, x), training=False)
    except Exception as error:
        # Any layer may raise anything; whatever it is, the same comes of the samples themselves.
        raise _refused(*pair, what) from error


def _symbol(array: Any) -> Any:
    if array is None:
        return None
    dtype = "string" if is_text(array) else keras.backend.standardize_dtype(array.dtype)
    return keras.KerasTensor((None, *array.shape[1:]), dtype)


def _refused(tensor: Any, array: Any, what: str) -> ArgumentError:
    there, wanted = tuple(array.shape[1:]), tuple(tensor.shape[1:])
    msg = f"The samples are of shape {there}, and the model takes {wanted}. "
    received = f"Received: inputs of shape {(None, *there)} in {what}. "
    return ArgumentError(f"{msg}{received}Expected {(None, *wanted)}.")
