"""Who holds the memory, from recorded trees and answers."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pids import CONTAINERS_PIDS, MACHINES_PIDS, number_processes

from autobatch.memory.consumers import read_consumers
from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.cgroup import read_group_pids
from autobatch.memory.types import Consumer
from autobatch.testing import FakeGpu, FakeNvml

MIB = 1 << 20
OWN = os.getpid()
HERE, OTHER, THIRD = OWN + 1, OWN + 2, OWN + 3  # numbers of other processes


def process(pid, mib, name="python"):
    return {f"proc/{pid}/status": f"Name:\t{name}\nPid:\t{pid}\nVmRSS:\t{mib * 1024} kB\n"}


def machine(*processes, total=4096, available=1024):
    files = {"proc/meminfo": f"MemTotal: {total * 1024} kB\nMemAvailable: {available * 1024} kB\n"}
    for one in ({"proc/self/status": "VmRSS: 1024 kB\nVmHWM: 1024 kB\n"}, *processes):
        files |= one
    return files


def group(limit, usage, own=(), **below):
    """A version 2 group of `limit` and `usage` MiB, its processes, and those of the groups below it by name."""
    folder = "sys/fs/cgroup/job"
    files = {
        "proc/self/cgroup": "0::/job\n",
        "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        f"{folder}/memory.max": f"{limit * MIB}\n",
        f"{folder}/memory.high": "max\n",
        f"{folder}/memory.current": f"{usage * MIB}\n",
        f"{folder}/memory.stat": "inactive_file 0\n",
        f"{folder}/cgroup.procs": lines(own),
    }
    return files | {f"{folder}/{name}/cgroup.procs": lines(pids) for name, pids in below.items()}


def lines(pids):
    return "".join(f"{pid}\n" for pid in pids)


def look(roots, *gpus, most=10):
    proc, sysfs = roots
    nvml = FakeNvml(*gpus)
    return read_consumers(read_memory(proc=proc, sys=sysfs, nvml=nvml), most=most, proc=proc, nvml=nvml)


def pids(consumers):
    return [consumer.pid for consumer in consumers.shown]


def test_the_largest_stands_first_and_this_process_is_marked(tree):
    consumers = look(tree(machine(process(OWN, 100), process(HERE, 300, "java"), process(OTHER, 200))))
    assert pids(consumers) == [HERE, OTHER, OWN]
    assert consumers.shown[0] == Consumer(HERE, "java", 300 * MIB)
    assert [consumer.own for consumer in consumers.shown] == [False, False, True]


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_this_process_is_shown_however_small(tree, most):
    """Seen to fail with the list cut off after the largest."""
    consumers = look(tree(machine(process(OWN, 1), process(HERE, 300), process(OTHER, 200))), most=most)
    assert len(consumers.shown) == min(most, 3)
    assert sum(consumer.own for consumer in consumers.shown) == 1
    assert consumers.left_out == max(0, 3 - most)


def test_this_process_is_shown_where_nothing_can_be_read(tmp_path):
    nvml = FakeNvml()
    consumers = read_consumers(read_memory(proc=tmp_path, sys=tmp_path, nvml=nvml), proc=tmp_path / "self", nvml=nvml)
    assert any(consumer.own for consumer in consumers.shown)


def test_kernel_threads_and_garbage_hold_nothing(tree):
    odd = {"proc/3/status": "Name:\tkswapd0\n", "proc/4/status": "\x00", "proc/acpi/status": "VmRSS: 9 kB\n"}
    assert pids(look(tree(machine(process(OWN, 1), odd)))) == [OWN]


def test_processes_that_may_not_be_read_are_counted_in_a_note(tree):
    proc, sysfs = tree(machine(process(OWN, 1)))
    for pid in (HERE, OTHER):
        (proc / str(pid) / "status").mkdir(parents=True)  # no file: reading it fails, as a refusal does
    assert any(note.startswith("2 processes do not tell") for note in look((proc, sysfs)).notes)


def test_what_counts_against_a_control_group_stands_first(tree):
    """Seen to fail with an order by size alone, and with the processes of the groups below left out."""
    files = machine(process(OWN, 10), process(HERE, 20), process(OTHER, 900))
    consumers = look(tree(files | group(100, 40, own=[OWN], below=[HERE])))
    assert pids(consumers) == [HERE, OWN, OTHER]
    assert [consumer.in_group for consumer in consumers.shown] == [True, True, False]


def test_where_the_host_limits_nobody_is_marked_as_of_the_group(tree):
    consumers = look(tree(machine(process(OWN, 10), available=20) | group(2000, 10, own=[OWN])))
    assert [consumer.in_group for consumer in consumers.shown] == [None]


def test_processes_of_the_group_outside_this_container_are_counted(tree):
    consumers = look(tree(machine(process(OWN, 10)) | group(100, 10, own=[OWN, 0, 0])))
    assert any(note.startswith("2 more processes") for note in consumers.notes)


def test_a_group_that_does_not_tell_its_processes_says_so(tree):
    files = machine(process(OWN, 10)) | group(100, 10)
    del files["sys/fs/cgroup/job/cgroup.procs"]
    consumers = look(tree(files))
    assert consumers.shown[0].in_group is None
    assert any("does not tell its processes" in note for note in consumers.notes)


def test_version_1_without_a_hierarchy_counts_the_group_alone(tree):
    files = {"sys/g/cgroup.procs": "1\n", "sys/g/below/cgroup.procs": "2\n", "sys/g/memory.use_hierarchy": "0\n"}
    _, sysfs = tree(files)
    assert read_group_pids(sysfs / "g").seen == {1}


def test_a_group_that_is_removed_meanwhile_is_left_out(tree):
    """Seen to fail with `Path.rglob`, which raises FileNotFoundError."""
    _, sysfs = tree({"sys/g/cgroup.procs": "1\n", "sys/g/a/b/cgroup.procs": "3\n"})
    os.mkfifo(sysfs / "g/a/cgroup.procs")

    def remove_once_it_is_read():
        with (sysfs / "g/a/cgroup.procs").open("w") as file:  # waits for the reader
            shutil.rmtree(sysfs / "g/a")
            file.write("2\n")

    remover = threading.Thread(target=remove_once_it_is_read, daemon=True)
    remover.start()
    assert read_group_pids(sysfs / "g").seen == {1, 2}
    remover.join()


@pytest.mark.parametrize(
    ("used", "resident", "words"),
    [(1000, 1200, "counted in each"), (1000, 700, "belong to no process"), (1000, 1000, None), (1000, 960, None)],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_sums_that_do_not_add_up_are_said(tree, used, resident, words, grouped):
    files = machine(process(OWN, resident), available=3000 if grouped else 4096 - used)
    consumers = look(tree(files | (group(1100, used, own=[OWN]) if grouped else {})))
    assert [words in note for note in consumers.notes] == ([] if words is None else [True])


def test_gpu_memory_stands_with_its_process(tree):
    proc, sysfs = tree(machine(process(OWN, 10), process(HERE, 20)))
    number_processes(proc)
    gpus = FakeGpu("GPU-1", processes={HERE: 500 * MIB}), FakeGpu("GPU-2", processes={HERE: None, OWN: 5})
    consumers = look((proc, sysfs), *gpus)
    assert consumers.shown[0] == Consumer(HERE, "python", 20 * MIB, ((0, 500 * MIB), (1, None)))
    assert consumers.shown[1].device_bytes == ((1, 5),)


@pytest.mark.parametrize(
    ("numbers", "device", "matched"),
    [
        (MACHINES_PIDS, None, True),
        (CONTAINERS_PIDS, None, False),
        (CONTAINERS_PIDS, "/dev/null", False),
        (CONTAINERS_PIDS, "/dev/nvidiactl", False),
        (CONTAINERS_PIDS, "/dev/nvidia-uvm", True),
        (CONTAINERS_PIDS, "/dev/dxg", True),
        (None, None, False),
        (None, "/dev/nvidia-uvm", True),
    ],
)
def test_a_drivers_number_is_a_process_here_only_if_that_can_be_told(tree, numbers, device, matched):
    """Seen to fail with every number taken for the process of that number here."""
    proc, sysfs = tree(machine(process(OWN, 10), process(HERE, 20)))
    number_processes(proc, numbers, {HERE: device} if device else {})
    consumers = look((proc, sysfs), FakeGpu("GPU-1", processes={HERE: 500}))
    named = {consumer.name: consumer.device_bytes for consumer in consumers.shown if consumer.pid == HERE}
    assert named == ({"python": ((0, 500),)} if matched else {"python": (), None: ((0, 500),)})
    assert any(str(HERE) in note and "cannot be told" in note for note in consumers.notes) != matched


def test_a_number_that_is_nobodys_here_is_told_without_a_name(tree):
    proc, sysfs = tree(machine(process(OWN, 10)))
    number_processes(proc)
    consumers = look((proc, sysfs), FakeGpu("GPU-1", processes={THIRD: 500}))
    assert Consumer(THIRD, None, None, ((0, 500),)) in consumers.shown


def test_where_a_device_limits_its_users_stand_first(tree):
    proc, sysfs = tree(machine(process(OWN, 10), process(HERE, 900), process(OTHER, 20), available=4000))
    number_processes(proc)
    consumers = look((proc, sysfs), FakeGpu("GPU-1", total_bytes=999, free_bytes=9, processes={OTHER: 500}))
    assert pids(consumers)[0] == OTHER


def test_what_the_reading_says_is_not_said_again(tree):
    proc, sysfs = tree(machine(process(OWN, 10)))
    nvml = FakeNvml(FakeGpu("GPU-1"), FakeGpu("GPU-2", refuses={"nvmlDeviceGetUUID": "GPU is lost"}))
    reading = read_memory(proc=proc, sys=sysfs, nvml=nvml)
    assert not set(reading.notes) & set(read_consumers(reading, proc=proc, nvml=nvml).notes)


def test_a_holder_is_json_ready():
    facts = Consumer(7, None, None, ((0, None), (2, 5))).to_dict()
    assert facts["device_bytes"] == [{"index": 0, "used_bytes": None}, {"index": 2, "used_bytes": 5}]
    assert facts["pid"] == 7


def test_the_processes_of_this_machine_are_read():
    consumers = read_consumers(read_memory())
    (own,) = (consumer for consumer in consumers.shown if consumer.own)
    assert own.pid == OWN
    assert own.rss_bytes > MIB


@pytest.mark.cgroup
def test_a_process_in_a_real_control_group_is_found(own_group):
    """Seen to fail with the processes of the mount root."""
    folder = own_group(256 * MIB)
    code = (
        "import os, sys; open(sys.argv[1], 'w').write('0')\n"
        "from autobatch.memory.consumers import read_consumers\n"
        "from autobatch.memory.reading import read_memory\n"
        "print([(h.own, h.in_group) for h in read_consumers(read_memory()).shown if h.in_group])"
    )
    program = [sys.executable, "-c", code, str(folder / "cgroup.procs")]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[(True, True)]"
