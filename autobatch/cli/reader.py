"""The reader of the results may leave at any time (`| head`): that is an end, not an error."""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from autobatch.errors import DataError


@contextmanager
def until_the_reader_leaves(stream: TextIO) -> Iterator[None]:
    """Ends its body without an error where nobody reads the stream any more (`| head`).

    Raises:
        DataError: The stream cannot be written for another reason: a full disk.
    """
    try:
        yield
    except BrokenPipeError:
        _lead_nowhere(stream)
    except OSError as error:
        _lead_nowhere(stream)
        raise DataError(f"The result cannot be printed: {error.strerror or error}.") from error


def attentive_sleep(stream: TextIO) -> Callable[[float], None]:
    """A sleep that ends with `BrokenPipeError` as soon as nobody reads the stream any more.

    Args:
        stream: Where the results go; one without a descriptor of its own is not watched.
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


def _lead_nowhere(stream: TextIO) -> None:
    """Has a stream that cannot be written end well: Python flushes it once more, which must not fail again."""
    with suppress(OSError, AttributeError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
