"""Samples made up for a model, where only the memory and the speed of its steps are of interest.

Numbers are random and mean nothing. Covered: models that know the shapes of what they take, with any number of inputs
and outputs, and the losses of Keras but two. Not covered: text, shapes that the model leaves open, and the losses CTC
and Circle, whose labels have a shape that the model does not tell.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from autobatch.data.batch import Batch, map_leaves
from autobatch.data.epoch import as_indices, sample_seed
from autobatch.data.model_spec import LossKind, kind_of, labels_differ, name_of, output_names
from autobatch.errors import ModelError

SAMPLES = 2**16
"""How many there are: as many as are ever tried at once."""

_NOTE = "The samples are synthetic: random numbers in the shapes that the model takes and is compared with."
_INSTEAD = "or real samples, such as a folder of pictures"
Array = npt.NDArray[Any]
Make = Callable[[np.random.Generator], Array]
"""One sample of an input or of a target."""


class SyntheticSource:
    """Random samples in the shapes of a compiled model's inputs and outputs, with targets that its losses compare."""

    synthetic = True
    notes = (_NOTE,)

    def __init__(self, model: Any, *, seed: int = 0) -> None:
        self.seed = seed
        self._nest = _inputs(model), _targets(model)
        self.sample_bytes = self.read([0], epoch=0).nbytes

    def __len__(self) -> int:
        return SAMPLES

    def read(self, indices: Any, epoch: int) -> Batch:
        places = as_indices(indices, len(self))
        samples = [self._sample(epoch, int(place)) for place in places] or [self._sample(epoch, 0)]
        x, y = map_leaves(lambda *parts: np.stack(parts)[: len(places)], *samples)
        return Batch(x, y, bare=y is None and not isinstance(x, list | tuple))

    def _sample(self, epoch: int, index: int) -> Any:
        generator = np.random.default_rng(sample_seed(self.seed, epoch, index))
        return map_leaves(lambda make: make(generator), self._nest)


def _inputs(model: Any) -> Any:
    """What makes the inputs, in the nest that the model takes."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        msg = "The model does not say what it takes, so no samples can be made up. "
        raise ModelError(f"{msg}Received: a model without inputs. Expected a keras.Input in it, {_INSTEAD}.")
    nest = getattr(model, "input", None) if len(tensors) > 1 or not isinstance(model, keras.Sequential) else tensors[0]
    return map_leaves(lambda tensor: _input(model, tensor), tensors[0] if nest is None else nest)


def _input(model: Any, tensor: Any) -> Make:
    shape = _known(tensor, f"input {tensor.name!r}")
    dtype = str(tensor.dtype)
    vocabulary = _vocabulary(model, tensor)
    if dtype == "bool":
        return _whole(2, shape, "bool")
    if "int" in dtype:
        least = min((layer.input_dim for layer in _embeddings(model)), default=None)
        return _whole(vocabulary or least or 2, shape, dtype)
    if "float" not in dtype:
        msg = f"Inputs of {dtype} cannot be made up. Received: input {tensor.name!r} of {dtype}. "
        raise ModelError(f"{msg}Expected numbers, {_INSTEAD}.")
    floats = "float32" if dtype == "bfloat16" or "float8" in dtype else dtype  # numpy knows no others
    return _fractions(shape, floats) if vocabulary is None else _whole(vocabulary, shape, floats)


def _vocabulary(model: Any, tensor: Any) -> int | None:
    """How many numbers the embeddings know that take an input as it is, `None` if none does."""
    known = (
        layer.input_dim
        for layer in _embeddings(model)
        if any(taken is tensor for node in layer._inbound_nodes for taken in node.input_tensors)
    )
    return min(known, default=None)


def _embeddings(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]


def _targets(model: Any) -> Any:
    """What makes the targets, in the nest of the model's outputs; `None` for a model without a loss."""
    loss = getattr(model, "loss", None)
    if loss is None:
        return None
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    tensors = keras.tree.flatten(outputs)
    losses = _for_each(loss, output_names(model), len(tensors))
    return keras.tree.pack_sequence_as(outputs, [_target(*pair) for pair in zip(tensors, losses, strict=True)])


def _for_each(loss: Any, names: list[str], count: int) -> list[Any]:
    """The loss of each output, in order; one for all if there is but one."""
    if isinstance(loss, dict):
        losses = [loss.get(name) for name in names] if len(names) == count else list(loss.values())
    elif isinstance(loss, list | tuple):
        losses = list(loss)
    else:
        return [loss] * count
    return losses if len(losses) == count else [None] * count


def _target(tensor: Any, loss: Any) -> Make:
    shape, kind = _known(tensor, f"output {tensor.name!r}"), kind_of(loss)
    if labels_differ(loss):
        msg = "Labels whose shape the model does not tell cannot be made up. "
        raise ModelError(f"{msg}Received: the loss {name_of(loss)}. Expected another loss, {_INSTEAD}.")
    makers: dict[LossKind | None, Make] = {
        "sparse": _whole(shape[-1] if shape else 1, shape[:-1], "int64"),
        "categorical": _one_hot(shape),
        "binary": _whole(2, shape, "float32"),
    }
    return makers.get(kind, _fractions(shape, "float32"))


def _known(tensor: Any, what: str) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if None in shape[1:]:
        msg = "A sample of a shape that the model leaves open cannot be made up. "
        instead = f"every length known (give input_shape), {_INSTEAD}"
        raise ModelError(f"{msg}Received: {what} of shape {shape}. Expected {instead}.")
    return shape[1:]


def _fractions(shape: tuple[int, ...], dtype: str) -> Make:
    return lambda generator: generator.random(shape, np.float32).astype(dtype)


def _whole(below: int, shape: tuple[int, ...], dtype: str) -> Make:
    return lambda generator: generator.integers(0, max(1, below), shape).astype(dtype)


def _one_hot(shape: tuple[int, ...]) -> Make:
    units = shape[-1] if shape else 1
    return lambda generator: np.eye(units, dtype=np.float32)[generator.integers(0, units, shape[:-1])].reshape(shape)
