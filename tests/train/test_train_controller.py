"""The controller in front of an engine: what a reading leads to, when, and what it says about it."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from surroundings import (
    NOTHING_RESERVED,
    PER_SAMPLE,
    PLAIN,
    ROOMY,
    Clock,
    Numbered,
    Run,
    Sensor,
    need,
    small_net,
    updates,
)

from autobatch.data.batch import Batch
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.errors import DoesNotFitError, OutOfMemoryError
from autobatch.results.run import Decision, Observation, RunReport
from autobatch.testing import FakeEngine
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import PolicyDecision
from autobatch.train.control.watcher import RunBudgets, Watcher
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed
from autobatch.train.recorder import Recorder
from autobatch.train.validation import Validation

GONE = OSError("gone")


def fits(samples):
    """A budget that fits so many samples and no more."""
    return samples * PER_SAMPLE


def train(one, engine, *, samples=32, effective=8, passes=1):
    """Trains as the loop does and returns the sizes of the micro-batches of each update."""
    with SourceLoader(Numbered(samples), passes=passes, workers=1) as loader:
        feed, runner = Feed(loader), MicroBatchRunner(one.controller)
        for _ in range(passes):
            for start, stop in updates(samples, effective):
                runner.update(engine, feed, stop - start)
    return [[part.size for part in update] for update in engine.updates]


@pytest.mark.parametrize("number", range(1, 6))
def test_from_the_reading_to_the_first_micro_batch_at_the_new_size_is_one_micro_batch(number):
    """A reading before every micro-batch. Seen to fail with the size looked at before the reading is taken."""
    one = Run(Sensor(*[ROOMY] * (number - 1), fits(3)))
    engine = FakeEngine()
    train(one, engine, samples=48)
    sizes = [part.size for update in engine.updates for part in update]
    assert sizes == [8] * (number - 1) + [2] * (len(sizes) - number + 1)
    assert one.sizes == [(8, 2)]


def test_in_the_middle_of_an_update_the_rest_of_it_is_cut_smaller():
    """Seen to fail with what was cut already left as it was."""
    engine = FakeEngine()
    assert train(Run(Sensor(fits(4), fits(2)), micro=4), engine, samples=16) == [[4, 2, 2], [2, 2, 2, 2]]


def test_growing_waits_for_the_next_update():
    """The size is larger at once; what is left of the update is cut already."""
    one = Run(Sensor(fits(2), fits(2), ROOMY), micro=8)
    assert train(one, FakeEngine(), samples=40) == [[2, 2, 2, 2], [4, 4], [8], [8], [8]]
    assert one.sizes == [(8, 2), (2, 4), (4, 8)]


def test_when_headroom_returns_it_grows_back_to_the_top_rung_by_rung():
    """Seen to fail with growing left out."""
    one = Run(Sensor(fits(1), fits(1), ROOMY))
    train(one, FakeEngine(), samples=64)
    assert one.sizes == [(8, 1), (1, 2), (2, 4), (4, 8)]


def test_readings_are_taken_no_more_often_than_they_are_due():
    """Seen to fail with a reading before every micro-batch."""
    clock, sensor = Clock(step_s=0.001), Sensor(ROOMY)
    one = Run(sensor, clock=clock, least_s=0.05, micro=1)
    train(one, FakeEngine(), samples=200)
    assert 2 < sensor.count <= 1 + clock.now_s / 0.05


def test_what_others_take_while_a_micro_batch_runs_is_kept_free():
    """At 100 bytes a second, and a second for a micro-batch. Seen to fail with the pace left out of the snapshot."""
    clock = Clock()
    sensor = Sensor(1200, 1100, 1000, 900, 800)
    config = type(PLAIN)(patience=2, margin=0.0, foresight=1.5)
    one = Run(sensor, clock=clock, config=config, least_s=0.5)

    class Slow(FakeEngine):
        def accumulate(self, batch, whole):
            clock.now_s += 1.0
            return super().accumulate(batch, whole)

    assert train(one, Slow())[:4] == [[8], [8], [8], [4, 4]]
    assert "others have been taking" in one.changes[0].reason


def test_without_sensors_the_size_stays():
    one = Run(None)
    assert train(one, FakeEngine()) == [[8]] * 4
    assert one.controller.headroom_bytes is None


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("for_good", [False, True])
def test_while_a_sensor_fails_sizes_stay(first, for_good):
    """Seen to fail with the error passed on."""
    before = [fits(4)] * (first - 1)
    one = Run(Sensor(*before, GONE, *([] if for_good else [fits(4)])), micro=4)
    assert train(one, FakeEngine()) == [[4, 4]] * 4
    assert one.changes == []
    assert len(one.watch.notes) == 1
    assert (one.controller.headroom_bytes is None) == for_good


def test_a_failed_reading_ends_the_good_ones_in_a_row():
    one = Run(Sensor(fits(4), ROOMY, GONE, ROOMY, GONE), micro=4)
    train(one, FakeEngine())
    assert one.changes == []


def test_headroom_is_what_the_last_reading_left_above_the_need():
    one = Run(Sensor(ROOMY + 11))
    train(one, FakeEngine(), samples=8)
    assert one.controller.headroom_bytes == 11
    assert one.seen == [(8, 11)]


def test_where_not_even_the_smallest_fits_it_waits_and_goes_on_when_memory_comes_back():
    """Seen to fail without waiting."""
    one = Run(Sensor(ROOMY, 50, 50, 50, fits(1)))
    assert train(one, FakeEngine(), samples=16)[:2] == [[8], [1] * 8]
    assert one.clock.slept
    assert one.sizes == [(8, 1), (1, 1)]
    assert "50 bytes" in one.changes[-1].reason


def test_a_wait_outlasts_a_sensor_that_fails_meanwhile():
    one = Run(Sensor(50, 50, GONE, GONE, fits(1)), micro=1)
    train(one, FakeEngine(), samples=8)
    assert len(one.clock.slept) == 4


def test_what_does_not_come_back_ends_in_an_error_that_says_what_is_missing():
    """The weights are those after the last update. Seen to fail with the wait's bound left out."""
    model = small_net()
    from autobatch.backend import engine_for

    source = Numbered(16)
    engine = engine_for(model, source.read([0, 1], 0))
    weights = []
    # A reading before every micro-batch: the third update is in the middle when memory is gone.
    one = Run(Sensor(*[fits(4)] * 5, 30), micro=4)
    with SourceLoader(source, passes=2, workers=1) as loader:
        feed, runner = Feed(loader), MicroBatchRunner(one.controller)
        runner.update(engine, feed, 8)
        runner.update(engine, feed, 8)
        weights = [np.array(weight) for weight in model.weights]
        with pytest.raises(DoesNotFitError, match="waited for 60 s") as caught:
            runner.update(engine, feed, 8)
    assert (caught.value.needed_bytes, caught.value.available_bytes) == (100, 30)
    assert sum(one.clock.slept) >= 60
    assert int(model.optimizer.iterations) == 2
    for ours, before in zip(model.weights, weights, strict=True):
        assert np.array(ours).tobytes() == before.tobytes()


