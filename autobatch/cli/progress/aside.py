"""What others write to the terminal, taken aside: Python's prints, C libraries and processes alike.

The descriptor of the error stream leads to a pipe meanwhile; a thread hands on what comes out of it, line by line.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Show = Callable[[str], None]


@contextmanager
def aside(stream: TextIO) -> Iterator[tuple[TextIO, Callable[[Show], None]]]:
    """A stream of one's own to the same terminal, and how to say where to hand on what others write to the given one.

    Args:
        stream: A stream with a descriptor.
    """
    descriptor = stream.fileno()
    stream.flush()
    together = _led_along(descriptor)
    terminal = os.dup(descriptor)
    reader, writer = os.pipe()
    with (
        os.fdopen(terminal, "w", encoding=stream.encoding, errors="replace") as own,
        os.fdopen(reader, "rb", buffering=0) as pipe,
    ):
        for each in together:
            os.dup2(writer, each)
        os.close(writer)
        lines = _Lines(own)
        thread = threading.Thread(target=_pump, args=(pipe.fileno(), lines), name="autobatch-aside", daemon=True)
        thread.start()
        try:
            yield own, lines.lead_to
        finally:
            stream.flush()
            # A process that outlives this may keep the pipe open, so its end is a mark of our own.
            os.write(descriptor, _END)
            for each in together:
                os.dup2(terminal, each)
            thread.join()
            lines.rest()


def _led_along(descriptor: int) -> set[int]:
    """The descriptor, and that of stdout where it leads to the same terminal."""
    try:
        return {descriptor, 1} if os.path.sameopenfile(1, descriptor) else {descriptor}
    except OSError:  # stdout is closed
        return {descriptor}


_END = b"\0autobatch ends here\0"


class _Lines:
    """Whole lines out of pieces."""

    def __init__(self, own: TextIO) -> None:
        self._rest = ""
        self._show: Show = lambda line: print(line, file=own)

    def lead_to(self, show: Show) -> None:
        self._show = show

    def add(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._show(_last_drawn(line))

    def rest(self) -> None:
        if self._rest:
            self._show(_last_drawn(self._rest))


def _last_drawn(line: str) -> str:
    """What a line came to; a progress bar draws over itself."""
    return line.rstrip("\r").rpartition("\r")[2]


def _pump(descriptor: int, lines: _Lines) -> None:
    kept = b""
    while piece := os.read(descriptor, 65536):
        text, end, _ = (kept + piece).partition(_END)
        if end:
            lines.add(text.decode(errors="replace"))
            return
        whole, newline, kept = text.rpartition(b"\n")
        lines.add((whole + newline).decode(errors="replace"))
