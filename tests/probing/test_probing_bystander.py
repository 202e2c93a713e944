"""In a control group that runs out of memory, the kernel takes the trial and leaves the caller."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from groups import memory_group

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
from autobatch.probing.trials.worker import Worker
with Worker(scratch=Path({scratch!r})) as worker:
    print(worker.open({{"measurer": "greedy_runner:open_runner"}}, 60).outcome.name)
    for size in (4, 1024, 4):
        print(worker.trial(size, timeout_s=60).outcome.name)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group of 256 MiB, without swap where swap is counted."""
    with memory_group(LIMIT_BYTES) as folder:
        yield folder


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
