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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_GLOBAL_STATE = threading.RLock()

_CALM = 16
"""Calls in a row without a draw after which a function is taken not to draw at all."""


class Scope:
    """What happened in a `seeded` block: `drew` says, after it, whether a random number was drawn."""

    def __init__(self) -> None:
        self.drew = False


@contextmanager
def seeded(seed: int) -> Iterator[Scope]:
    """Seeds numpy's and Python's global random state for a block, and puts back what was there, whatever happens.

    Args:
        seed: 32 bits.
    """
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


class Tamed:
    """Other people's functions, called so that what they draw depends on the seed alone.

    Functions that never draw are soon called without the lock: the first calls are watched, and only if none of them
    draws are the rest left alone.
    """

    def __init__(self) -> None:
        self._calm = 0
        self._draws = False

    def __call__(self, seed: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` returns."""
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

    Returns:
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


def is_from_keras(owner: Any, name: str) -> bool:
    """Whether a method is Keras' own: neither overridden in a subclass nor set on the object."""
    module = getattr(getattr(owner, name, None), "__module__", None) or ""
    return name not in vars(owner) and module.startswith("keras.")
