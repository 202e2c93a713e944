"""What drivers of several generations answer, read through the real `pynvml`."""

from typing import Any

import pytest
from gpu_check.readings import recorded
from hypothesis import given
from hypothesis import strategies as st
from nvml_library import RECORDS, NvmlLibrary, installed, load
from pids import CONTAINERS_PIDS, MACHINES_PIDS, number_processes

from autobatch.memory.sensors.gpu import read_device_uses, read_devices
from autobatch.memory.sensors.nvml import read_driver
from autobatch.memory.types import Device

MIB = 1 << 20
PID, OTHER = 4242, 31337
NAMES = sorted(path.stem for path in RECORDS.glob("*.json"))
CUT = "MIG-0a0a0a0a-2222-5222-8222-000000000002"


def of(index, total, reserved, own, others, free, owner="driver"):
    """A device's figures, in MiB."""
    figures = [None if figure is None else figure * MIB for figure in (total, reserved, own, others, free)]
    return (index, *figures, owner if own is not None else None)


# By record: the environment, the devices in MiB, and the words of each note.
READ: dict[str, tuple[dict[str, str], list[Any], list[str]]] = {
    "r440": ({}, [of(0, 16160, None, None, None, 3733)], ["unknown (NVML: Function Not Found)"]),
    "r470": ({}, [of(0, 15109, None, 3251, 1204, 10654)], []),
    "r525": ({}, [of(0, 40960, 571, 12000, 2048, 26341)], []),
    "r535_54": ({}, [of(0, 24564, 374, 5000, 2348, 16842)], []),
    "r535_98": ({}, [of(0, 24564, 374, 5000, 2348, 16842)], []),
    "r550_127": ({}, [of(0, 81559, 551, None, None, 73960)], ["does not add up"]),
    "r580_h200": ({}, [of(0, 143771, 617, 70000, 0, 73154)], []),
    "mig": (
        {"CUDA_VISIBLE_DEVICES": f"0,{CUT}"},
        [of(0, 19968, 13, 8000, 0, 11955), of(1, 9856, 7, None, None, 8849)],
        ["GPU:1: NVML lists no process 4242"],
    ),
    "wsl": ({}, [of(0, 10240, None, None, None, 7240)], ["without its bytes"]),
    "vgpu": ({}, [of(0, 24576, 1536, None, None, 18040)], ["without its bytes"]),
    "container": ({}, [of(0, 81920, 629, None, None, 31291)], ["may be another one"]),
    "container_translated": ({}, [of(0, 81920, 629, None, None, 31291)], ["without its bytes"]),
    "unlike": (
        {},
        [of(0, 4096, 64, None, None, 4032), of(1, 49140, 492, 1000, 0, 47648)],
        ["GPUs of several kinds (NVIDIA RTX A6000, NVIDIA T1000)", "GPU:0: NVML lists no process 4242"],
    ),
    "lost": ({}, [of(1, 23034, 358, 900, 0, 21776)], ["GPU:0 (GPU-5c8ad1f2-0000-0015-8000-000000000001) is left out"]),
    "no_permission": ({}, [of(0, 23034, 358, None, None, 21776)], ["unknown (NVML: Insufficient Permissions)"]),
    "not_supported": ({}, [], ["does not tell its memory (Not Supported)"]),
    "no_driver": ({}, [], ["NVML does not start (Driver Not Loaded)"]),
    "no_device": ({}, [], ["NVML runs and names none"]),
}


def figures_of(device: Device) -> tuple[Any, ...]:
    return (
        device.index,
        device.total_bytes,
        device.reserved_bytes,
        device.used_by_this_process_bytes,
        device.used_by_others_bytes,
        device.free_bytes,
        device.own_from,
    )


