"""The process's stdout kept for the result: what anything else writes there goes to stderr meanwhile.

Python's own prints are led elsewhere by `contextlib.redirect_stdout`; here it is the descriptor, which C libraries and
the processes that a model starts write to.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_STDOUT, _STDERR = 1, 2


@contextmanager
def kept_for_results(stream: TextIO) -> Iterator[TextIO]:
    """A stream to where the process's stdout leads, for as long as its descriptor leads to stderr.

    Args:
        stream: Where results go; one that is not the process's own stdout is left as it is.
    """
    if not _is_own(stream):
        yield stream
        return
    stream.flush()
    original = os.dup(_STDOUT)
    with os.fdopen(original, "w", encoding=stream.encoding, errors=stream.errors) as own:
        with suppress(OSError):  # stderr is closed
            os.dup2(_STDERR, _STDOUT)
        try:
            yield own
        finally:
            _flush_c()
            os.dup2(original, _STDOUT)


def _is_own(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (OSError, ValueError, AttributeError):
        return False


def _flush_c() -> None:
    """Writes out what C libraries have printed and still hold: in a pipe it would come after the result."""
    with suppress(ImportError, OSError, TypeError, AttributeError):
        import ctypes

        ctypes.CDLL(None).fflush(None)
