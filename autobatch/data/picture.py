"""What stands in for the `ImageDataGenerator` while a Keras flow makes the pictures of some samples."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from autobatch.data.chance import Tamed, drawing_from, is_from_keras
from autobatch.data.image_backend import Mover

STEPS = ("get_random_transform", "apply_transform", "standardize")
"""The methods that a flow calls on its generator for each picture, in this order."""


class PictureMaker:
    """An `ImageDataGenerator` whose draws depend on the seed of the current picture alone. Serves one call of a flow.

    Args:
        datagen: The user's generator; everything but the draws is its own.
        tamed: For each of `STEPS`, the watch kept on it; shared by all threads.
        augment: Whether pictures are transformed at random. Rescaling, standardisation and the user's
            `preprocessing_function` happen either way.
        mover: Moves pixels where Keras' own method would; a method of the user's is left to move them itself.
        seeds: One for each picture, in the order in which the flow makes them.

    Attributes:
        decoded: How many files have been read and decoded.
    """

    def __init__(
        self, datagen: Any, tamed: Mapping[str, Tamed], seeds: Iterable[int], *, augment: bool, mover: Mover
    ) -> None:
        self._datagen = datagen
        self._tamed = tamed
        self._augment = augment
        self._mover = mover
        self._seeds = iter(seeds)
        self._seed = 0
        self._generator = np.random.RandomState(0)
        self._draw = drawing_from(datagen.get_random_transform, self._generator)
        self._foreign = {step for step in STEPS if not is_from_keras(datagen, step)}
        if getattr(datagen, "preprocessing_function", None) is not None:
            self._foreign.add("standardize")
        if self._draw is None:
            self._foreign.add("get_random_transform")
        self.decoded = 0

    def get_random_transform(self, shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Begins a picture: the parameters of its transformation, none where pictures are not transformed."""
        del seed  # the flow gives none, and the picture's own decides
        self._seed = next(self._seeds)
        self.decoded += 1
        if not self._augment:
            return {}
        if self._draw is not None and "get_random_transform" not in self._foreign:
            self._generator.seed(self._seed)
            return dict(self._draw(shape))
        return dict(self._call("get_random_transform", shape))

    def apply_transform(self, picture: Any, parameters: dict[str, Any]) -> Any:
        """The picture, transformed by `parameters`."""
        if not self._augment:
            return picture
        if "apply_transform" not in self._foreign:
            picture, parameters = self._mover(picture, parameters)
        return self._call("apply_transform", picture, parameters)

    def standardize(self, picture: Any) -> Any:
        """The picture as the model gets it."""
        return self._call("standardize", picture)

    def _call(self, step: str, *arguments: Any) -> Any:
        function = getattr(self._datagen, step)
        if step not in self._foreign:
            return function(*arguments)
        # Steps that draw after one another must not all begin with the same numbers.
        seed = (self._seed + STEPS.index(step) * 0x9E3779B9) & 0xFFFFFFFF
        return self._tamed[step](seed, function, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datagen, name)
