"""A model as data are made for it, when there is nothing to compare with."""

from typing import Any


class Untargeted:
    """What a model takes, and no loss: data that are opened for it need no targets.

    Args:
        model: A Keras model, compiled or not.
    """

    compiled = True
    loss = None

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def input_shape(self) -> Any:
        """As the model says; an `AttributeError` or a `ValueError` where it does not know."""
        return self._model.input_shape

    @property
    def output_shape(self) -> Any:
        """As the model says; an `AttributeError` or a `ValueError` where it does not know."""
        return self._model.output_shape
