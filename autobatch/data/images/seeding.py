"""Random draws that depend on a given seed alone, though the code that draws uses numpy's and Python's global state.

`ImageDataGenerator` draws from `np.random`, which every thread of the process shares. Keras' own method is given a
generator of its own here, so that no lock is taken and the global state isn't touched at all. Other people's code (a
subclass, a `preprocessing_function`) runs under one lock with the global states seeded before and restored after; a
thread that draws from them at that very moment, and doesn't know of the lock, sees the seeded state.

Not covered: code that draws from elsewhere (`np.random.default_rng()`, `tf.random`).
"""

import random
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from autobatch.data.check import is_keras_own
from autobatch.data.images.transform import PixelMover

_GLOBAL_STATE = threading.RLock()
_CALM = 16
"""Calls in a row without a draw after which a function is taken not to draw at all."""


class Scope:
    """What happened in a `seeded` block: `drew` says, after it, whether a random number was drawn."""

    def __init__(self) -> None:
        self.drew = False


@contextmanager
def seeded(seed: int) -> Iterator[Scope]:
    """Seeds numpy's and Python's global random state for a block, and puts back what was there, whatever happens."""
    scope = Scope()
    with _GLOBAL_STATE:
        before = np.random.get_state(), random.getstate()
        try:
            np.random.seed(seed)
            random.seed(seed)
            start = _mark()
            yield scope
            scope.drew = _mark() != start
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def _mark() -> tuple[Any, ...]:
    """What changes with every draw."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    return position, int(keys[0]), has_gauss, gauss, random.getstate()


class SeededCalls:
    """Other people's functions, called so that what they draw depends on the seed alone.

    Functions that never draw are soon called without the lock: the first calls are watched, and only if none of them
    draws are the rest left alone.
    """

    def __init__(self) -> None:
        self._calm = 0
        self._draws = False

    def __call__(self, seed: int, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._draws and self._calm >= _CALM:
            return function(*arguments)
        with seeded(seed) as scope:
            result = function(*arguments)
        self._draws |= scope.drew
        self._calm += 1
        return result


class _NumpyWith:
    """numpy, with another generator in the place of `np.random`."""

    def __init__(self, generator: np.random.RandomState) -> None:
        self.random = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def drawing_from(method: Any, generator: np.random.RandomState) -> Callable[..., Any] | None:
    """A bound method that draws from `generator` where the original draws from `np.random`.

    The numbers are those that the original would draw after `np.random.seed(s)`, if `generator.seed(s)` was called.
    `None` if the method isn't a plain Python function of a module that knows numpy as `np`.
    """
    function = getattr(method, "__func__", None)
    if not isinstance(function, types.FunctionType) or function.__globals__.get("np") is not np:
        return None
    if "np" not in function.__code__.co_names:
        return None
    names = {**function.__globals__, "np": _NumpyWith(generator)}
    twin = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return types.MethodType(twin, method.__self__)


STEPS = ("get_random_transform", "apply_transform", "standardize")
"""The methods that a flow calls on its generator for each picture, in this order."""


class SeededImageGenerator:
    """An `ImageDataGenerator` whose draws depend on the seed of the current picture alone. Serves one call of a flow.

    There is a seed for each picture, in the order in which the flow makes them. Without `augment` pictures are not
    transformed at random; rescaling, standardisation and a `preprocessing_function` happen either way.
    """

    def __init__(
        self, datagen: Any, calls: Mapping[str, SeededCalls], seeds: Iterable[int], *, augment: bool, mover: PixelMover
    ) -> None:
        self._datagen = datagen
        self._calls = calls
        self._augment = augment
        self._mover = mover
        self._seeds = iter(seeds)
        self._seed = 0
        self._generator = np.random.RandomState(0)
        self._draw = drawing_from(datagen.get_random_transform, self._generator)
        self._custom = {step for step in STEPS if not is_keras_own(datagen, step)}
        if getattr(datagen, "preprocessing_function", None) is not None:
            self._custom.add("standardize")
        if self._draw is None:
            self._custom.add("get_random_transform")
        self.decoded = 0

    def get_random_transform(self, shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Begins a picture: the parameters of its transformation, none where pictures are not transformed."""
        del seed  # the flow gives none, and the picture's own decides
        self._seed = next(self._seeds)
        self.decoded += 1
        if not self._augment:
            return {}
        if self._draw is not None and "get_random_transform" not in self._custom:
            self._generator.seed(self._seed)
            return dict(self._draw(shape))
        return dict(self._call("get_random_transform", shape))

    def apply_transform(self, picture: Any, parameters: dict[str, Any]) -> Any:
        if not self._augment:
            return picture
        if "apply_transform" not in self._custom:
            picture, parameters = self._mover(picture, parameters)
        return self._call("apply_transform", picture, parameters)

    def standardize(self, picture: Any) -> Any:
        return self._call("standardize", picture)

    def _call(self, step: str, *arguments: Any) -> Any:
        function = getattr(self._datagen, step)
        if step not in self._custom:
            return function(*arguments)
        # Steps that draw after one another must not all begin with the same numbers.
        seed = (self._seed + STEPS.index(step) * 0x9E3779B9) & 0xFFFFFFFF
        return self._calls[step](seed, function, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datagen, name)
