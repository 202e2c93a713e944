"""Findings: from what the sensors say to what is said, and what to do."""

import json
from dataclasses import replace

import pytest

from autobatch.backend.base import Framework, FrameworkGpu
from autobatch.doctor.checkup import check_up
from autobatch.doctor.facts import Kernel, MachineFacts, Package, Places
from autobatch.memory.types import Device, Driver, Pressure
from autobatch.testing import memory_reading

MIB, GIB = 1 << 20, 1 << 30

ON_CPU = Framework(keras_version="3.15.1", backend="tensorflow", backend_version="2.21.0", onednn=True)
WITH_CUDA = replace(ON_CPU, cuda_build=True, cuda_version="12.5.1", cudnn_version="9", compute_capabilities=("sm_60",))
ON_GPU = replace(WITH_CUDA, gpus=(FrameworkGpu(0, "Fake GPU", "9.0"),))
GPUS = (Device(0, "GPU-1", "Fake GPU", 16 * GIB, 12 * GIB, 0), Device(1, "GPU-2", "Fake GPU", 16 * GIB, 2 * GIB, 0))
DRIVER = Driver("560.35", "12.560.35", "12.6")
NOTED = replace(
    memory_reading(), notes=("/sys/fs/cgroup/memory.max can't be read: whether it sets a limit is unknown.",)
)


def machine(framework=ON_CPU, *, visible=0, there=0, **more):
    """What is seen on a machine with some GPUs, of which this process may use the first few."""
    reading = more.pop("reading", memory_reading(devices=GPUS[:visible]))
    driver = DRIVER if there else None
    return MachineFacts(framework, reading, machine_gpus=GPUS[:there], driver=driver, **more)


