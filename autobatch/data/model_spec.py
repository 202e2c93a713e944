"""What a model says of the inputs it takes, and of the targets that its loss compares."""

from dataclasses import dataclass
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

import keras

from autobatch.data.batch import is_text, leaves
from autobatch.errors import ModelError

LossKind = Literal["categorical", "sparse", "binary", "regression"]

# Names of Keras' losses, without underscores and capitals, so that a function and its class share one entry. Each of
# these gives one value for a sample, from that sample alone: `backend/tensorflow/cut_check.py` relies on it.
_KERAS_LOSSES: dict[LossKind, str] = {
    "binary": "binarycrossentropy binaryfocalcrossentropy hinge squaredhinge",
    "categorical": "categoricalcrossentropy categoricalfocalcrossentropy categoricalhinge kldivergence",
    "sparse": "sparsecategoricalcrossentropy categoricalgeneralizedcrossentropy",
    "regression": "cosinesimilarity huber logcosh meanabsoluteerror meanabsolutepercentageerror meansquarederror "
    "meansquaredlogarithmicerror poisson",
}
_KINDS: dict[str, LossKind] = {name: kind for kind, names in _KERAS_LOSSES.items() for name in names.split()}

# A text for each sample (CTC), a class for each embedding (Circle).
_OTHER_LABELS = frozenset({"ctc", "circle"})


def losses_of(model: Any) -> list[Any]:
    """The losses that `model.compile` was given, out of whatever list or dict; empty if it was given none."""
    return list(leaves(model.loss))


def kind_of(loss: Any) -> LossKind | None:
    """What a loss compares: class numbers, one-hot vectors, yes or no, or quantities; `None` if it can't be told.

    A subclass of a Keras loss is taken for what it derives from.
    """
    known = (_KINDS.get(name) for name in _keras_names(loss))
    return next((kind for kind in known if kind is not None), None)


def labels_differ(loss: Any) -> bool:
    """Whether a loss of Keras' compares with labels whose shape does not follow from the output's."""
    return not _OTHER_LABELS.isdisjoint(_keras_names(loss))


def _keras_names(loss: Any) -> list[str]:
    """What Keras calls a loss and what it derives from, without underscores and capitals; nothing for one's own."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return []
    if isinstance(loss, keras.losses.Loss):
        names = [base.__name__ for base in type(loss).__mro__ if base.__module__.startswith("keras.")]
    else:
        module = getattr(loss, "__module__", None) or ""
        names = [getattr(loss, "__name__", "")] if module.startswith("keras.") else []
    return [name.replace("_", "").lower() for name in names]


def name_of(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "__name__", None) or type(loss).__name__)


Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a compiled model asks of its data; `None` is what the model doesn't know or tell."""

    input: Shape | None  # of one picture, which is the first input of that rank
    output: Shape | None  # of one output; `None` if there are several, too
    outputs: int  # how many there are, 0 if the model doesn't know
    loss: str | None  # its name; `None` if there is none or there are several
    kind: LossKind | None  # what that loss compares

    @classmethod
    def of(cls, model: Any, *, several_inputs: bool = False) -> Self:
        """Reads a compiled model; `several_inputs` says that it may take others beside the picture."""
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
        return self.output is not None and len(self.output) == 3 and self.output == self.input


def output_names(model: Any) -> list[str]:
    """Names of a model's outputs, in the order in which Keras compares them with a list; empty if it has none."""
    try:
        nest = model.output
    except (AttributeError, ValueError):  # only a functional model has one
        nest = None
    return sorted(nest) if isinstance(nest, dict) else list(getattr(model, "output_names", None) or ())


def shapes_of(model: Any, name: str) -> list[Shape]:
    """The shapes of `input_shape` or `output_shape` with the batch dimension, out of any nest; empty if unknown."""
    try:
        return _flat_shapes(getattr(model, name))
    except (AttributeError, ValueError):  # a model that has never been called has no shapes
        return []


def fixed_batch_size(model: Any) -> int | None:
    """The only number of samples that a model takes at once, by its `Input` or its state; `None` where it takes any."""
    states = [tuple(state.shape) for layer in model._flatten_layers() for state in carried_states(layer)]
    shapes = [*states, *shapes_of(model, "input_shape")]
    size = next((shape[0] for shape in shapes if shape and shape[0] is not None), None)
    if size is None or states or not isinstance(model, keras.Sequential):
        return size
    # Keras gives a Sequential without an `Input` one of what it is first called on, and does not tell which is which.
    if _others_run.get(model, (None, None))[0] != size:
        _others_run[model] = size, runs(model, model.inputs[0], size + 1)
    return None if _others_run[model][1] else size


# From a Sequential to the size that its `Input` tells, and whether it runs at another.
_others_run: WeakKeyDictionary[Any, tuple[int, bool]] = WeakKeyDictionary()


def runs(model: Any, x: Any, size: int | None) -> bool:
    """Whether the model takes so many samples like those of a nest of arrays; no number is computed."""
    try:
        run_symbolically(model, x, size)
    except Exception:  # noqa: BLE001 - any layer may raise anything
        return False
    return True


def run_symbolically(model: Any, x: Any, size: int | None) -> None:
    """Calls the model on so many samples like those of a nest of arrays, `None` for any number; no number is computed.

    Raises:
        Exception: Whatever a layer raises that does not take them.
    """
    # Keras has no public call that leaves no trace in the model: each on a symbolic tensor is noted in its layers.
    from keras.src.backend import compute_output_spec

    compute_output_spec(model, keras.tree.map_structure(lambda array: symbol_of(array, size), x), training=False)


def symbol_of(array: Any, size: int | None = None) -> Any:
    """A symbolic tensor for so many samples like those of an array."""
    if array is None:
        return None
    if isinstance(array, keras.KerasTensor):
        dtype = array.dtype
    else:
        dtype = "string" if is_text(array) else keras.backend.standardize_dtype(array.dtype)
    return keras.KerasTensor((size, *array.shape[1:]), dtype)


def carried_states(layer: Any) -> list[Any]:
    """The variables in which a recurrent layer carries its state from batch to batch; Keras does not count them."""
    return list(leaves(getattr(layer, "states", None))) if getattr(layer, "stateful", False) else []


def _flat_shapes(nest: Any) -> list[Shape]:
    if nest is None:
        return []
    if isinstance(nest, dict):
        return [shape for value in nest.values() for shape in _flat_shapes(value)]
    if isinstance(nest, list | tuple) and any(isinstance(value, list | tuple | dict) for value in nest):
        return [shape for value in nest for shape in _flat_shapes(value)]
    return [tuple(nest)]
