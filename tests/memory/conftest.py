"""Recorded trees of /proc and /sys, and control groups of one's own."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from groups import memory_group
from hypothesis import settings

# A deadline is a timing assertion, and the machine is shared.
settings.register_profile("autobatch", deadline=None)
settings.load_profile("autobatch")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], tuple[Path, Path]]:
    """Writes a machine's files ("proc/meminfo": text) and returns its roots of /proc and /sys; each call is another."""

    def build(files: Mapping[str, str]) -> tuple[Path, Path]:
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root / "proc", root / "sys"

    return build


@pytest.fixture
def own_group() -> Iterator[Callable[[int], Path]]:
    """Makes a real memory control group with a limit in bytes, gone after the test; join it by `cgroup.procs`."""
    with contextlib.ExitStack() as groups:
        yield lambda limit_bytes: groups.enter_context(memory_group(limit_bytes))
