"""What this process holds of a GPU: whose figure it is, and that it is never somebody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pids import CONTAINERS_PIDS, number_processes

from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.gpu import add_own_use
from autobatch.memory.types import Allocator, Device
from autobatch.testing import FakeGpu, FakeNvml

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
