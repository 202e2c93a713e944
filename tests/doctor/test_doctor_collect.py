"""What a check-up looks at: recorded trees, fake drivers, and this machine."""

import os
from importlib import metadata

import pytest

from autobatch.backend.base import Framework
from autobatch.doctor.collect import collect, fits, read_packages, required_packages
from autobatch.memory.sensors.cgroup import is_memory_backed
from autobatch.testing import FakeCuda, FakeGpu, FakeNvml, FakePool

FILES = {
    "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\nSwapTotal: 8 kB\nSwapFree: 2 kB\n",
    "proc/self/status": "VmHWM: 20 kB\nVmRSS: 10 kB\n",
    "proc/self/cgroup": "0::/job\n",
    "proc/self/mountinfo": (
        "1 0 0:1 / / rw - ext4 /dev/sda rw\n31 1 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        "32 1 0:29 / /tmp rw - tmpfs tmpfs rw\n33 32 0:30 / /tmp/disk rw - ext4 /dev/sdb rw\n"
    ),
    "sys/fs/cgroup/job/memory.events": "oom_kill 0\n",
}


def seen(root, *, files=FILES, nvml=None, driver=None, environ=None, try_worker=lambda environ: None):
    """What is seen of a recorded machine; no worker process is started, unless `try_worker` does."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    own = {**os.environ, "AUTOBATCH_CACHE_DIR": str(root / "cache"), **(environ or {})}
    fakes = {"nvml": nvml or FakeNvml(), "driver": driver or FakeCuda(), "describe": lambda: Framework(error="fake")}
    return collect(root=root, environ=own, try_worker=try_worker, **fakes)


def test_a_recorded_machine_is_seen(tmp_path):
    found = seen(tmp_path, files=FILES | {"proc/self/clear_refs": "", ".dockerenv": ""})
    assert found.framework.error == "fake"
    assert found.reading.host.total_bytes == 1000 << 10
    kernel = found.kernel
    assert (kernel.group_version, kernel.counts_kills, kernel.resets_peak) == (2, True, True)
    assert (kernel.swap_bytes, kernel.swap_free_bytes) == (8 << 10, 2 << 10)
    assert (kernel.container, kernel.machines_numbers) == ("/.dockerenv is there", False)


def test_the_machines_own_numbers_of_processes_are_told_from_a_containers(tmp_path):
    space = tmp_path / "proc/self/ns/pid"
    space.parent.mkdir(parents=True)
    space.symlink_to("pid:[4026531836]")
    assert seen(tmp_path).kernel.machines_numbers


def test_what_is_not_there_is_not_seen(tmp_path):
    kernel = seen(tmp_path, files={"proc/meminfo": "MemTotal: 9 kB\n"}, nvml=FakeNvml()).kernel
    assert (kernel.group_version, kernel.counts_kills, kernel.resets_peak) == (None, False, False)
    assert (kernel.swap_bytes, kernel.container) == (None, None)


def test_gpus_that_are_hidden_are_on_the_machine_all_the_same(tmp_path, monkeypatch):
    """Seen to fail with the variable heeded for both."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = seen(tmp_path, nvml=FakeNvml(FakeGpu("GPU-1"), FakeGpu("GPU-2")), driver=FakeCuda(FakePool()))
    assert [gpu.uuid for gpu in found.machine_gpus] == ["GPU-1", "GPU-2"]
    assert [gpu.uuid for gpu in found.reading.devices] == ["GPU-2"]
    assert found.driver.version == "560.35"
    assert found.pools == (True,)


def test_files_of_gpus_are_seen_where_no_driver_answers(tmp_path):
    files = FILES | {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": ""}
    found = seen(tmp_path, files=files, nvml=FakeNvml(fails={"nvmlInit": "Driver Not Loaded"}))
    assert found.device_files == ("/dev/nvidia0", "/dev/nvidia1")


def test_a_driver_that_cannot_be_asked_says_why(tmp_path):
    found = seen(tmp_path, nvml=FakeNvml(fails={"nvmlInit": "Driver Not Loaded"}))
    assert found.driver is None
    assert "Driver Not Loaded" in found.driver_note


def test_a_worker_is_started_and_the_folders_are_written_to(tmp_path):
    places = seen(tmp_path, try_worker=None).places
    assert (places.worker_error, places.cache_error) == (None, None)
    assert places.cache == str(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_worker_that_does_not_start_is_told_with_its_words(tmp_path):
    """Seen to fail with the exit status left alone."""
    error = seen(tmp_path, environ={"PYTHONHOME": str(tmp_path / "nowhere")}, try_worker=None).places.worker_error
    assert "exit status 1" in error


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").touch()
    places = seen(tmp_path, environ={"AUTOBATCH_CACHE_DIR": str(tmp_path / "file" / "cache")}).places
    assert places.cache_error == "Not a directory"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("tmp", True),
        ("tmp/of/somebody", True),
        ("tmp/disk/x", False),
        ("tmpfoo", False),
        ("ram", True),
        ("home", False),
    ],
)
def test_a_folder_is_in_memory_if_its_innermost_mount_is(tmp_path, folder, expected):
    """Seen to fail with the first mount that matches, and with names compared without the slash."""
    root = tmp_path.resolve()
    mounts = FILES["proc/self/mountinfo"].replace(" /tmp", f" {root}/tmp")
    mounts += f"34 1 0:31 / {root}/ram rw - ramfs ramfs rw\n"
    (root / "self").mkdir()
    (root / "self" / "mountinfo").write_text(mounts)
    assert is_memory_backed(root / folder, root) == expected


def test_a_system_that_lists_no_mounts_is_taken_to_have_a_disk(tmp_path):
    assert not is_memory_backed(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("2.21.0", ">=2.20", True),
        ("2.9.0", ">=2.20", False),
        ("2.21.0rc1", ">=2.20", True),
        ("3.14.0", ">=3.11,<3.14", False),
        ("odd", ">=2.20", None),
        ("1.0", "odd", None),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version, wanted, expected):
    assert fits(version, wanted) is expected


def test_requirements_of_other_systems_and_of_extras_ask_for_nothing():
    """Seen to fail with markers left alone."""
    lines = ["keras<4,>=3; python_version >= '3'", "numpy; sys_platform == 'none'", "pandas; extra == 'frames'", "tqdm"]
    assert [(package.name, package.wanted) for package in required_packages(lines)] == [
        ("keras", "<4,>=3"),
        ("tqdm", ""),
    ]


def test_a_module_that_another_package_brings_is_installed():
    """Seen to fail with packages looked up by their own name alone: tensorflow-cpu brings tensorflow."""
    (package,) = required_packages(["PIL>=1"])
    assert (package.version, package.fits) == (metadata.version("pillow"), True)


def test_what_is_needed_and_what_can_be_used_is_looked_up():
    packages = {package.name: package for package in read_packages()}
    assert packages["keras"].version is not None
    assert packages["keras"].extra == ""
    assert packages["matplotlib"].extra != ""