def given(host_bytes=0, device_bytes=None, **holds):
    return SimpleNamespace(host_bytes=host_bytes, device_bytes=device_bytes, holds=holds)


def test_memory_is_given_back_at_shrinks_only():
    """Seen to fail with memory given back at every change."""
    calls = []
    one = Run(
        Sensor(fits(2), fits(2), ROOMY), release_memory=lambda: calls.append(one.controller.micro_batch_size) or given()
    )
    train(one, FakeEngine(), samples=40)
    assert [after for _, after in one.sizes] == [2, 4, 8]
    assert calls == [2]


def test_a_decision_says_headroom_and_what_went_back_and_what_stays():
    """Held is what this process occupies beyond the need of the new size. Seen to fail with the old size's need."""
    one = Run(
        Sensor(700, rss_bytes=650),
        release_memory=lambda: given(40, 2, host="The pool keeps what it has."),
    )
    train(one, FakeEngine(), samples=8)
    [change] = one.changes
    assert (change.headroom_bytes, change.returned_bytes, change.held_bytes) == (-100, 42, 650 - 400)


def test_why_memory_stays_held_is_said_once():
    one = Run(Sensor(700, rss_bytes=650), release_memory=lambda: given(host="The pool keeps what it has."))
    train(one, FakeEngine(lambda call, size: size == 4))
    assert [change.held_bytes for change in one.changes] == [250, 450]
    assert one.notes == ["The pool keeps what it has."]


