"""GPUs through NVML, with recorded answers: their memory, who holds it, and what this process holds."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pids import CONTAINERS_PIDS, MACHINES_PIDS, number_processes

from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.gpu import add_own_use, read_device_uses, read_devices
from autobatch.memory.sensors.nvml import nvml_session, read_driver
from autobatch.memory.types import Allocator, Device, Driver
from autobatch.testing import FakeGpu, FakeNvml

GIB = 1 << 30


PID = 77


FIRST = FakeGpu("GPU-aaaa-1", processes={PID: 3 * GIB, 5: GIB})


SECOND = FakeGpu("GPU-aabb-2", total_bytes=8 * GIB, free_bytes=GIB)


CUT = FakeGpu(
    "GPU-cccc-3",
    slices=(
        FakeGpu("MIG-1111", total_bytes=5 * GIB, free_bytes=4 * GIB, instance=(1, 0)),
        FakeGpu("MIG-1122", total_bytes=5 * GIB, free_bytes=2 * GIB, instance=(2, 0)),
    ),
)


UNCUT = FakeGpu("GPU-dddd-4", slices=())


@pytest.fixture
def read(tmp_path):
    """Reads as process 77 of a machine that sees its own numbers of processes."""
    proc = number_processes(tmp_path)

    def ask(nvml, visible=None, **environ):
        environ |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        return read_devices(PID, nvml, environ, proc)

    return ask


def test_a_device_has_its_figures_and_this_process_part(read):
    devices, _ = read(FakeNvml(FIRST))
    (device,) = devices
    assert (device.index, device.uuid, device.name) == (0, "GPU-aaaa-1", "Fake GPU")
    assert (device.total_bytes, device.free_bytes) == (16 * GIB, 12 * GIB)
    assert (device.used_by_this_process_bytes, device.own_from) == (3 * GIB, "driver")
    assert (device.used_by_others_bytes, device.reserved_bytes) == (GIB, None)


def test_what_the_driver_keeps_is_nobodys(read):
    """Seen to fail with what is reserved counted among the others'."""
    (device,), _ = read(FakeNvml(replace(FIRST, free_bytes=11 * GIB, reserved_bytes=GIB)))
    assert (device.reserved_bytes, device.used_by_others_bytes) == (GIB, GIB)


@pytest.mark.parametrize(
    ("numbers", "opened", "known"),
    [
        (MACHINES_PIDS, None, True),
        (CONTAINERS_PIDS, None, False),
        (CONTAINERS_PIDS, "/dev/nvidiactl", False),
        (CONTAINERS_PIDS, "/dev/nvidia-uvm", True),
        (None, None, False),
        (None, "/dev/dxg", True),
    ],
)
def test_in_a_container_a_process_of_the_same_number_is_not_taken_for_this_one(tmp_path, numbers, opened, known):
    """Seen to fail with the number alone compared."""
    proc = number_processes(tmp_path, numbers, {PID: opened} if opened else {})
    devices, notes = read_devices(PID, FakeNvml(FIRST), {}, proc)
    assert devices[0].used_by_this_process_bytes == (3 * GIB if known else None)
    assert devices[0].own_from == ("driver" if known else None)
    assert any("may be another one" in note for note in notes) != known


@pytest.mark.parametrize(
    "odd",
    [{0: 9}, {(1 << 22) + 1: 9}, {0xFFFFFFFF: 9}, {5: 17 * GIB}],
    ids=["no process", "beyond the kernel's largest", "all bits", "more than there is"],
)
def test_a_list_that_does_not_add_up_tells_nothing_and_that_is_said(read, odd):
    """Seen to fail with every list believed: what follows the first entry is shifted, this process among it."""
    devices, notes = read(FakeNvml(FakeGpu("GPU-1", processes={PID: GIB, **odd})))
    assert devices[0].used_by_this_process_bytes is None
    assert devices[0].used_by_others_bytes is None
    assert any("does not add up" in note for note in notes)


UNLIKE = FakeGpu("GPU-aaaa-1", name="Slow"), FakeGpu("GPU-bbbb-2", name="Fast")


