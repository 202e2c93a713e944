"""Arguments of a function behind its name: `module:function?classes=10&input_shape=96,96,3`."""

import re
from typing import Any

from autobatch.errors import ArgumentError

_PART = re.compile(r"""(?:"[^"]*"|'[^']*'|[^&"'])*""")
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,"'])*""")
_INT = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_BRACKETS = re.compile(r"[()\[\]{}]")
_NAMED = {"true": True, "false": False, "none": None}
_EXPECTED = "Expected name=value, with & between several: 'keras.applications:MobileNetV2?classes=10&alpha=0.5'."


def parse_query(query: str) -> dict[str, Any]:
    """Keyword arguments from the words behind a question mark.

    Whole numbers, fractions, `true`, `false` and `none` are what they look like, commas make a tuple, and anything else
    is text; text in quotes stays text whatever it looks like.

    Raises:
        ArgumentError: It is no list of `name=value`.

    Example:
        >>> parse_query("classes=10&input_shape=96,96,3&name='7'")
        {'classes': 10, 'input_shape': (96, 96, 3), 'name': '7'}
    """
    found: dict[str, Any] = {}
    for part in _cut(query, _PART, "&", query):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not (equals and name.isidentifier()):
            raise _refusal(query, f"{part!r} is no name=value")
        if name in found:
            raise _refusal(query, f"{name!r} is given twice")
        found[name] = _value(value.strip(), query)
    return found


def _value(text: str, query: str) -> Any:
    items = _cut(text, _ITEM, ",", query)
    if len(items) == 1:
        return _single(text, query)
    # as in Python, a comma at the end makes a tuple of one and adds nothing to a longer one
    items = items[:-1] if not items[-1].strip() else items
    return tuple(_single(item.strip(), query) for item in items)


def _single(text: str, query: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if not text:
        raise _refusal(query, "a value is missing")
    if _BRACKETS.search(text):
        raise _refusal(query, f"{text!r} has brackets; commas alone make a tuple (write 8,8,3), and quotes keep text")
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _cut(text: str, piece: re.Pattern[str], mark: str, query: str) -> list[str]:
    """The pieces between marks that do not stand in quotes."""
    pieces, start = [], 0
    while True:
        match = piece.match(text, start)
        end = match.end() if match else start
        pieces.append(text[start:end])
        if end == len(text):
            return pieces
        if text[end] != mark:
            raise _refusal(query, "a quote is not closed")
        start = end + 1


def _refusal(query: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"The arguments behind the question mark cannot be read: {why}. Received: {query!r}. {_EXPECTED}"
    )
