"""Recorded trees of /proc and /sys, and control groups of one's own."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline is a timing assertion, and the machine is shared.
settings.register_profile("autobatch", deadline=None)
settings.load_profile("autobatch")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], tuple[Path, Path]]:
    """Writes a machine's files ("proc/meminfo": text) and returns its roots of /proc and /sys."""

    def build(files: Mapping[str, str]) -> tuple[Path, Path]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc", tmp_path / "sys"

    return build


@pytest.fixture
def own_group() -> Iterator[Callable[[int], Path]]:
    """Makes a real memory control group with a limit in bytes, gone after the test; join it by `cgroup.procs`."""
    made: list[Path] = []

    def make(limit_bytes: int) -> Path:
        root, limit_name = _writable_root()
        folder = root / f"autobatch-test-{os.getpid()}-{len(made)}"
        try:
            folder.mkdir()
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        made.append(folder)
        (folder / limit_name).write_text(str(limit_bytes))
        with contextlib.suppress(OSError):  # where swap is not counted there is no such file
            swap = "memory.swap.max" if limit_name == "memory.max" else "memory.memsw.limit_in_bytes"
            (folder / swap).write_text("0" if limit_name == "memory.max" else str(limit_bytes))
        return folder

    yield make
    for folder in made:
        _remove(folder)


def _writable_root() -> tuple[Path, str]:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("making a control group needs root")
    base = Path("/sys/fs/cgroup")
    if (base / "memory" / "memory.limit_in_bytes").exists():
        return base / "memory", "memory.limit_in_bytes"
    control = base / "cgroup.subtree_control"
    if control.exists() and "memory" in control.read_text().split():
        return base, "memory.max"
    pytest.skip("no memory control groups are mounted at /sys/fs/cgroup")


def _remove(folder: Path) -> None:
    # A group can't be removed until the kernel has let go of the last process that was in it.
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{folder} can't be removed: processes {(folder / 'cgroup.procs').read_text().split()}")
