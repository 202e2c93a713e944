"""One process at a time in the folder of a run: two that save to the same place would overwrite each other."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from autobatch.errors import ArgumentError

if sys.platform != "win32":
    import fcntl

FILE_NAME = ".in-use"


@contextlib.contextmanager
def in_use(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a folder, which is made if need be, for this process until the context ends.

    The kernel lets go of it when the process ends, however that happens. Where a file cannot be locked (a folder that
    cannot be written, a file system without locks, Windows) nothing is kept.

    Raises:
        ArgumentError: Another process, or another thread of this one, has it.
    """
    path = Path(folder) / FILE_NAME
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # first: once it is unlocked, it may be another's
            os.close(handle)


def _locked(path: Path) -> int | None:
    if sys.platform == "win32":
        return None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise _refused(path, owner) from None
        except OSError:
            os.close(handle)
            return None
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the file has not been removed between opening and locking it, by the one who had it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _refused(path: Path, owner: str) -> ArgumentError:
    return ArgumentError(
        f"The folder of a run is for one process at a time, and it is in use by process {owner}. Wait for that one to "
        f"end, or give another folder. Received: checkpoint={str(path.parent)!r}. Expected a folder that is not in use."
    )