def test_what_is_not_held_is_not_explained():
    one = Run(Sensor(fits(4), rss_bytes=10), release_memory=lambda: given(host="The pool keeps what it has."))
    train(one, FakeEngine())
    assert one.changes[0].held_bytes == 0
    assert one.notes == []


def test_a_gpu_that_is_lost_under_way_is_not_asked_what_it_holds():
    """Seen to fail with a KeyError."""
    sensor = Sensor(ROOMY, fits(4), gpu_budgets=[ROOMY, None])
    one = Run(
        sensor, footprints={"host": need, "device": need}, gpu=0, release_memory=lambda: given(device="No pools.")
    )
    train(one, FakeEngine(), samples=200)  # a limit that is missing counts as gone after some readings
    assert one.sizes == [(8, 4)]


def test_a_gpu_that_fails_to_give_back_is_said_and_training_goes_on():
    """Seen to fail with the error passed on."""

    def broken():
        raise RuntimeError("no pool")

    one = Run(Sensor(fits(4)), release_memory=broken)
    train(one, FakeEngine())
    assert one.sizes == [(8, 4)]
    assert len(one.notes) == 1
    assert "no pool" in one.notes[0]


def test_a_real_out_of_memory_takes_a_fresh_reading_sets_a_limit_and_is_redone():
    """Seen to fail with the reading of before the failure."""
    sensor = Sensor(ROOMY, fits(4))
    one = Run(sensor, least_s=1.0)
    engine = FakeEngine(lambda call, size: size > 4)
    assert train(one, engine) == [[4, 4]] * 4
    assert sensor.count == 2
    [change] = one.changes
    assert (change.before, change.after, change.headroom_bytes) == (8, 4, fits(4) - fits(8))
    assert "ran out of host memory" in change.reason


def test_a_size_that_ran_out_is_not_tried_again_with_as_much_memory():
    """The readings say that it fits. Seen to fail without OOM limits."""
    one = Run(Sensor(ROOMY))
    train(one, FakeEngine(lambda call, size: size == 8), samples=400)
    assert one.sizes == [(8, 4)]


def test_it_is_tried_again_once_there_is_clearly_more():
    one = Run(Sensor(*[ROOMY] * 6, 2 * ROOMY))
    train(one, FakeEngine(lambda call, size: call == 1), samples=400)
    assert one.sizes == [(8, 4), (4, 8)]


def test_when_the_sensor_fails_after_a_failure_the_size_falls_all_the_same():
    one = Run(Sensor(GONE))
    train(one, FakeEngine(lambda call, size: size > 2), samples=40)
    assert one.sizes == [(8, 4), (4, 2)]
    assert one.changes[0].headroom_bytes is None


@pytest.mark.parametrize(("cause", "resource"), [(None, "device"), (MemoryError(), "host")])
def test_what_python_itself_could_not_allocate_was_the_hosts(cause, resource):
    sensor = Sensor(ROOMY, gpu_budgets=[ROOMY])
    one = Run(sensor, footprints={"host": need, "device": need}, gpu=0)
    error = OutOfMemoryError("too large", 8)
    error.__cause__ = cause
    one.controller.ran_out(error)
    assert f"ran out of {resource} memory" in one.changes[0].reason


