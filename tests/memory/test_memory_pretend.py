"""A reading of a machine with less memory: never more than there is, never less than nothing, and it says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.errors import DeviceError
from autobatch.memory.reading import apply_limit, is_limited, overdrawn_bytes
from autobatch.memory.types import Device
from autobatch.testing import memory_reading

GIB = 2**30
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
