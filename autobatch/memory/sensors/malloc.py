"""Gives back to the system what this process has freed."""

import contextlib
import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

# M_MMAP_MAX, M_ARENA_MAX, M_TRIM_THRESHOLD of the GNU C library's <malloc.h>
_KEEP = {-4: 0, -8: 1, -1: (1 << 31) - 1}
_kept: list[bool] = []  # what mallopt was told cannot be asked for
_NAMES = ("mmap_max", "mmap_threshold", "arena_max", "trim_threshold", "top_pad")


def return_freed_memory() -> bool:
    """Hands freed pages of the heap back to the system; returns whether the C library can and found any.

    The GNU C library keeps them otherwise, wherever something that still lives lies behind them on the heap
    (malloc_trim(3)). Elsewhere nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return bool(_libc().malloc_trim(ctypes.c_size_t(0)))
    return False


def can_return_freed_memory() -> bool:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return _libc().malloc_trim is not None
    return False


def keep_freed_memory(environ: Mapping[str, str]) -> tuple[bool, tuple[str, ...]]:
    """Makes the heap keep what is freed until `return_freed_memory`; returns whether it does, and notes on why not.

    By default the GNU C library asks the kernel for every large block and returns it when it is freed, so that each
    step pays for fresh pages. Here large blocks come from one heap, too, which doesn't shrink by itself (mallopt(3):
    M_MMAP_MAX 0, M_ARENA_MAX 1, M_TRIM_THRESHOLD at its largest). It holds for the rest of this process' life. A heap
    that somebody has set up in the environment is left alone.
    """
    if not can_return_freed_memory():
        return False, ("This system's C library does not return freed memory on demand.",)
    if own := _own_settings(environ):
        return False, (f"The heap is left as {own} has set it up.",)
    with contextlib.suppress(AttributeError, OSError, TypeError):
        if all(_libc().mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in _KEEP.items()):
            _kept.append(True)
            return True, ()
    return False, ("The C library refuses to keep freed memory, so that large blocks cost a step more time.",)


def _own_settings(environ: Mapping[str, str]) -> str:
    """The variables that somebody has set the heap up with."""
    variables = [f"MALLOC_{name.upper()}" for name in _NAMES]
    own = [name for word in variables for name in (word, f"{word}_") if name in environ]
    if any(f"glibc.malloc.{name}=" in environ.get("GLIBC_TUNABLES", "") for name in _NAMES):
        own.append("GLIBC_TUNABLES")
    return ", ".join(own)


def keeps_freed_memory() -> bool:
    """Returns whether `keep_freed_memory` has set up the heap of this process."""
    return bool(_kept)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)
