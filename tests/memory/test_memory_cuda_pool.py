"""CUDA's default memory pool through a driver that answers what the test tells it, and through a real one."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.memory.sensors.cuda_pool import find_pools, read_pool, trim_pool
from autobatch.testing import FakeCuda, FakePool

GIB = 1 << 30
FUNCTIONS = ("cuInit", "cuDeviceGet", "cuDeviceGetDefaultMemPool", "cuMemPoolGetAttribute", "cuMemPoolTrimTo")


def test_a_pool_is_read():
    pool, notes = read_pool(1, FakeCuda(FakePool(), FakePool(reserved_bytes=5, used_bytes=3, keeps_bytes=9)))
    assert (pool.reserved_bytes, pool.used_bytes, pool.keeps_bytes) == (5, 3, 9)
    assert notes == ()


@given(reserved=st.integers(0, 1 << 48), used=st.integers(0, 1 << 48), keep=st.integers(0, 1 << 48))
def test_a_trim_says_what_went_back_and_no_more(reserved, used, keep):
    """Seen to fail with `before` read after the trim."""
    held = FakePool(reserved_bytes=max(reserved, used), used_bytes=used)
    trim, notes = trim_pool(0, keep, FakeCuda(held))
    assert notes == ()
    assert held.trims == [keep]
    assert trim.returned_bytes == trim.before.reserved_bytes - held.reserved_bytes
    assert trim.before.reserved_bytes == max(reserved, used)


def test_only_the_named_device_is_trimmed():
    first, second = FakePool(reserved_bytes=8), FakePool(reserved_bytes=8)
    trim_pool(1, driver=FakeCuda(first, second))
    assert (first.trims, second.trims) == ([], [0])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("code", [3, 100, 101, 801, 999])
def test_a_function_that_fails_is_a_note_with_its_name_and_code(name, code):
    """Seen to fail with the returned codes ignored."""
    trim, (note,) = trim_pool(0, driver=FakeCuda(FakePool(), fails={name: code}))
    assert trim is None
    assert f"{name}: fake error {code} ({code})" in note


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_driver_without_a_function_is_too_old(name):
    """Seen to fail with AttributeError not caught."""
    trim, (note,) = trim_pool(0, driver=FakeCuda(FakePool(), missing=frozenset({name})))
    assert trim is None
    assert f"the driver is too old: it has no {name}" in note


@pytest.mark.parametrize("driver", [{"fails": {"cuGetErrorString": 1}}, {"missing": frozenset({"cuGetErrorString"})}])
def test_a_code_that_the_driver_cannot_put_in_words_is_a_note_all_the_same(driver):
    fails = {"cuMemPoolTrimTo": 800, **driver.get("fails", {})}
    trim, (note,) = trim_pool(0, driver=FakeCuda(FakePool(), **{**driver, "fails": fails}))
    assert trim is None
    assert "cuMemPoolTrimTo: error 800" in note


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (FakeCuda(FakePool()), "fake error 101"),
        (FakeCuda(FakePool(), FakePool(supported=False)), "fake error 801"),
        (FakeCuda(FakePool(), fails={"cuInit": 100}), "fake error 100"),
    ],
    ids=["no such device", "no pools", "no device"],
)
def test_a_device_that_cannot_be_asked_is_a_note(driver, words):
    pool, (note,) = read_pool(1, driver)
    assert pool is None
    assert note.startswith("GPU:1: ")
    assert words in note


@pytest.mark.parametrize("name", ["cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute"])
def test_devices_that_cannot_be_counted_are_a_note(name):
    pools, (note,) = find_pools(FakeCuda(FakePool(), fails={name: 999}))
    assert pools == ()
    assert name in note


def test_the_real_driver_or_its_absence_is_read():
    pools, notes = find_pools()
    assert pools or notes


PROGRAM = """
from autobatch.backend.release import release_memory, share_memory
print(share_memory())
import tensorflow as tf
from autobatch.memory.sensors.cuda_pool import read_pool

with tf.device("GPU:0"):
    block = tf.ones((1 << 28,)) + 1
assert float(block[0]) == 2
number = int(tf.config.get_visible_devices("GPU")[0].name.rpartition(":")[2])
alive = read_pool(number)[0]
assert alive.used_bytes >= 1 << 30, alive
del block
given = release_memory()
dead = read_pool(number)[0]
print(alive, given, dead)
assert given.device_bytes >= 1 << 30, given
assert dead.reserved_bytes <= alive.reserved_bytes - (1 << 30), dead
assert "device" not in given.holds, given
"""


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not any(find_pools()[0]), reason="no GPU with memory pools")
def test_a_real_pool_gives_back_what_tensorflow_has_freed():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=250)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]
