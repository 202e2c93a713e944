"""A file of one description in JSON and the raw values that it describes, which knows whether it is whole.

Layout: a line that names the format and its version, the length of the description (8 bytes, big-endian), the
description, the values one after another, and the BLAKE2b digest of all that (32 bytes). Values pass through one
variable at a time: a checkpoint is written when memory is short, so it must not take the memory of a second model.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from autobatch._atomic_file import read_file
from autobatch.errors import DataError

_NAME = b"autobatch checkpoint "
_MAGIC = _NAME + b"3\n"
_LENGTH_BYTES = 8
_DIGEST_BYTES = 32
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    path: Path  # the file
    description: dict[str, Any]  # its description
    start: int  # where its values begin, in bytes
    digest: bytes  # the digest at its end

    def values(self, sizes: Iterable[int]) -> Iterator[bytes]:
        """The values one after another, in pieces of `sizes` bytes.

        Raises:
            DataError: The file is another one by now; told before the first piece.
        """
        file = read_file(self.path, "The checkpoint")
        if file is None:
            raise _unusable(self.path, "it is gone")
        with file:
            file.seek(-_DIGEST_BYTES, os.SEEK_END)
            if file.read() != self.digest:
                raise DataError(f"The checkpoint {str(self.path)!r} has changed while it was read.", str(self.path))
            file.seek(self.start)
            yield from (file.read(size) for size in sizes)


def encoded(description: dict[str, Any], values: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    """The pieces of the file, in order; `values` is read as they are used."""
    text = json.dumps(description, default=_plain).encode()
    digest = _new_digest()
    for piece in (_MAGIC, len(text).to_bytes(_LENGTH_BYTES, "big"), text):
        digest.update(piece)
        yield piece
    for value in values:
        digest.update(value)
        yield value
    yield digest.digest()


def read_checkpoint(path: Path) -> CheckpointFile | None:
    """What a file holds, once every byte of it is found to be as it was written; `None` if there is no file.

    Raises:
        DataError: It cannot be read, is damaged, or is something else.
    """
    file = read_file(path, "The checkpoint")
    if file is None:
        return None
    with file:
        try:
            return _read(path, file)
        except OSError as error:
            raise _unusable(path, f"it cannot be read: {error.strerror or error}") from error


def _read(path: Path, file: BinaryIO) -> CheckpointFile:
    line = file.read(len(_MAGIC))
    if line != _MAGIC:
        other = line.startswith(_NAME)
        raise _unusable(path, "another version of autobatch wrote it" if other else "autobatch did not write it")
    digest = _digest_of(file)
    if digest is None:
        raise _unusable(path, "it is damaged or cut short")
    file.seek(len(_MAGIC))
    length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
    description = json.loads(file.read(length))
    return CheckpointFile(path, description, len(_MAGIC) + _LENGTH_BYTES + length, digest)


def _digest_of(file: BinaryIO) -> bytes | None:
    """The digest at the end of a file, if it is that of everything before it."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    digest = _new_digest()
    while left > 0:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            return None
        digest.update(piece)
        left -= len(piece)
    found = file.read()
    return found if found == digest.digest() else None


def _new_digest() -> Any:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def _unusable(path: Path, why: str) -> DataError:
    msg = (
        f"The checkpoint {str(path)!r} cannot be used: {why}. Nothing was trained. Remove the file to start from the "
        "beginning, or give another folder."
    )
    return DataError(msg, str(path))


def _plain(value: Any) -> Any:
    """What a callback may have put into the logs, as JSON: numbers and arrays of numpy; anything else as its text."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)
