"""The kernel's small text files, read without ever raising."""

import os
from pathlib import Path

from autobatch._text import KIB

_MOST_BYTES = 1 << 20


def read_text(path: Path) -> str | None:
    """Returns the text of a small file, or `None` where it can't be read or is no text."""
    # Not Path.read_text: text mode costs more than the kernel takes to answer, and readings are taken all the time.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = b""
        while len(text) < _MOST_BYTES and (piece := os.read(descriptor, 1 << 16)):
            text += piece
        return text.decode()
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def read_number(path: Path) -> int | None:
    """Returns the one whole number in a file, or `None` where there is none."""
    return number(read_text(path))


def number(text: str | None) -> int | None:
    """Returns the whole number that `text` is, or `None`; never a negative one."""
    word = "" if text is None else text.strip()
    return int(word) if word.isascii() and word.isdigit() else None


def fields(text: str) -> dict[str, int]:
    """Returns the numbers of a file of lines such as "name 12" or "Name:  12 kB", in bytes where a unit stands."""
    found = {}
    for line in text.splitlines():
        match line.split():
            case [name, word]:
                scale = 1
            case [name, word, "kB"]:
                scale = KIB
            case _:
                continue
        value = number(word)
        if value is not None:
            found[name.rstrip(":")] = value * scale
    return found