@pytest.mark.parametrize(
    ("gpus", "environ", "said"),
    [
        (UNLIKE, {}, True),
        (UNLIKE, {"CUDA_VISIBLE_DEVICES": "1"}, True),
        (UNLIKE, {"CUDA_VISIBLE_DEVICES": "GPU-bbbb,0"}, True),
        (UNLIKE, {"CUDA_VISIBLE_DEVICES": "GPU-bbbb,GPU-aaaa"}, False),
        (UNLIKE, {"CUDA_VISIBLE_DEVICES": ""}, False),
        (UNLIKE, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, True),
        (UNLIKE, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ((FIRST, SECOND), {}, False),
        ((replace(FIRST, refuses={"nvmlDeviceGetName": "Unknown Error"}), SECOND), {}, False),
    ],
)
def test_numbers_that_may_mean_other_gpus_to_cuda_are_said(read, gpus, environ, said):
    _, notes = read(FakeNvml(*gpus), **environ)
    assert sum("CUDA_DEVICE_ORDER" in note for note in notes) == said


@pytest.mark.parametrize(
    ("visible", "uuids", "notes"),
    [
        (None, ["GPU-aaaa-1", "GPU-aabb-2", "MIG-1111"], 0),
        ("0", ["GPU-aaaa-1"], 0),
        ("1,0", ["GPU-aabb-2", "GPU-aaaa-1"], 0),
        (" 1 , 0 ", ["GPU-aabb-2", "GPU-aaaa-1"], 0),
        ("GPU-aaaa-1", ["GPU-aaaa-1"], 0),
        ("GPU-aab", ["GPU-aabb-2"], 0),
        ("GPU-aa", [], 1),
        ("2", ["MIG-1111"], 0),
        ("GPU-cccc", ["MIG-1111"], 0),
        ("MIG-1122", ["MIG-1122"], 0),
        ("MIG-112", ["MIG-1122"], 0),
        ("MIG-GPU-cccc-3/2/0", ["MIG-1122"], 0),
        ("MIG-11", [], 1),
        ("3", [], 1),
        ("0,9,1", ["GPU-aaaa-1"], 1),
        ("1,-1,0", ["GPU-aabb-2"], 1),
        ("0,0", ["GPU-aaaa-1"], 0),
        ("", [], 1),
        ("-1", [], 1),
        ("NoDevFiles", [], 1),
    ],
)
def test_visible_devices_are_chosen_as_cuda_does(read, visible, uuids, notes):
    """Seen to fail with the variable ignored, and with unknown entries skipped instead of ending the list."""
    devices, said = read(FakeNvml(FIRST, SECOND, CUT, UNCUT), visible)
    assert [device.uuid for device in devices] == uuids
    assert [device.index for device in devices] == list(range(len(uuids)))
    assert sum("CUDA_VISIBLE_DEVICES" in note for note in said) == notes


def test_a_process_that_is_not_listed_is_unknown_and_said(read):
    devices, notes = read(FakeNvml(SECOND))
    assert devices[0].used_by_this_process_bytes is None
    assert "lists no process 77" in notes[0]


@pytest.mark.parametrize("used", [None, 0])
def test_a_process_without_bytes_is_unknown_and_said(read, used):
    """Seen to fail with 0 taken for what this process holds."""
    devices, notes = read(FakeNvml(FakeGpu("GPU-1", processes={PID: used})))
    assert devices[0].used_by_this_process_bytes is None
    assert "without its bytes" in notes[0]


@pytest.mark.parametrize(
    ("function", "reason", "devices_left"),
    [
        ("nvmlInit", "Driver Not Loaded", 0),
        ("nvmlDeviceGetCount", "Insufficient Permissions", 0),
        ("nvmlDeviceGetHandleByIndex", "GPU is lost", 0),
        ("nvmlDeviceGetUUID", "GPU is lost", 0),
        ("nvmlDeviceGetMemoryInfo", "Not Supported", 0),
        ("nvmlDeviceGetComputeRunningProcesses", "Not Supported", 1),
    ],
)
def test_what_nvml_refuses_is_a_note_with_its_reason(read, function, reason, devices_left):
    devices, notes = read(FakeNvml(FIRST, fails={function: reason}))
    assert len(devices) == devices_left
    assert any(reason in note for note in notes)


@pytest.mark.parametrize("function", ["nvmlDeviceGetName", "nvmlDeviceGetMigMode", "nvmlShutdown"])
def test_what_does_not_matter_may_fail_in_silence(read, function):
    devices, notes = read(FakeNvml(FIRST, fails={function: "Not Supported"}))
    assert len(devices) == 1
    assert notes == ()


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo"])
def test_a_lost_gpu_leaves_the_others(read, function):
    lost = FakeGpu("GPU-lost", refuses={function: "GPU is lost"})
    devices, notes = read(FakeNvml(lost, FIRST))
    assert [device.uuid for device in devices] == ["GPU-aaaa-1"]
    assert sum("GPU is lost" in note for note in notes) == 1


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetGpuInstanceId"],
)
def test_slices_that_do_not_answer_are_no_fault_of_the_others(read, function):
    devices, _ = read(FakeNvml(CUT, FIRST, fails={function: "Not Supported"}), "1")
    assert [device.uuid for device in devices] == ["GPU-aaaa-1"]


