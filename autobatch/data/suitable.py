"""Whether a model can be run on samples at all: seen on a few of them, before anything is started.

What Keras itself would refuse is refused here, sooner and in other words; what Keras takes is let through. A step, a
loss or a `call` of the user's may take anything, so it is never second-guessed.
"""

from typing import Any, Literal

from autobatch.data.batch import Batch, leaves
from autobatch.data.suitable_inputs import require_inputs
from autobatch.data.text import holds_objects, is_text
from autobatch.errors import ArgumentError

Step = Literal["train", "evaluate", "predict"]

_STEPS = {"train": "train_step", "evaluate": "test_step", "predict": "predict_step"}
_INSTEAD = {
    "train": "Expected (x, y), such as fit(model, x, y); an autoencoder's targets are its inputs: (x, x).",
    "evaluate": "Expected (x, y), or autobatch.predict for data without targets.",
}


def require_suitable(model: Any, batch: Batch, what: str = "data", *, step: Step = "train") -> None:
    """Refuses samples that a step of the model's must fail on, whatever their number.

    Args:
        model: A Keras model, built or not; nothing in it is changed.
        batch: A few samples.
        what: What they were given as, for the message.
        step: What they are for.

    Raises:
        ArgumentError: There are no targets to compare with, targets are no numbers, or the inputs are not those that
            the model takes: another number, other shapes, text for numbers.
    """
    if not is_keras_own(model, _STEPS[step]):
        return
    if step != "predict" and is_keras_own(model, "compute_loss") and model.loss is not None:
        _require_targets(batch.y, what, step)
        _require_numbers(_compared(model.loss, batch.y), what)
    _require_arrays(batch.x, what)
    if is_keras_own(model, "call"):
        require_inputs(model, batch.x, what)


def is_keras_own(model: Any, method: str) -> bool:
    """Whether a method of the model's is the one that comes with Keras."""
    module = getattr(getattr(model, method, None), "__module__", None)
    return str(module).partition(".")[0] == "keras"


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
        if not holds_objects(array):
            continue
        received = f"Received: targets of {array.dtype} in {what}, beginning with {array.ravel()[:1].tolist()!r:.80}. "
        if is_text(array):
            msg = "Targets are compared as numbers, and these are names. "
            how = "classes, y = np.unique(names, return_inverse=True), or keras.layers.StringLookup"
        else:
            msg = "Targets are compared as numbers, and these are Python objects. "
            how = "an array of numbers, such as y.astype('float32')"
        raise ArgumentError(f"{msg}{received}Expected {how}.")
