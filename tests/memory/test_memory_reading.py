"""The whole reading: recorded, here, and inside a real control group."""

import doctest
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pids import number_processes

import autobatch._text
import autobatch.memory.budget
import autobatch.memory.peak_model
import autobatch.memory.reading
import autobatch.testing
from autobatch.memory.reading import read_memory
from autobatch.memory.types import Allocator, Pressure
from autobatch.testing import FakeGpu, FakeNvml

MIB = 1 << 20
GIB = 1 << 30

RECORDED = {
    "proc/meminfo": f"MemTotal: {8 << 20} kB\nMemAvailable: {6 << 20} kB\n",
    "proc/self/status": "VmHWM: 2048 kB\nVmRSS: 1024 kB\n",
    "proc/self/cgroup": "0::/job\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "proc/pressure/memory": "some avg10=1.00\nfull avg10=0.50\n",
    "sys/fs/cgroup/job/memory.max": f"{2 * GIB}\n",
    "sys/fs/cgroup/job/memory.high": "max\n",
    "sys/fs/cgroup/job/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/job/memory.stat": "inactive_file 1048576\n",
}

SAY_READING = (
    "import json; from autobatch.memory.reading import read_memory; print(json.dumps(read_memory().to_dict()))"
)
SAY_KILLS = "from autobatch.memory.sensors.cgroup import count_oom_kills; print(count_oom_kills())"
TAKE_512_MIB = "block = bytearray(b'x' * (512 << 20)); print(len(block))"


def test_a_recorded_machine_is_read_as_one(tree):
    proc, sysfs = tree(RECORDED)
    gpu = FakeGpu("GPU-1", processes={os.getpid(): GIB})
    number_processes(proc)
    reading = read_memory(proc=proc, sys=sysfs, nvml=FakeNvml(gpu), allocator=Allocator(1, 2))
    assert reading.host.available_bytes == 6 * GIB
    assert (reading.process.rss_bytes, reading.process.peak_rss_bytes) == (MIB, 2 * MIB)
    assert reading.control_group is not None
    assert reading.control_group.available_bytes == GIB + MIB
    assert reading.pressure == Pressure(1.0, 0.5)
    assert reading.devices[0].used_by_this_process_bytes == GIB
    assert reading.allocator == Allocator(1, 2)
    assert [limit.kind for limit in reading.limits] == ["device", "control group", "host"]


@pytest.mark.parametrize("missing", sorted(RECORDED))
@pytest.mark.parametrize("content", [None, "", "garbage\n", "\x00\n"])
def test_any_one_file_may_be_missing_or_garbage(tree, missing, content):
    """Every sensor file in turn: a reading comes all the same, and says what it goes without."""
    files = {name: text for name, text in RECORDED.items() if name != missing}
    if content is not None:
        files[missing] = content
    proc, sysfs = tree(files)
    reading = read_memory(proc=proc, sys=sysfs, nvml=FakeNvml())
    assert reading.host.total_bytes > 0
    json.dumps(reading.to_dict())
    no_limit = missing.endswith("memory.high") and content is None
    assert len(reading.notes) > 1 or no_limit or reading.pressure is None


def test_nothing_at_all_is_still_a_reading(tmp_path):
    reading = read_memory(proc=tmp_path, sys=tmp_path, nvml=FakeNvml())
    assert reading.budget().limit.kind == "host"
    assert len(reading.notes) >= 3


def test_this_machine_is_read():
    reading = read_memory()
    assert 0 < reading.process.rss_bytes < reading.host.total_bytes
    assert reading.budget().limit in reading.limits


@pytest.mark.parametrize(
    "module",
    [
        autobatch.memory.peak_model,
        autobatch.memory.reading,
        autobatch.memory.budget,
        autobatch._text,
        autobatch.testing.cuda,
        autobatch.testing.engine,
        autobatch.testing.sensors,
    ],
    ids=lambda module: module.__name__,
)
def test_the_examples_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.cgroup
def test_a_real_control_group_binds(own_group):
    """Seen to fail with the mount root read in place of the own group."""
    folder = own_group(256 * MIB)
    facts = json.loads(run_in(folder, SAY_READING).stdout)
    assert facts["binding"]["kind"] == "control group"
    assert facts["binding"]["capacity_bytes"] == 256 * MIB
    assert facts["binding"]["detail"].endswith(str(folder))
    assert 0 < facts["binding"]["available_bytes"] < 256 * MIB


@pytest.mark.cgroup
def test_a_kill_in_a_real_control_group_is_counted(own_group):
    """Seen to fail with the counter of the mount root."""
    folder = own_group(256 * MIB)
    assert int(run_in(folder, SAY_KILLS).stdout) == 0
    assert run_in(folder, TAKE_512_MIB).returncode == -signal.SIGKILL
    assert int(run_in(folder, SAY_KILLS).stdout) == 1


def run_in(folder: Path, code: str) -> subprocess.CompletedProcess:
    join = f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')\n"
    return subprocess.run([sys.executable, "-c", join + code], capture_output=True, text=True, timeout=60, check=False)
