"""Values as JSON can hold them."""

import json
import math
from typing import Any


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON text, for people and programs: numpy's numbers as Python's, what is no number as null.

    Args:
        value: What to write.
        indent: Spaces for each level, `None` for all in one line.
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """A value of values that JSON has."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
