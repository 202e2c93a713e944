"""Gives back to the system what this process has freed."""

import contextlib
import ctypes


def return_freed_memory() -> bool:
    """Hands freed pages of the heap back to the system; returns whether the C library can and found any.

    The GNU C library keeps them otherwise, wherever something that still lives lies behind them on the heap
    (malloc_trim(3)). Elsewhere nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return bool(ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0)))
    return False
