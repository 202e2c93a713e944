"""The whole reading: recorded, here, inside a real control group, and under a limit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pids import number_processes

from autobatch.errors import DeviceError
from autobatch.memory.reading import apply_limit, is_limited, overdrawn_bytes, read_memory
from autobatch.memory.types import Allocator, Device, Pressure
from autobatch.testing import FakeGpu, FakeNvml, memory_reading

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
def test_any_one_file_may_be_missing_or_garbage(tree, missing):
    """Every sensor file in turn: a reading comes all the same, and says what it goes without."""
    for content in (None, "", "garbage\n", "\x00\n"):
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


SIZES = st.integers(0, 2**40)


def gpu(index=0, total=16 * GIB, free=10 * GIB, used=2 * GIB):
    return Device(index, f"GPU-{index}", "Fake", total, free, used)


@given(total=SIZES, available=SIZES, rss=SIZES, limit=st.integers(1, 2**40), group=st.none() | SIZES)
def test_a_limit_leaves_no_more_than_there_is(total, available, rss, limit, group):
    """Seen to fail with the available bytes of the real host kept."""
    real = memory_reading(
        host_total_bytes=total, host_available_bytes=min(available, total), rss_bytes=rss, group_limit_bytes=group
    )
    host = apply_limit(real, limit).host
    assert 0 <= host.available_bytes <= real.host.available_bytes
    if is_limited(real, limit):
        assert host.total_bytes == limit < total
        assert host.available_bytes <= max(0, limit - rss)
        assert overdrawn_bytes(real, limit) == max(0, rss - limit)
    else:
        assert host == real.host


@given(total=SIZES, free=SIZES, used=SIZES, limit=st.integers(1, 2**40))
def test_a_limit_of_a_gpu_is_for_it_alone(total, free, used, limit):
    real = memory_reading(devices=(gpu(0, total, min(free, total), used), gpu(1)))
    seen = apply_limit(real, limit, 0)
    assert (seen.host, seen.devices[1]) == (real.host, real.devices[1])
    assert seen.devices[0].total_bytes == min(limit, total)
    assert 0 <= seen.devices[0].free_bytes <= min(free, total)
    assert limit >= total or seen.devices[0].free_bytes <= max(0, limit - used)


@pytest.mark.parametrize(
    ("limit", "options", "index", "note"),
    [
        (8 * GIB, {}, None, "As if the host had 8.0 GiB."),
        (8 * GIB, {"devices": (gpu(),)}, 0, "As if GPU:0 had 8.0 GiB."),
        (64 * GIB, {}, None, "The limit of 64.0 GiB changes nothing: the host has 64.0 GiB."),
        (16 * GIB, {"devices": (gpu(),)}, 0, "The limit of 16.0 GiB changes nothing: GPU:0 has 16.0 GiB."),
        (
            8 * GIB,
            {"group_limit_bytes": 4 * GIB},
            None,
            "The limit of 8.0 GiB changes nothing: the control group has 4.0 GiB.",
        ),
    ],
)
def test_what_a_limit_comes_to_is_said(limit, options, index, note):
    assert apply_limit(memory_reading(**options), limit, index).notes == (note,)


def test_the_reserve_is_that_of_the_smaller_machine():
    """Seen to fail with the real capacity kept: the reserve would be that of another machine."""
    seen = apply_limit(memory_reading(host_total_bytes=1024 * GIB, host_available_bytes=1000 * GIB), 8 * GIB)
    assert seen.host_budget().reserve_bytes == int(0.08 * 8 * GIB)


def test_what_this_process_holds_of_a_gpu_may_not_be_known():
    seen = apply_limit(memory_reading(devices=(gpu(used=None),)), 8 * GIB, 0)
    assert any("is not known" in note for note in seen.notes)


def test_a_gpu_that_cannot_be_read_cannot_be_limited():
    with pytest.raises(DeviceError, match=r"GPU:1.*Received: a reading of GPU:0") as caught:
        apply_limit(memory_reading(devices=(gpu(),)), GIB, 1)
    assert (caught.value.device, caught.value.found) == ("GPU:1", ("GPU:0",))