def test_no_gpu_is_a_note(read):
    devices, notes = read(FakeNvml())
    assert devices == ()
    assert "names none" in notes[0]


@pytest.mark.parametrize("function", [None, "nvmlDeviceGetCount", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo"])
def test_what_is_opened_is_closed(read, function):
    """Seen to fail with the shutdown left out, and with it outside `finally`."""
    nvml = FakeNvml(FIRST, fails={function: "no"} if function else None)
    read(nvml)
    assert nvml.open_count == 0
    assert nvml.calls.count("nvmlShutdown") == 1


def test_an_error_that_is_not_nvmls_passes_and_closes(read):
    nvml = FakeNvml(FakeGpu("GPU-1", total_bytes="no number"))
    with pytest.raises(TypeError):
        read(nvml)
    assert nvml.open_count == 0


def test_what_was_never_opened_is_not_closed(read):
    nvml = FakeNvml(fails={"nvmlInit": "Driver Not Loaded"})
    read(nvml)
    assert "nvmlShutdown" not in nvml.calls


def test_readings_within_a_session_do_not_start_nvml_anew(read):
    """Seen to fail with the session's own `nvmlInit` left out: nothing was open between two readings."""
    nvml = FakeNvml(FIRST)
    with nvml_session(nvml):
        read(nvml)
        between = nvml.open_count
        read(nvml)
    assert between == 1
    assert nvml.open_count == 0


def test_a_session_ends_when_its_body_raises():
    """Seen to fail with the shutdown outside `finally`."""
    nvml = FakeNvml(FIRST)
    with pytest.raises(ZeroDivisionError), nvml_session(nvml):
        raise ZeroDivisionError
    assert nvml.open_count == 0


def test_sessions_may_overlap():
    nvml = FakeNvml(FIRST)
    with nvml_session(nvml), nvml_session(nvml):
        assert nvml.open_count == 2
    assert nvml.open_count == 0


def test_a_driver_that_does_not_start_holds_nothing():
    """Seen to fail with the failed start shut down all the same."""
    nvml = FakeNvml(fails={"nvmlInit": "Driver Not Loaded"})
    with nvml_session(nvml):
        pass
    assert nvml.calls == ["nvmlInit"]


def test_a_python_without_the_module_has_no_gpus(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    devices, (note,) = read(None)
    assert devices == ()
    assert "nvidia-ml-py" in note


def test_the_real_library_or_its_absence_is_read():
    devices, notes = read_devices(PID)
    assert devices or notes


def uses(*gpus, visible=None, fails=None):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found, notes = read_device_uses(FakeNvml(*gpus, fails=fails), environ)
    return [(use.index, use.pid, use.used_bytes) for use in found], notes


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        pytest.param(FakeGpu("GPU-1"), [], id="nobody"),
        pytest.param(FakeGpu("GPU-1", processes={7: 10, 8: 20}), [(0, 7, 10), (0, 8, 20)], id="two that compute"),
        pytest.param(FakeGpu("GPU-1", drawing={9: 30}), [(0, 9, 30)], id="one that draws"),
        pytest.param(FakeGpu("GPU-1", processes={7: 10}, drawing={7: 30}), [(0, 7, 30)], id="one that does both"),
        pytest.param(FakeGpu("GPU-1", processes={7: None}), [(0, 7, None)], id="bytes left open"),
        pytest.param(FakeGpu("GPU-1", processes={7: None}, drawing={7: 5}), [(0, 7, 5)], id="left open once"),
    ],
)
def test_each_process_is_told_once_for_each_gpu(gpu, expected):
    """Seen to fail with the figures of a process that computes and draws added up."""
    assert uses(gpu) == (expected, ())


def test_numbers_of_gpus_are_those_that_this_process_sees():
    first, second = FakeGpu("GPU-1", processes={7: 10}), FakeGpu("GPU-2", processes={8: 20})
    assert uses(first, second, visible="1,0")[0] == [(0, 8, 20), (1, 7, 10)]


def test_a_slice_tells_its_own_processes():
    part = FakeGpu("MIG-1", processes={7: 10})
    assert uses(FakeGpu("GPU-1", slices=(part,), processes={9: 90}))[0] == [(0, 7, 10)]


@pytest.mark.parametrize(
    ("function", "left", "notes"),
    [
        ("nvmlDeviceGetComputeRunningProcesses", [(0, 8, 20)], 1),
        ("nvmlDeviceGetGraphicsRunningProcesses", [(0, 7, 10)], 0),
    ],
)
def test_one_list_that_is_refused_leaves_the_other(function, left, notes):
    found, said = uses(FakeGpu("GPU-1", processes={7: 10}, drawing={8: 20}), fails={function: "Not Supported"})
    assert found == left
    assert len(said) == notes


def test_a_driver_that_does_not_start_lists_nobody_and_says_so():
    found, notes = uses(FakeGpu("GPU-1", processes={7: 10}), fails={"nvmlInit": "Driver Not Loaded"})
    assert found == []
    assert "Driver Not Loaded" in notes[0]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ((), Driver("560.35", "12.560.35", "12.6")),
        (("nvmlSystemGetNVMLVersion",), Driver("560.35", None, "12.6")),
        (("nvmlSystemGetCudaDriverVersion",), Driver("560.35", "12.560.35", None)),
        (("nvmlSystemGetDriverVersion",), None),
        (("nvmlInit",), None),
    ],
)
def test_the_versions_are_those_that_nvml_tells(fails, expected):
    nvml = FakeNvml(fails=dict.fromkeys(fails, "no"))
    driver, notes = read_driver(nvml)
    assert driver == expected
    assert bool(notes) == (expected is None)
    assert nvml.open_count == 0


