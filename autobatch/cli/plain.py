"""Values as JSON text."""

import json
from typing import Any

from autobatch.report.plain import plain

__all__ = ["as_json", "plain"]


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON text, for people and programs: numpy's numbers as Python's, what is no number as null.

    Args:
        value: What to write.
        indent: Spaces for each level, `None` for all in one line.
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False)
