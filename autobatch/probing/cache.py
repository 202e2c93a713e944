"""Answers kept on disk, so that the same question is not probed twice.

A cache may only ever save time: an entry that cannot be read, is cut short, or was written by another version is not
there; a folder that cannot be written to is a remark. Writing replaces an entry in one step, so that a reader never
sees half of one, whoever else is writing.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 2
FOLDER_VARIABLE = "AUTOBATCH_CACHE_DIR"
_KEY = re.compile(r"[0-9a-f]{64}")


def cache_key(parts: Mapping[str, Any]) -> str:
    """The name of an answer: SHA-256 over everything it depends on; what is not JSON-ready is an error."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where answers are kept: `AUTOBATCH_CACHE_DIR` if it is set, else the user's cache folder."""
    if chosen := environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("autobatch"))


class Cache:
    """A folder of answers by key."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer kept under a key, `None` if there is none that can be trusted."""
        path = self._path(key)
        try:
            entry = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("schema") != SCHEMA or entry.get("key") != key:
            return None
        value = entry.get("value")
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> str | None:
        """Keeps an answer; returns a remark if that was not possible, `None` if it was."""
        body = json.dumps({"schema": SCHEMA, "key": key, "value": dict(value)}).encode()
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(path, body)
        except OSError as error:
            return f"The result is not kept: {self.folder} cannot be written to ({error.strerror or error})."
        return None

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"A key is made by cache_key. Received: key={key!r}. Expected 64 hexadecimal digits.")
        return self.folder / f"{key}.json"


def _replace(path: Path, body: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
