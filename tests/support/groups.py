"""Real memory control groups with a hard limit: what runs inside is killed by the kernel when it takes more."""

import contextlib
import os
import time
import unittest
from collections.abc import Iterator
from pathlib import Path

_BASE = Path("/sys/fs/cgroup")


class NoGroupError(unittest.SkipTest):
    """No control group can be made here: what needs one is skipped."""


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A group of either version, without swap, gone at the end; a process joins it by writing 0 to `cgroup.procs`.

    Raises:
        NoGroupError: None can be made; a test is skipped then.
    """
    root, limit, swap = _writable_root()
    folder = root / f"autobatch-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoGroupError(f"no control group can be made here: {error}") from error
    try:
        (folder / limit).write_text(str(limit_bytes))
        with contextlib.suppress(OSError):  # where swap is not counted there is no such file
            (folder / swap).write_text("0" if swap == "memory.swap.max" else str(limit_bytes))
        yield folder
    finally:
        _remove(folder)


def kills(folder: Path) -> int:
    """How many processes of a group the kernel has killed for memory so far."""
    name = "memory.oom_control" if (folder / "memory.oom_control").exists() else "memory.events"
    return next(
        int(line.split()[1]) for line in (folder / name).read_text().splitlines() if line.startswith("oom_kill ")
    )


def _writable_root() -> tuple[Path, str, str]:
    if os.name != "posix" or os.geteuid() != 0:
        raise NoGroupError("making a control group needs root")
    if (_BASE / "memory" / "memory.limit_in_bytes").exists():
        return _BASE / "memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    control = _BASE / "cgroup.subtree_control"
    if control.exists() and "memory" in control.read_text().split():
        return _BASE, "memory.max", "memory.swap.max"
    raise NoGroupError("no memory control groups are mounted at /sys/fs/cgroup")


def _remove(folder: Path) -> None:
    # A group can't be removed until the kernel has let go of the last process that was in it.
    for _ in range(200):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{folder} can't be removed: processes {(folder / 'cgroup.procs').read_text().split()}")