def read(record, tmp_path, environ):
    """Reads as process 4242, which sees the machine's own numbers unless the record is that of a container."""
    library = NvmlLibrary(record)
    opened = {PID: record["opened"]} if "opened" in record else {}
    proc = number_processes(tmp_path, CONTAINERS_PIDS if record.get("container") else MACHINES_PIDS, opened)
    with installed(library):
        devices, notes = read_devices(PID, None, environ, proc)
    assert library.open_count == 0
    return devices, notes


def test_every_record_is_read():
    assert set(READ) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_generation_tells_what_it_can_and_the_rest_is_said(tmp_path, name):
    """Seen to fail with the newest of the lists alone, or the first that answers, and one memory info alone.

    And with `pynvml`'s plain name for the list (before 510 it raises an error that is none of NVML's), with every list
    believed, and with the number of a process alone compared.
    """
    environ, expected, words = READ[name]
    devices, notes = read(load(name), tmp_path, environ)
    assert [figures_of(device) for device in devices] == expected
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_made_up(name):
    """Seen to fail with every list believed: a process 0, and one whose number is another's bytes."""
    record = load(name)
    listed = [
        one for gpu in record["gpus"] for part in (gpu, *gpu.get("slices", {}).values()) for one in part["processes"]
    ]
    with installed(NvmlLibrary(record)):
        uses, notes = read_device_uses(None, {})
    assert {(use.pid, use.used_bytes) for use in uses} <= {(pid, used) for pid, used in listed}
    assert uses or notes


def test_the_driver_tells_its_version_whatever_else_it_lacks():
    for name in NAMES:
        record = load(name)
        with installed(NvmlLibrary(record)):
            driver, _ = read_driver()
        assert (driver and driver.version) == (None if name == "no_driver" else record["driver"]), name


@pytest.mark.parametrize("name", [name for name in NAMES if "entry_bytes" not in load(name) and name != "no_driver"])
def test_what_is_recorded_of_a_machine_is_read_like_the_machine(name, tmp_path):
    """Seen to fail with refusals left out."""
    record = load(name)
    numbers = CONTAINERS_PIDS if record.get("container") else MACHINES_PIDS
    with installed(NvmlLibrary(record)):
        again = recorded(proc=number_processes(tmp_path / "proc", numbers, {}))
    environ, *_ = READ[name]
    opened = {"opened": record["opened"]} if "opened" in record else {}
    assert read(again | opened, tmp_path / "again", environ) == read(record, tmp_path / "first", environ)


def test_a_machine_without_the_library_has_no_gpus():
    with installed(None):
        devices, (note,) = read_devices(PID, None, {})
    assert devices == ()
    assert "NVML Shared Library Not Found" in note


SIZES = st.integers(0, 200 << 10)


@given(own=SIZES.filter(bool), others=st.lists(SIZES, max_size=4), reserved=st.none() | SIZES, free=SIZES)
def test_all_figures_add_up_to_the_total(tmp_path_factory, own, others, reserved, free):
    """Seen to fail with what is reserved counted among the others'."""
    taken = (own + sum(others) + free) * MIB
    total = taken + (reserved or 0) * MIB
    processes = [[PID, own * MIB], *([OTHER + number, used * MIB] for number, used in enumerate(others))]
    gpu = {
        "uuid": "GPU-1",
        "name": "GPU",
        "total": total,
        "free": free * MIB,
        "reserved": (reserved or 0) * MIB,
        "processes": processes,
    }
    lacks = [] if reserved is not None else ["nvmlDeviceGetMemoryInfo_v2"]
    record = {"driver": "1", "gpus": [gpu], "lacks": lacks}
    ((device,), notes) = read(record, tmp_path_factory.mktemp("proc"), {})
    assert notes == ()
    assert device.used_by_others_bytes == sum(others) * MIB
    known = device.used_by_this_process_bytes + device.used_by_others_bytes + (device.reserved_bytes or 0)
    assert known + device.free_bytes == device.total_bytes


def test_a_record_says_what_it_is():
    origins = ("Composed, not recorded: no such machine was there.", "Recorded on")
    assert [name for name in NAMES if not load(name)["about"].startswith(origins)] == []
