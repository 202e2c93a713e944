"""What form of targets a compiled loss wants."""

from typing import Any, Literal

import keras

LossKind = Literal["categorical", "sparse", "binary", "regression"]

# Names of Keras' losses, without underscores and capitals, so that a function and its class share one line.
_KINDS: dict[str, LossKind] = {
    "binarycrossentropy": "binary",
    "binaryfocalcrossentropy": "binary",
    "hinge": "binary",
    "squaredhinge": "binary",
    "categoricalcrossentropy": "categorical",
    "categoricalfocalcrossentropy": "categorical",
    "categoricalhinge": "categorical",
    "kldivergence": "categorical",
    "sparsecategoricalcrossentropy": "sparse",
    "categoricalgeneralizedcrossentropy": "sparse",
    "cosinesimilarity": "regression",
    "huber": "regression",
    "logcosh": "regression",
    "meanabsoluteerror": "regression",
    "meanabsolutepercentageerror": "regression",
    "meansquarederror": "regression",
    "meansquaredlogarithmicerror": "regression",
    "poisson": "regression",
}

# A text for each sample (CTC), a class for each embedding (Circle).
_OTHER_LABELS = frozenset({"ctc", "circle"})


def losses_of(model: Any) -> list[Any]:
    """The losses that `model.compile` was given, out of whatever list or dict; empty if it was given none."""
    return [loss for loss in _flat(model.loss) if loss is not None]


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
    """A loss as one would call it."""
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "__name__", None) or type(loss).__name__)


def _flat(loss: Any) -> list[Any]:
    if isinstance(loss, dict):
        return [leaf for value in loss.values() for leaf in _flat(value)]
    if isinstance(loss, list | tuple):
        return [leaf for value in loss for leaf in _flat(value)]
    return [loss]
