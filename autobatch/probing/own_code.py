"""The classes and functions of a model that are not Keras' own: what they are, and where another process finds them.

Keras imports nothing but itself when it rebuilds a model, and its configuration tells of a function only the name. The
worker rebuilds a model of its own caller's, so it imports the modules that the caller has imported.

Covered: the model, its layers and their activations, optimizer, losses and metrics. Not covered: what is nested in them
(a regularizer's class); Keras then misses it, and trials run in the caller's process.
"""

import importlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

_LIBRARIES = ("keras", "tensorflow", "autobatch", "builtins")


def own_code(model: Any, step: str = "train") -> Iterator[Any]:
    """The classes, with what they derive from, and functions behind a model that are not of Keras or Python.

    Args:
        model: A Keras model.
        step: What it is to run; except for `"predict"`, what it is compiled with counts, too.
    """
    items: list[Any] = [model, *model._flatten_layers()]
    if step != "predict":
        given = getattr(model, "_compile_metrics", None)
        metrics = [getattr(given, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
        items += [model.optimizer, *model.metrics, *_flat(model.loss), *_flat(metrics)]
    items += [function for item in items for function in _functions_of(item)]
    for item in items:
        for code in [item] if inspect.isfunction(item) else type(item).__mro__:
            if str(code.__module__).partition(".")[0] not in _LIBRARIES:
                yield code


def has_a_name(code: Any) -> bool:
    """Whether it is found by its name; a lambda is not, and Keras' configuration carries its code instead."""
    return bool(code.__name__ != "<lambda>")


def places_of(code: Iterable[Any]) -> list[list[str]]:
    """Module and name of each, for another process; those in the caller's script are there under `__main__`."""
    return [
        list(place)
        for place in dict.fromkeys((str(one.__module__), str(one.__name__)) for one in code if has_a_name(one))
    ]


def imported(places: Iterable[Iterable[str]]) -> dict[str, Any]:
    """What `places_of` told of, by name; code that registers itself with Keras does so here.

    Raises:
        ImportError: A module cannot be imported in this process.
    """
    found: dict[str, Any] = {}
    for module, name in places:
        one = getattr(importlib.import_module(module), name, None)
        if one is not None:
            found.setdefault(name, one)  # the most derived comes first
    return found


def _functions_of(item: Any) -> Iterator[Any]:
    for name in ("activation", "fn", "_fn"):
        function = getattr(item, name, None)
        if inspect.isfunction(function):
            yield function


def _flat(nest: Any) -> list[Any]:
    """What a user may give to `compile`: one thing, or lists and dicts of them; names of Keras' own are left out."""
    if isinstance(nest, dict):
        return [part for value in nest.values() for part in _flat(value)]
    if isinstance(nest, list | tuple):
        return [part for value in nest for part in _flat(value)]
    return [] if nest is None or isinstance(nest, str) else [nest]