def test_when_there_is_nothing_smaller_the_error_says_so():
    one = Run(None, micro=1)
    with pytest.raises(DoesNotFitError, match="Not even one sample"):
        train(one, FakeEngine(lambda call, size: True))


def test_another_effective_batch_is_a_decision_that_is_told():
    """Seen to fail with the new size entered without a word."""
    one = Run(Sensor(2 * ROOMY))
    one.controller.look()
    one.controller.adopt(Policy((16, 8, 4, 2, 1), {"host": need}, PLAIN), "the effective batch is 16 samples now")
    assert one.controller.micro_batch_size == 16
    assert [(change.before, change.after, change.reason) for change in one.changes] == [
        (8, 16, "the effective batch is 16 samples now")
    ]


def test_the_same_size_under_another_policy_is_none():
    one = Run(Sensor(ROOMY))
    one.controller.look()
    one.controller.adopt(Policy((16, 8, 4, 2, 1), {"host": need}, PLAIN), "the effective batch is 16 samples now")
    assert one.controller.micro_batch_size == 8
    assert one.changes == []


def test_a_size_that_ran_out_stays_out_under_another_policy():
    one = Run(Sensor(ROOMY))
    train(one, FakeEngine(lambda call, size: size == 8), samples=16)
    one.controller.adopt(Policy((16, 8, 4, 2, 1), {"host": need}, PLAIN), "the effective batch is 16 samples now")
    assert one.controller.micro_batch_size == 4


class Silent:
    """Stands for callbacks, and for a model's metrics."""

    stop_evaluating, steps_per_execution = False, 1

    def __getattr__(self, name):
        return lambda *args, **kwargs: {}


def validation(one, samples=16, effective=8):
    return Validation(
        Numbered(samples),
        effective=effective,
        runner=MicroBatchRunner(one.controller),
        steps=None,
        workers=1,
        max_bytes=2**20,
    )


def test_out_of_memory_in_validation_does_not_lower_the_training():
    """Seen to fail with one controller for both."""
    training, validating = Run(Sensor(ROOMY)), Run(Sensor(ROOMY))
    engine = FakeEngine(lambda call, size: call == 5)
    assert train(training, engine) == [[8]] * 4
    validation(validating).run(Silent(), engine, Silent())
    assert [part.size for part in engine.evaluated] == [4] * 4
    assert train(training, engine)[4:] == [[8]] * 4
    assert (training.sizes, validating.sizes) == ([], [(8, 4)])


def test_out_of_memory_in_training_does_not_lower_the_validation():
    training, validating = Run(Sensor(ROOMY)), Run(Sensor(ROOMY))
    engine = FakeEngine(lambda call, size: call == 1)
    train(training, engine)
    validation(validating).run(Silent(), engine, Silent())
    assert [part.size for part in engine.evaluated] == [8, 8]


def test_memory_that_was_lost_while_training_is_seen_before_the_first_validation():
    """The controllers share their watch, and a reading has just been taken for the other one.

    Seen to fail with a reading only when one is due: validation began at the size of an hour before.
    """
    clock, sensor = Clock(), Sensor(ROOMY, ROOMY, fits(2))
    watch = Watcher(sensor, RunBudgets(NOTHING_RESERVED), clock=clock, least_s=1.0)
    training, validating = (Run(None, watch=watch, clock=clock) for _ in range(2))
    engine = FakeEngine()
    validation(validating).run(Silent(), engine, Silent())
    clock.now_s += 2.0
    train(training, engine)
    engine.evaluated.clear()
    validation(validating).run(Silent(), engine, Silent())
    assert [part.size for part in engine.evaluated] == [2] * 8


def recording(on_event=None, clock=None):
    recorder = Recorder(on_event, clock or Clock())
    recorder.report = RunReport(effective_batch_size=8, micro_batch_size=8, seed=1, probe=None, readings=[])
    return recorder.report, recorder