SIZES = st.integers(0, 1 << 40)


def device(used=None):
    return Device(0, "GPU-1", "Fake GPU", 1000, 400, used, 50, "driver" if used is not None else None)


@pytest.mark.parametrize(
    ("driver", "allocator", "own", "own_from", "said"),
    [
        (300, None, 300, "driver", []),
        (300, Allocator(90, 100, 0), 300, "driver", []),
        (300, Allocator(90, 100, 0, pool_bytes=120), 300, "driver", []),
        (120, Allocator(90, 100, 0, pool_bytes=120), 120, "driver", []),
        (70, Allocator(90, 100, 0), 90, "allocator", ["it is another one", "it may hold more"]),
        (110, Allocator(90, 100, 0, pool_bytes=120), 120, "pool", ["it is another one", "without CUDA's own context"]),
        (None, Allocator(90, 100, 0, pool_bytes=120), 120, "pool", ["without CUDA's own context"]),
        (None, Allocator(90, 100, 0, pool_bytes=0), 0, "pool", ["without CUDA's own context"]),
        (None, Allocator(90, 100, 0), 90, "allocator", ["it may hold more"]),
        (None, Allocator(90, 100, 1), None, None, []),
        (None, Allocator(90, 100), None, None, []),
        (None, None, None, None, []),
    ],
)
def test_the_best_figure_counts_and_its_owner_is_said(driver, allocator, own, own_from, said):
    """Seen to fail with the driver's figure always believed: it was that of the host's process of the same number."""
    known, notes = add_own_use(device(driver), allocator)
    assert (known.used_by_this_process_bytes, known.own_from) == (own, own_from)
    assert len(notes) == len(said)
    assert all(word in note for word, note in zip(said, notes, strict=True))


@given(driver=st.none() | SIZES, current=SIZES, pool=st.none() | SIZES)
def test_it_is_never_less_than_the_framework_holds(driver, current, pool):
    """Seen to fail with the driver's figure always believed."""
    known, _ = add_own_use(device(driver), Allocator(current, current, 0, pool))
    assert known.used_by_this_process_bytes >= (current if pool is None else pool)


@given(own=SIZES, others=SIZES, reserved=SIZES, free=SIZES, pool=st.booleans())
def test_the_figures_add_up_whoever_tells_them(own, others, reserved, free, pool):
    total = own + others + reserved + free
    told = Device(0, "GPU-1", "Fake GPU", total, free, reserved_bytes=reserved)
    known, _ = add_own_use(told, Allocator(own, own, 0, own if pool else None))
    assert known.used_by_others_bytes == others


def test_in_a_container_the_reading_has_the_frameworks_figure_and_says_so(tree):
    """Every consumer takes it from there. Seen to fail with the figure left out of the reading's devices."""
    proc, sysfs = tree({"proc/self/status": "VmRSS: 1024 kB\n", "proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 9 kB\n"})
    number_processes(proc, CONTAINERS_PIDS)
    nvml = FakeNvml(FakeGpu("GPU-1", total_bytes=1000, free_bytes=400, processes={918273: 500}, reserved_bytes=50))
    reading = read_memory(proc=proc, sys=sysfs, nvml=nvml, allocator=Allocator(90, 100, 0, pool_bytes=120))
    (known,) = reading.devices
    assert (known.used_by_this_process_bytes, known.own_from, known.used_by_others_bytes) == (120, "pool", 430)
    assert reading.device_limits[0].occupied_bytes == 120
    assert reading.to_dict()["devices"][0]["used_by_others_bytes"] == 430
    lists_nobody, whose = (note for note in reading.notes if note.startswith("GPU:0"))
    assert "NVML lists no process" in lists_nobody
    assert "what CUDA's memory pool tells" in whose
