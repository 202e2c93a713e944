"""Allocators that can give memory back are set up in time or not at all, and what is given back is said."""

import json

import pytest
import tensorflow as tf
from programs import run_beside_imports

from autobatch.backend.release import ReleasedMemory, Sharing, release_memory, share_memory
from autobatch.backend.tensorflow.allocator import plan_sharing, trim_device_pools
from autobatch.errors import TooLateError
from autobatch.memory.sensors.malloc import can_return_freed_memory
from autobatch.testing import FakeCuda, FakePool

MIB = 1 << 20
CPU = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
GROWTH = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
GPU = {"TF_GPU_ALLOCATOR": "cuda_malloc_async", **GROWTH}

needs_trim = pytest.mark.skipif(not can_return_freed_memory(), reason="the C library has no malloc_trim")


@pytest.fixture
def run(tmp_path):
    """Runs a program in a process of its own, beside a TensorFlow that has not started."""
    return lambda program, **environ: json.loads(
        run_beside_imports(program, tmp_path, CUDA_VISIBLE_DEVICES="", **environ)
    )


@pytest.mark.parametrize(
    ("environ", "pools", "missing", "in_force", "said", "host"),
    [
        ({}, (), CPU, CPU, 0, True),
        ({}, (True,), {**CPU, **GPU}, {**CPU, **GPU}, 0, True),
        ({}, (True, True), {**CPU, **GPU}, {**CPU, **GPU}, 0, True),
        ({}, (True, False), {**CPU, **GROWTH}, {**CPU, **GROWTH}, 0, True),
        (CPU, (), {}, CPU, 0, True),
        ({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "True"}, (), {}, CPU, 0, True),
        ({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0"}, (), {}, {}, 1, False),
        ({"TF_GPU_ALLOCATOR": "cuda_malloc"}, (True,), {**CPU, **GROWTH}, {**CPU, **GROWTH}, 1, True),
        ({"TF_GPU_ALLOCATOR": "cuda_malloc"}, (), CPU, CPU, 0, True),
        ({"TF_FORCE_GPU_ALLOW_GROWTH": "false", **CPU, "TF_GPU_ALLOCATOR": ""}, (True,), {}, CPU, 2, True),
        ({"TF_CPU_ALLOCATOR_USE_BFC": "1"}, (), CPU, CPU, 1, False),
    ],
)
def test_what_is_not_set_is_set_and_what_is_set_is_left_alone(environ, pools, missing, in_force, said, host):
    """Seen to fail with set variables written over, and with one device's pools taken for all devices'."""
    planned = plan_sharing(environ, pools)
    assert (planned.missing, planned.in_force) == (missing, in_force)
    assert len(planned.contradicted) == said
    assert planned.host == host


def test_the_answer_can_be_printed():
    text = str(Sharing({"A": "1", "B": "2"}, keeps_heap=True, notes=("No GPU.",)))
    assert text == "A=1\nB=2\nThe heap keeps freed memory for the next step until it is given back.\nNo GPU."


IN_TIME = """
import json
from autobatch.backend.release import share_memory
from autobatch.backend.tensorflow.allocator import has_started
import keras
import tensorflow as tf
keras.utils.set_random_seed(1)
keras.mixed_precision.set_global_policy("float32")
tf.config.list_physical_devices()
keras.Input((4,))
before = has_started()
first = share_memory()
keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
x = tf.ones((1000, 1000)) + 1
peak = tf.config.experimental.get_memory_info("CPU:0")["peak"]
second = share_memory()
print(json.dumps({"before": before, "after": has_started(), "peak": peak, "same": first == second, **first.settings}))
"""


@pytest.mark.slow
def test_below_the_imports_is_in_time_and_twice_is_fine(run):
    """Seen to fail with `import tensorflow` taken for its start."""
    figures = run(IN_TIME)
    assert figures == {"before": False, "after": True, "peak": 0, "same": True, **CPU}


TOO_LATE = """
import json, os
import autobatch.errors
from autobatch.backend.release import share_memory
import keras
import tensorflow as tf
{start}
before = dict(os.environ)
try:
    share_memory()
except autobatch.errors.TooLateError as error:
    print(json.dumps([str(error), before == dict(os.environ)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "tf.ones(3)",
        "keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])",
        "tf.data.Dataset.range(3)",
        # set, but after the allocators had been made
        "tf.ones((1000, 1000)); os.environ['TF_ONEDNN_USE_SYSTEM_ALLOCATOR'] = '1'",
    ],
    ids=["tensor", "layer", "data set", "set by hand, too late"],
)
def test_a_tensorflow_that_has_started_is_too_late(run, start):
    """Seen to fail with `has_started` always false, and for the last with the allocator not asked."""
    message, untouched = run(TOO_LATE.format(start=start))
    assert untouched
    assert "right below the imports" in message
    assert "TF_ONEDNN_USE_SYSTEM_ALLOCATOR=1" in message


STARTED = """
import json
import tensorflow as tf
x = tf.ones((1000, 1000)) + 1
from autobatch.backend.release import share_memory
answer = share_memory()
print(json.dumps([dict(answer.settings), answer.keeps_heap, list(answer.notes)]))
"""


@pytest.mark.slow
def test_a_process_that_was_started_with_the_settings_is_in_time(run):
    settings, _, _ = run(STARTED, **CPU)
    assert settings == CPU


@pytest.mark.slow
def test_a_users_own_setting_is_no_error_but_said(run):
    settings, keeps_heap, notes = run(STARTED, TF_ONEDNN_USE_SYSTEM_ALLOCATOR="0")
    assert (settings, keeps_heap) == ({}, False)
    assert notes[0].startswith("TF_ONEDNN_USE_SYSTEM_ALLOCATOR=0 was set before and is left alone")


RETURNS = """
import json
from autobatch.backend.release import release_memory, share_memory
SHARED and share_memory()
import tensorflow as tf

@tf.function
def step(x):
    return tf.reduce_sum(tf.stack([x + float(i) for i in range(4)]) * 2)

small, large = tf.ones((1000,)), tf.ones((25 << 20,))
step(small)
release_memory()
step(large).numpy()
del large
given = release_memory()
again = release_memory()
print(json.dumps([given.host_bytes, again.host_bytes, given.device_bytes, dict(given.holds)]))
"""


@needs_trim
@pytest.mark.slow
def test_what_a_step_has_freed_goes_back_to_the_system(run):
    """Seen to fail with the heap not trimmed."""
    first, again, device, holds = run(RETURNS.replace("SHARED", "True"))
    assert first > 300 * MIB
    assert again < 20 * MIB
    assert (device, holds) == (None, {})


@pytest.mark.slow
def test_what_tensorflows_pool_keeps_is_said(run):
    """Seen to fail with the allocator not asked."""
    first, _, _, holds = run(RETURNS.replace("SHARED", "False"))
    assert first < 100 * MIB
    assert list(holds) == ["host"]
    assert "share_memory" in holds["host"]


@pytest.fixture
def started():
    """A TensorFlow that has started, for what asks it to wait for its GPUs."""
    tf.ones(1)


@pytest.mark.usefixtures("started")
def test_an_environment_without_the_settings_is_refused_and_stays_as_it_is():
    environ = {}
    with pytest.raises(TooLateError):
        share_memory(environ=environ, driver=FakeCuda(FakePool()))
    assert environ == {}


@pytest.mark.usefixtures("started")
def test_every_gpu_that_is_used_is_trimmed():
    """Seen to fail with the first alone trimmed, and with all of them trimmed."""
    pools = [FakePool(reserved_bytes=900, used_bytes=500) for _ in range(3)]
    assert trim_device_pools((0, 2), FakeCuda(*pools)) == (800, None)
    assert [pool.reserved_bytes for pool in pools] == [500, 900, 500]


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("pools", "fails", "returned", "words"),
    [
        ([FakePool(keeps_bytes=0)], {}, None, "default allocator on a GPU keeps what it has"),
        ([FakePool(reserved_bytes=9), FakePool(keeps_bytes=0)], {}, 9, "default allocator on a GPU keeps what it has"),
        ([FakePool(reserved_bytes=9), FakePool(supported=False)], {}, 9, "GPU:1: its memory pool cannot be trimmed"),
        ([FakePool()], {"cuMemPoolTrimTo": 800}, None, "cuMemPoolTrimTo: fake error 800"),
    ],
    ids=["BFC", "one of two", "no pools", "not permitted"],
)
def test_what_a_gpu_keeps_is_said(pools, fails, returned, words):
    given, reason = trim_device_pools(tuple(range(len(pools))), FakeCuda(*pools, fails=fails))
    assert given == returned
    assert words in reason


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("number", range(1, 12))
def test_no_failure_of_the_driver_gets_out(number):
    """Whichever call fails, the n-th or all from it on. Seen to fail with the codes raised out of `trim_pool`."""
    for forever in (False, True):
        driver = FailsAt(number, forever=forever)
        returned, _ = trim_device_pools((0,), driver)
        assert returned in {None, 400}


class FailsAt(FakeCuda):
    """A driver whose n-th call fails, or all from it on."""

    def __init__(self, number, *, forever):
        super().__init__(FakePool(reserved_bytes=900, used_bytes=500))
        self._left = number
        self._forever = forever

    def _answer(self, name, *args):
        self._left -= 1
        if self._left == 0 or (self._forever and self._left < 0):
            return 999
        return super()._answer(name, *args)


def test_giving_back_always_answers():
    given = release_memory()
    assert isinstance(given, ReleasedMemory)
    assert given.host_bytes >= 0
