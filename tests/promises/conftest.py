"""What a probe may leave behind in its process and on its machine."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


class Surroundings:
    """What of a process could be left behind, as it was before.

    Args:
        scratch: A folder for temporary files of our own: what others on the machine leave there isn't blamed on us.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.remember()

    def remember(self) -> None:
        self._threads = set(threading.enumerate())
        self._children = set(psutil.Process().children(recursive=True))

    def require_nothing_new(self) -> None:
        assert set(threading.enumerate()) <= self._threads
        assert set(psutil.Process().children(recursive=True)) <= self._children
        assert list(self._scratch.iterdir()) == []


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surroundings]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Surroundings(folder)
    tempfile.tempdir = None
