"""Arrays of text: how they are told from numbers, and the one form they are kept in."""

from typing import Any

import numpy as np

_TEXT, _OBJECT = "UST", "O"


def holds_objects(array: Any) -> bool:
    """Whether an array holds text or other Python objects rather than numbers."""
    return getattr(array.dtype, "kind", None) in {*_TEXT, _OBJECT}


def is_text(array: Any) -> bool:
    """Whether an array holds text, as far as its first element tells."""
    if not holds_objects(array):
        return False
    return array.dtype.kind != _OBJECT or all(isinstance(first, str | bytes) for first in array.ravel()[:1])


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that an array of this one is kept in.

    Text of a fixed width would be cut off where it is put among shorter ones.
    """
    return np.dtype(object) if dtype.kind in _TEXT else dtype
