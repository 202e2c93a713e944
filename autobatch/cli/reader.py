"""The reader of the results may leave at any time (`| head`): that is an end, not an error."""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


@contextmanager
def until_the_reader_leaves(stream: TextIO) -> Iterator[None]:
    """Ends its body without an error where nobody reads the stream any more (`| head`)."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes its streams once more when it ends: what is left in them must not fail again.
        with suppress(OSError, AttributeError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


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
