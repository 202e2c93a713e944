"""A run's own data inside of a page, so that no name in it can end the element that it stands in."""

import json
from collections.abc import Mapping
from typing import Any

from autobatch._json import to_json_values

MOST_CHARACTERS = 400_000  # of all runs of a page together
# What could end a script, begin a comment or an entity, or end a line of script where JSON means a character.
_DANGEROUS = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def embedded_json(raw: Any, most: int = MOST_CHARACTERS) -> tuple[str, int]:
    r"""The text for an element `<script type="application/json">`, and how many observations were left out of it.

    Args:
        raw: JSON values: an object, or the events of a training, one a line.
        most: Characters; beyond, only every second, fourth, … observation is kept.

    Example:
        >>> embedded_json({"a": "</script>"})
        ('{\n "a": "\\u003c/script\\u003e"\n}', 0)
    """
    if not isinstance(raw, list):
        return _safe(json.dumps(to_json_values(raw), indent=1, default=str)), 0
    every, kept = 1, raw
    while True:
        said = _lines(kept)
        if len(said) <= most or every > len(raw):
            return said, len(raw) - len(kept)
        every *= 2
        kept = _thinned(raw, every)


def _thinned(events: list[Any], every: int) -> list[Any]:
    seen = [number for number, event in enumerate(events) if _is_observation(event)]
    dropped = set(seen) - set(seen[::every])
    return [event for number, event in enumerate(events) if number not in dropped]


def _is_observation(event: Any) -> bool:
    return isinstance(event, Mapping) and event.get("event") == "observation"


def _lines(events: list[Any]) -> str:
    said = ",\n".join(json.dumps(to_json_values(event), default=str, separators=(",", ":")) for event in events)
    return _safe(f"[\n{said}\n]")


def _safe(said: str) -> str:
    return said.translate(_DANGEROUS)
