"""A model compiled as the command line says, where it is not compiled yet."""

import shlex
from collections.abc import Sequence
from typing import Any

from autobatch.cli.nearest import did_you_mean, nearest
from autobatch.errors import ArgumentError, ModelError

DEFAULT_OPTIMIZER = "adam"
_LOSSES = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
_OTHER_LOSS = "mean_squared_error"
_BASES = {"Loss", "Optimizer"}  # they compute nothing themselves


def compiled(model: Any, losses: Sequence[str] | None, optimizer: str | None, words: Sequence[str]) -> Any:
    """The same model, compiled with the loss and optimizer that were given if it was not compiled.

    Args:
        model: A Keras model.
        losses: Names of losses, one for each output; several may stand in one text, with commas.
        optimizer: The name of an optimizer, `None` for Adam.
        words: The words after `autobatch`, to show what to type instead.

    Raises:
        ArgumentError: It is compiled and a loss or optimizer was given, or Keras knows no such name.
        ModelError: It is not compiled and no loss was given.
    """
    names = [name.strip() for text in losses or () for name in text.split(",")]
    if model.compiled:
        if names or optimizer is not None:
            flags = " and ".join(["--loss"] * bool(names) + ["--optimizer"] * (optimizer is not None))
            raise ArgumentError(f"The model is compiled: it has a loss and an optimizer. Received: {flags} beside it.")
        return model
    if not names:
        raise ModelError(_not_compiled(model, words))
    _require_known("--optimizer", "optimizers", optimizer or DEFAULT_OPTIMIZER)
    for name in names:
        _require_known("--loss", "losses", name)
    each = _for_each_output(model, names)
    model.compile(optimizer=optimizer or DEFAULT_OPTIMIZER, loss=each if len(each) > 1 else each[0])
    return model


def fitting_losses(model: Any) -> list[str]:
    """A loss for each output, by its activation."""
    tensors = model.outputs if getattr(model, "outputs", None) else [None]
    return [_fitting(getattr(tensor, "_keras_history", None)) for tensor in tensors]


def _fitting(history: Any) -> str:
    activation = getattr(getattr(history, "operation", None), "activation", None)
    return _LOSSES.get(getattr(activation, "__name__", ""), _OTHER_LOSS)


def _not_compiled(model: Any, words: Sequence[str]) -> str:
    more = [word for name in fitting_losses(model) for word in ("--loss", name)]
    return (
        "The model is not compiled: it has no optimizer and no loss. Call model.compile(...) before it is returned or "
        f"saved, or give a loss: autobatch {shlex.join([*words, *more])}"
    )


def _require_known(flag: str, kind: str, name: str) -> None:
    import keras

    module = getattr(keras, kind)
    try:
        module.get(name)
    except ValueError:
        names = [each for each in dir(module) if each[0] != "_" and each not in _BASES]
        known = [each for each in names if callable(getattr(module, each))]
        hint = did_you_mean(nearest(name, known, cutoff=0.5))
        raise ArgumentError(
            f"Keras has no {flag[2:]} of that name. Received: {flag} {name}. Expected a name in keras.{kind}.{hint}"
        ) from None


def _for_each_output(model: Any, names: list[str]) -> list[str]:
    count = len(model.outputs) if getattr(model, "outputs", None) else len(names)
    if len(names) not in {1, count}:
        raise ArgumentError(
            f"Each output needs a loss. Received: {len(names)} losses. Expected: {count}, or one for all."
        )
    return names * count if len(names) == 1 else names
