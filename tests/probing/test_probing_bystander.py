"""In a control group that runs out of memory, the kernel takes the trial and leaves the caller."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 2**20
LIMIT_BYTES = 256 * MIB

RUNNER = """
class Runner:
    def run(self, size, options):
        held = [bytearray(b"1" * 2**20) for _ in range(size)]
        return {"held": len(held)}

def open_runner(payload):
    return Runner()
"""

# The caller holds more than the trial can ever reach, so that by size alone the kernel would choose the caller.
CALLER = """
import sys
sys.path[:] = {path!r}
open({procs!r}, "w").write("0")
held = b"1" * (160 * 2**20)
from pathlib import Path
from autobatch.probing.worker import Worker
with Worker(scratch=Path({scratch!r})) as worker:
    print(worker.open({{"runner": "greedy_runner:open_runner"}}, 60).outcome.name)
    for size in (4, 1024, 4):
        print(worker.trial(size, timeout_s=60).outcome.name)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group of 256 MiB, without swap where swap is counted."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("making a control group needs root")
    base = Path("/sys/fs/cgroup")
    if (base / "memory" / "memory.limit_in_bytes").exists():
        root, limit, swap = base / "memory", "memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", str(LIMIT_BYTES))
    elif "memory" in (read(base / "cgroup.subtree_control")).split():
        root, limit, swap = base, "memory.max", ("memory.swap.max", "0")
    else:
        pytest.skip("no memory control groups are mounted at /sys/fs/cgroup")
    folder = root / f"autobatch-bystander-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    (folder / limit).write_text(str(LIMIT_BYTES))
    with contextlib.suppress(OSError):
        (folder / swap[0]).write_text(swap[1])
    yield folder
    remove(folder)


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def remove(folder: Path) -> None:
    """The kernel lets go of a group a moment after its last process has ended."""
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{folder} is still in use by {read(folder / 'cgroup.procs').split()}")


@pytest.mark.cgroup
def test_the_kernel_kills_the_trial_not_the_caller_and_the_trial_is_called_out_of_memory(group, tmp_path):
    """Seen to fail without the child's offer to be killed first (the caller dies), and with no counter read."""
    (tmp_path / "greedy_runner.py").write_text(RUNNER)
    paths = {"path": [str(tmp_path), *sys.path], "scratch": str(tmp_path), "procs": str(group / "cgroup.procs")}
    caller = subprocess.run(
        [sys.executable, "-c", CALLER.format(**paths)], capture_output=True, text=True, timeout=120, check=False
    )
    assert caller.returncode == 0, caller.stderr
    assert caller.stdout.split() == ["RAN", "RAN", "OUT_OF_MEMORY", "RAN"]