def shrink(reason):
    return PolicyDecision("shrink", 8, 4, reason, "host")


def test_a_listener_gets_every_reading_and_every_decision_in_order():
    events = []
    report, book = recording(events.append)
    book.progress.epoch, book.progress.update = 2, 4
    one = Run(
        Sensor(ROOMY + 5, fits(4)),
        decided=lambda *what: book.decide("training", *what),
        seen=lambda *what: book.observe("training", *what),
    )
    train(one, FakeEngine(), samples=16)
    assert [type(event).__name__ for event in events[:3]] == ["Observation", "Observation", "Decision"]
    assert [(event.micro_batch_size, event.headroom_bytes) for event in events[:2]] == [(8, 5), (4, 0)]
    assert events[0].reading.host.available_bytes == ROOMY + 5
    assert [event for event in events if isinstance(event, Decision)] == report.decisions
    assert {(event.epoch, event.update, event.phase) for event in events} == {(2, 4, "training")}
    assert all(isinstance(event, Decision | Observation) for event in events)


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("kind", [Decision, Observation])
@pytest.mark.parametrize("error", [BrokenError("mine"), KeyboardInterrupt()])
def test_what_a_listener_raises_ends_the_training_unchanged_and_no_thread_stays(kind, error):
    """Seen to fail with what a listener raises taken for a sensor's error."""

    def listener(event):
        if isinstance(event, kind):
            raise error

    _, book = recording(listener)
    one = Run(
        Sensor(ROOMY, fits(4)),
        decided=lambda *what: book.decide("training", *what),
        seen=lambda *what: book.observe("training", *what),
    )
    engine, threads = FakeEngine(), set(threading.enumerate())
    plan = TrainingPlan(effective_batch_size=8, verbose=0, workers=2)
    with pytest.raises(type(error)) as caught:
        run(small_net(), engine, Numbered(64), MicroBatchRunner(one.controller), plan)
    assert caught.value is error
    assert set(threading.enumerate()) <= threads
    assert engine.pending == []


def test_a_decision_reads_well():
    decision = shrink("8 samples need up to 800 bytes and the host leaves 400 bytes")
    report, book = recording()
    book.decide("training", decision, -400, 3 * 2**20, 5 * 2**30)
    assert str(report.decisions[0]) == (
        "epoch 1, update 1, training: micro-batch 8 -> 4: 8 samples need up to 800 bytes and the host leaves 400 bytes"
        "; 3 MiB went back to the system; 5.0 GiB stay held"
    )


def test_a_decision_without_figures_says_nothing_of_them():
    report, book = recording()
    book.decide("validation", shrink("8 samples did not fit"))
    assert str(report.decisions[0]) == ("epoch 1, update 1, validation: micro-batch 8 -> 4: 8 samples did not fit")


def test_each_decision_is_logged_once(caplog):
    report, book = recording()
    with caplog.at_level("WARNING", "autobatch"):
        book.decide("training", shrink("why"))
        book.note("once")
        book.note("once")
    assert [record.getMessage() for record in caplog.records] == [str(report.decisions[0]), "once"]
    assert report.notes == ("once",)


def test_a_micro_batch_of_weights_is_looked_up_before_the_reading():
    """A loss that divides by the weights needs all of them first; the reading still comes before each micro-batch."""

    class Weighted(Numbered):
        def read(self, indices, epoch):
            batch = super().read(indices, epoch)
            return Batch(batch.x, batch.y, np.ones(batch.size, np.float32))

    engine, one = FakeEngine(needs_divisors=True), Run(Sensor(ROOMY, fits(2)))
    with SourceLoader(Weighted(16), passes=1, workers=1) as loader:
        feed, runner = Feed(loader), MicroBatchRunner(one.controller)
        runner.update(engine, feed, 8)
        runner.update(engine, feed, 8)
    assert [[part.size for part in update] for update in engine.updates] == [[8], [2] * 4]
