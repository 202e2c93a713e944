"""Makes the configurations of two models that were built the same way the same text.

Keras numbers the names that it makes up through a whole process (`dense`, `dense_1`, ...), so that a model that is
built a second time, as in a notebook, has another configuration.
"""

import re
from collections.abc import Iterator
from typing import Any

from keras.src.utils.naming import to_snake_case

_NUMBER = re.compile(r"_\d+$")


def without_made_up_names(config: Any) -> Any:
    """The configuration with every name that Keras made up replaced by its place in order of appearance.

    Names of the user's own stay, and so does what refers to what.

    Args:
        config: What `keras.saving.serialize_keras_object` returns.
    """
    names: dict[str, str] = {}
    for name in _made_up(config):
        names.setdefault(name, f"{_NUMBER.sub('', name)} #{len(names)}")
    return _renamed(config, names)


def _made_up(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        inner = node.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and _NUMBER.sub("", name) == to_snake_case(str(node.get("class_name"))):
            yield name
        for value in node.values():
            yield from _made_up(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _made_up(value)


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_renamed(value, names) for value in node]
    return names.get(node, node) if isinstance(node, str) else node
