"""TensorFlow's allocations are recorded as they are; where they cannot be, nothing is made up and nothing is left."""

import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
from nets import compiled, conv_net, pictures

from autobatch.backend import engine_for
from autobatch.backend.tensorflow.allocation_trace import AllocationTrace
from autobatch.backend.tensorflow.allocator import allocator_bytes
from autobatch.memory.peak_model import AllocationProfile
from autobatch.probing.trials.steps import update, warm_up

FLOATS = 300_000
FORMS = [{}, {"jit_compile": False, "run_eagerly": True}]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; it is empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@tf.function(input_signature=[tf.TensorSpec([None, FLOATS], tf.float32)])
def doubled(values):
    return tf.reduce_sum(values * 2.0 + 1.0)


def require_pool():
    """TensorFlow uses oneDNN, whose pool notes its allocations, on some processors only."""
    doubled(tf.ones([2, FLOATS]))
    if allocator_bytes("CPU:0") is None:
        pytest.skip("TensorFlow's allocator notes nothing here; TF_ENABLE_ONEDNN_OPTS=1 would take one that does")


def test_what_a_function_asks_for_is_recorded_with_its_sizes(place):
    require_pool()
    values = tf.ones([5, FLOATS])
    doubled(values)
    recording = AllocationTrace("CPU:0")
    with recording:
        doubled(values)
    allocations = recording.read()
    large = [one for one in allocations if one.size_bytes >= 5 * FLOATS * 4]
    assert large
    assert all(one.name for one in large)
    assert all(0 <= one.begin < one.end for one in allocations)
    assert list(place.glob("autobatch-*")) == []


@pytest.mark.parametrize("form", FORMS, ids=["compiled", "eager"])
def test_two_small_updates_tell_what_a_large_one_holds(form):
    """The pool adds to what it is asked for: a piece that it hands out is less than twice as large."""
    require_pool()
    model = compiled(conv_net(side=48), **form)
    data = pictures(128, side=48)
    engine = engine_for(model, data)
    warm_up(engine, data, accumulated=False, evaluated=False)
    recorded = []
    for size in (4, 8):
        recording = engine.recording()
        with recording:
            update(engine, data[:size], accumulated=False)
        recorded.append((size, recording.read()))
    moments = AllocationProfile.of(*recorded)
    assert moments is not None
    before = engine.allocator_bytes()
    peaks = []
    for _ in range(3):
        engine.reset_peak()
        update(engine, data, accumulated=False)
        figures = engine.allocator_bytes()
        assert figures is not None
        peaks.append(figures[1] - before[0])
    assert 0.8 * moments.at(128) <= max(peaks) <= 2 * moments.at(128)


def test_while_somebody_else_uses_the_profiler_nothing_is_recorded(place, tmp_path):
    """Seen to fail with the profiler's own error passed on: the trial then counts as failed."""
    theirs = tmp_path / "theirs"
    tf.profiler.experimental.start(str(theirs))
    try:
        recording = AllocationTrace("CPU:0")
        with recording:
            doubled(tf.ones([2, FLOATS]))
        assert recording.read() == []
    finally:
        tf.profiler.experimental.stop()
    assert [one.name for one in place.iterdir() if not one.name.startswith("__autograph")] == ["theirs"]


def test_an_error_ends_the_recording_and_leaves_nothing(place):
    """Seen to fail without the stop: the next recording was empty."""
    with pytest.raises(ZeroDivisionError), AllocationTrace("CPU:0"):
        raise ZeroDivisionError
    assert list(place.iterdir()) == []
    require_pool()
    again = AllocationTrace("CPU:0")
    with again:
        doubled(tf.ones([2, FLOATS]))
    assert again.read()


def test_another_devices_allocations_are_left_out():
    recording = AllocationTrace("GPU:0")
    with recording:
        doubled(tf.ones([2, FLOATS]))
    assert recording.read() == []


def test_where_no_folder_can_be_made_nothing_is_recorded(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "missing"))
    recording = AllocationTrace("CPU:0")
    with recording:
        doubled(tf.ones([2, FLOATS]))
    assert recording.read() == []
