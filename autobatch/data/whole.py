"""Numbers of things, which are whole and at least one."""

from typing import Any

import numpy as np

from autobatch.errors import ArgumentError


def require_whole(message: str, **numbers: Any) -> None:
    """Checks that numbers are whole and above 0.

    Raises:
        ArgumentError: One isn't; it begins with `message`.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ArgumentError(f"{message} Received: {name}={number!r}. Expected a whole number of at least 1.")
