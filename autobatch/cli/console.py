"""The process's standard streams: stdout kept for the result, what others write held back, a reader that may leave.

Python's own prints are redirected by `contextlib`; here it is the descriptors, which C libraries and the processes that
a model starts write to.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import BinaryIO, TextIO

from autobatch.errors import DataError

_STDOUT, _STDERR = 1, 2


def wants_color(environ: Mapping[str, str], stream: TextIO, *, asked: bool | None) -> bool:
    """Whether colours are wanted and possible; a setting (`asked`) stands over `NO_COLOR` (https://no-color.org)."""
    if not stream.isatty() or environ.get("TERM") == "dumb":
        return False
    return not environ.get("NO_COLOR") if asked is None else asked


@contextmanager
def kept_for_results(stream: TextIO) -> Iterator[TextIO]:
    """A stream to where the process's stdout leads, for as long as its descriptor leads to stderr.

    A stream that is not the process's own stdout is left as it is.
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


@contextmanager
def until_the_reader_leaves(stream: TextIO) -> Iterator[None]:
    """Ends its body without an error when nobody reads the stream any more (`| head`), but not when a disk is full."""
    try:
        yield
    except BrokenPipeError:
        _lead_nowhere(stream)
    except OSError as error:
        _lead_nowhere(stream)
        raise DataError(f"The result cannot be printed: {error.strerror or error}.") from error


def _lead_nowhere(stream: TextIO) -> None:
    """Has a stream that cannot be written end well: Python flushes it once more, which must not fail again."""
    with suppress(OSError, AttributeError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def attentive_sleep(stream: TextIO) -> Callable[[float], None]:
    """A sleep that ends with `BrokenPipeError` as soon as nobody reads the stream any more.

    A stream without a descriptor is not watched.
    """
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # errors and hang-ups are always told
    except (OSError, ValueError, AttributeError):
        return time.sleep

    def sleep(seconds: float) -> None:
        if poll.poll(seconds * 1000):
            raise BrokenPipeError

    return sleep


def wants_greetings() -> bool:
    """Whether a framework's log level is set: whoever sets it reads all that the framework writes."""
    return any(name in os.environ for name in import_module("autobatch.backend").QUIET)


def import_keras() -> None:
    """Imports Keras and its backend, without what they write unless a log level is set.

    A framework may write to the process's error stream before its own log level applies, so the stream itself is held
    back.
    """
    if "keras" in sys.modules:
        return
    if wants_greetings():
        import_module("keras")
        return
    backend = import_module("autobatch.backend")
    os.environ.update(backend.QUIET)
    with held_back(_STDERR):
        import_module("keras")
        # Where there is no driver, its first look for GPUs may be called an error; `autobatch doctor` says more.
        backend.accelerator_names()


@contextmanager
def held_back(descriptor: int) -> Iterator[None]:
    """Keeps what is written to a file descriptor; lets it out only if the body fails (Ctrl-C is no failure)."""
    import tempfile

    original = os.dup(descriptor)
    try:
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), descriptor)
            try:
                yield
            except Exception:
                _release(kept, original)
                raise
            finally:
                os.dup2(original, descriptor)
    finally:
        os.close(original)


def _release(kept: BinaryIO, descriptor: int) -> None:
    import shutil

    kept.seek(0)
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        shutil.copyfileobj(kept, stream)
