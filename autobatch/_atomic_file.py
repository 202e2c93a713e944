"""Files that are replaced in one step: whoever reads sees the old one or the new one, never a part of either."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from autobatch.errors import DataError


class Disk:
    """The file operations behind an atomic write, one by one: a seam, so that a test can have any of them fail."""

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, path: Path) -> BinaryIO:
        return path.open("wb")

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        file.write(data)

    def sync(self, file: BinaryIO) -> None:
        """Waits until what was written is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def replace(self, draft: Path, path: Path) -> None:
        """Gives the draft the name of the file, in one step."""
        draft.replace(path)

    def sync_folder(self, folder: Path) -> None:
        """Waits until the new name is on the disk."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """Where the next version of a file is written; one name, so that a killed writer leaves at most one behind."""
    return path.with_name(f".{path.name}.draft")


def replace_file(path: Path, parts: Iterable[bytes | memoryview], disk: Disk) -> None:
    """Writes a file in one step; its folder is made if need be.

    Raises:
        OSError: It could not be written. The file is as it was and no draft is left, unless the last operation failed,
            which makes the new name outlast a power failure: then the new file stands.
    """
    disk.make_folder(path.parent)
    draft = draft_of(path)
    try:
        with contextlib.closing(disk.open(draft)) as file:
            for part in parts:
                disk.write(file, part)
            disk.sync(file)
        disk.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.remove(draft)
        raise
    disk.sync_folder(path.parent)


def remove_file(path: Path, disk: Disk) -> None:
    """Removes a file and what a killed writer has left beside it."""
    disk.remove(draft_of(path))
    disk.remove(path)


def read_file(path: Path, what: str) -> BinaryIO | None:
    """A file (`what` for the error) opened for reading, `None` if there is none.

    Raises:
        DataError: It is there and cannot be opened.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"{what} at {str(path)!r} cannot be read: {error.strerror or error}."
        raise DataError(msg, str(path)) from error
