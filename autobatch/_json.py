"""Values as JSON can hold them, and as JSON text."""

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json_values(value: Any) -> Any:
    """A value of values that JSON has: numpy's numbers as Python's, what is no finite number as `None`.

    Example:
        >>> to_json_values({1: (float("nan"), 2.5)})
        {'1': [None, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): to_json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_values(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON text, for people and programs; in one line with `indent=None`."""
    return json.dumps(to_json_values(value), indent=indent, allow_nan=False)