CASES = {
    "nothing to import": (
        machine(Framework(error="ImportError: no")),
        "problem",
        "keras",
        "ImportError: no",
        "pip install",
    ),
    "another backend": (
        machine(Framework(keras_version="3.15.1", backend="jax")),
        "problem",
        "keras",
        "runs on jax",
        "KERAS_BACKEND=tensorflow",
    ),
    "hidden GPUs": (
        machine(WITH_CUDA, there=2, environ={"CUDA_VISIBLE_DEVICES": "-1"}),
        "warning",
        "gpus",
        "CUDA_VISIBLE_DEVICES='-1' hides 2 GPUs",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "a build without CUDA": (
        machine(there=1, visible=1),
        "warning",
        "gpus",
        "built without CUDA",
        "pip install 'tensorflow[and-cuda]'",
    ),
    "no libraries": (
        machine(WITH_CUDA, there=1, visible=1),
        "warning",
        "gpus",
        "libraries are missing or do not match",
        "pip install 'tensorflow[and-cuda]' brings",
    ),
    "fewer than the driver": (
        machine(ON_GPU, there=2, visible=2),
        "warning",
        "gpus",
        "can use 1 of 2 GPUs",
        "built for these kinds: sm_60",
    ),
    "no NVML": (machine(ON_GPU), "warning", "gpus", "NVML shows no GPU", "NVIDIA_DRIVER_CAPABILITIES"),
    "a GPU that does not tell": (
        machine(ON_GPU, reading=replace(memory_reading(devices=GPUS[:1]), notes=("GPU:0: it is odd.",))),
        "warning",
        "gpu_memory",
        "it is odd",
        "nvidia-smi",
    ),
    "a GPU in a container": (
        machine(ON_GPU, visible=1, there=1, kernel=Kernel(machines_numbers=False)),
        "warning",
        "watched",
        "the GPU is not watched in training",
        "(--pid=host).",
    ),
    "a GPU with pools in a container": (
        machine(ON_GPU, visible=1, there=1, pools=(True,), kernel=Kernel(machines_numbers=False)),
        "warning",
        "watched",
        "the GPU is not watched in training",
        "Or autobatch.share_memory() (--share-memory) chooses one that gives back, and tells what it holds.",
    ),
    "unlike GPUs": (
        machine(
            ON_GPU,
            reading=replace(memory_reading(devices=GPUS[:1]), notes=("GPUs of several kinds: CUDA_DEVICE_ORDER",)),
        ),
        "warning",
        "gpu_order",
        "GPUs of several kinds",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
    ),
    "a driver that cannot be asked, beside CUDA": (
        machine(pools=(True, True)),
        "warning",
        "gpus",
        "cannot be asked, but CUDA counts 2 GPUs.",
        "nvidia-smi",
    ),
    "a driver that cannot be asked, beside its files": (
        machine(device_files=("/dev/nvidia0",)),
        "warning",
        "gpus",
        "No GPU can be seen, because the driver cannot be asked, but /dev/nvidia0 is there.",
        "NVIDIA_DRIVER_CAPABILITIES",
    ),
    "no memory left": (
        machine(reading=memory_reading(host_available_bytes=GIB)),
        "problem",
        "limit",
        "1.0 GiB are available, less than the reserve",
        "autobatch memory",
    ),
    "a limit that can't be read": (
        machine(reading=NOTED),
        "warning",
        "sensors",
        "memory.max can't be read",
        "--reserve",
    ),
    "a host that does not tell what is available": (
        machine(reading=replace(memory_reading(), notes=("/proc/meminfo does not say what is available.",))),
        "warning",
        "sensors",
        "/proc/meminfo does not say",
        "MemAvailable",
    ),
    "a peak that is not told": (
        machine(reading=replace(memory_reading(), notes=("/proc/self/status names no VmHWM.",))),
        "warning",
        "sensors",
        "names no VmHWM",
        "/proc/self/status has VmHWM",
    ),
    "kills that are not counted": (
        machine(kernel=Kernel(counts_kills=False)),
        "warning",
        "kills",
        "does not count",
        "/sys/fs/cgroup",
    ),
    "pressure": (
        machine(reading=replace(memory_reading(), pressure=Pressure(40.0, 10.0))),
        "warning",
        "pressure",
        "40 %",
        "autobatch memory",
    ),
    "a peak that stays": (
        machine(kernel=Kernel(resets_peak=False)),
        "warning",
        "peak",
        "cannot be set back",
        "clear_refs",
    ),
    "limited addresses": (
        machine(kernel=Kernel(address_limit_bytes=8 * GIB)),
        "warning",
        "addresses",
        "8.0 GiB (ulimit -v)",
        "ulimit -v unlimited",
    ),
    "a variable in the way": (
        machine(environ={"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0"}),
        "warning",
        "variables",
        "TF_ONEDNN_USE_SYSTEM_ALLOCATOR=0 was set before",
        "Unset TF_ONEDNN_USE_SYSTEM_ALLOCATOR",
    ),
    "no worker": (
        machine(places=Places(worker_error="not permitted.")),
        "warning",
        "worker",
        "not permitted.",
        "without a deadline",
    ),
    "no cache": (
        machine(places=Places(cache_error="Read-only file system")),
        "warning",
        "cache",
        "Read-only file system",
        "AUTOBATCH_CACHE_DIR",
    ),
    "temporary files in memory": (
        machine(places=Places(temporary_in_memory=True)),
        "warning",
        "temporary",
        "take memory",
        "TMPDIR",
    ),
    "a full disk": (
        machine(places=Places(temporary_free_bytes=9 * MIB)),
        "warning",
        "temporary",
        "Only 9 MiB",
        "TMPDIR",
    ),
    "a package that is too old": (
        machine(packages=(Package("keras", "3.1", ">=3.12", fits=False),)),
        "warning",
        "keras",
        "keras 3.1 is installed; autobatch is made for >=3.12",
        "pip install 'keras>=3.12'",
    ),
    "another Python": (
        machine(packages=(Package("Python", "3.9.1", ">=3.11", fits=False),)),
        "warning",
        "Python",
        "Python 3.9.1",
        "Use Python >=3.11",
    ),
    "a missing package": (
        machine(packages=(Package("scipy", None, ">=1.11,<2"),)),
        "warning",
        "scipy",
        "not installed",
        "pip install 'scipy>=1.11,<2'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_found_with_what_to_do(case):
    """One row for each warning and problem that there is: what the sensors say, what is said, what to do."""
    seen, state, name, words, remedy = CASES[case]
    (finding,) = (one for one in check_up(seen).findings if one.name == name and one.state != "ok")
    assert finding.state == state
    assert words in finding.found
    assert remedy in finding.remedy


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_wrong_then(case):
    """Seen to fail with a rule that warns of what another rule has said."""
    seen, _, name, *_ = CASES[case]
    assert {one.name for one in check_up(seen).findings if one.state != "ok"} == {name}


@pytest.mark.parametrize(
    ("seen", "name", "words"),
    [
        (replace(machine(), driver=DRIVER), "gpus", "No GPU is there; training runs on the CPU."),
        (machine(), "gpus", "No GPU can be seen, because the driver cannot be asked; training runs on the CPU."),
        (machine(driver_note="There is no driver."), "driver", "There is no driver."),
        (
            machine(ON_GPU, there=1, visible=1),
            "driver",
            "NVIDIA driver 560.35 (NVML 12.560.35), serves CUDA up to 12.6",
        ),
        (machine(ON_GPU, there=1, visible=1), "tensorflow", "built for CUDA 12.5.1 and cuDNN 9"),
        (machine(ON_GPU, there=2, visible=1), "gpus", "GPU:0 Fake GPU; CUDA_VISIBLE_DEVICES hides 1 more"),
        (machine(), "tensorflow", "built without CUDA; oneDNN is used on the CPU"),
        (
            machine(reading=memory_reading(group_limit_bytes=8 * GIB)),
            "limit",
            "control group limits: 8.0 GiB (v2 /fake)",
        ),
        (machine(kernel=Kernel(swap_bytes=4 * GIB, swap_free_bytes=GIB)), "swap", "4.0 GiB, 3.0 GiB in use"),
        (machine(kernel=Kernel(swap_bytes=None)), "swap", "unknown"),
        (machine(kernel=Kernel(container="/.dockerenv is there")), "container", "/.dockerenv"),
        (machine(packages=(Package("keras", "3.15.1", ">=3.12", fits=True),)), "versions", "made for"),
        (machine(packages=(Package("keras", "3.15.1"),)), "versions", "not compared"),
        (machine(packages=(Package("pandas", None, extra="data"),)), "pandas", "pip install pandas"),
        (machine(packages=(Package("pandas", "3.1", extra="data"),)), "pandas", "pandas 3.1, for data"),
    ],
)
def test_what_is_well_is_told_in_a_sentence(seen, name, words):
    (finding,) = (one for one in check_up(seen).findings if one.name == name)
    assert finding.state == "ok"
    assert finding.remedy is None
    assert words in finding.found


@pytest.mark.parametrize(
    ("seen", "device", "limit", "trials", "gives_back"),
    [
        (machine(), "CPU", "host", "worker", False),
        (machine(environ={"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}), "CPU", "host", "worker", True),
        (machine(reading=memory_reading(group_limit_bytes=GIB)), "CPU", "control group", "worker", False),
        (machine(WITH_CUDA, there=1, visible=1), "CPU", "host", "worker", False),
        (machine(ON_GPU, there=1, visible=1), "GPU:0 Fake GPU", "device", "worker", False),
        (machine(ON_GPU), "GPU:0 Fake GPU", None, "worker", False),
        (machine(places=Places(worker_error="no")), "CPU", "host", "caller", False),
    ],
)
def test_what_would_be_used_follows_from_what_was_found(seen, device, limit, trials, gives_back):
    """Seen to fail with the device's limit where TensorFlow can use no device."""
    plan = check_up(seen).plan
    assert (plan.device, plan.limit, plan.trials, plan.gives_back) == (device, limit, trials, gives_back)
    assert (plan.budget_bytes is None) == (limit is None)


def test_nothing_would_be_used_where_nothing_can_be_trained():
    assert check_up(machine(Framework(error="no"))).plan is None


@pytest.mark.parametrize("case", CASES)
def test_a_check_up_is_json_ready(case):
    facts = json.loads(json.dumps(check_up(CASES[case][0]).to_dict(), allow_nan=False))
    assert facts["schema_version"] == 1
    assert sum(facts["counts"].values()) == len(facts["findings"])
    assert all((one["state"] == "ok") == (one["remedy"] is None) for one in facts["findings"])
