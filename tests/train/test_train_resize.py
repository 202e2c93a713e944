"""An effective batch that follows memory: more and smaller updates, and a learning rate that follows by a rule."""

import re

import keras
import numpy as np
import pytest
from surroundings import PER_SAMPLE, ROOMY, Numbered, Run, Sensor, expected_samples, small_net

from autobatch.backend import engine_for
from autobatch.data.batch import Batch
from autobatch.testing import FakeEngine
from autobatch.train.learning_rate import scale
from autobatch.train.loop import Resizing, TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner

EFFECTIVE, SAMPLES = 8, 20
HALF = EFFECTIVE // 2 * PER_SAMPLE


class Ones(Numbered):
    """Samples on which the gradient of `steady_net` is 1, so that a weight tells the rate of each update."""

    def read(self, indices, epoch):
        return Batch(np.ones((len(indices), 1), np.float32), np.zeros((len(indices), 1), np.float32))


def steady_net(rate=0.5):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), loss=lambda y, p: keras.ops.mean(p, axis=-1))
    return model


def resizing(rule):
    return Resizing(follows_memory=True, rate=lambda size: scale(rule, size, EFFECTIVE), reference=EFFECTIVE)


def resized(model, engine, sensor, *, rule=None, source=None, **plan):
    one = Run(sensor)
    plan = {"verbose": 0, "workers": 1, "resizing": resizing(rule)} | plan
    history = run(
        model,
        engine,
        source or Numbered(SAMPLES),
        MicroBatchRunner(one.controller),
        TrainingPlan(effective_batch_size=EFFECTIVE, **plan),
    )
    return one, history


def fake(sensor, *, fails=lambda call, size: False, **options):
    engine = FakeEngine(fails)
    one, _ = resized(small_net(metrics=None), engine, sensor, **options)
    return engine, one


def sizes(engine):
    return [[part.size for part in update] for update in engine.updates]


@pytest.mark.parametrize(
    ("rule", "factors"), [("linear", (1.0, 0.5, 0.25)), ("sqrt", (1.0, 0.5**0.5, 0.5)), (None, (1.0, 1.0, 1.0))]
)
def test_each_update_has_the_factor_of_its_size_and_the_clock_of_the_reference(rule, factors):
    """Seen to fail with the factor of the size before the reading, and with a clock that counts updates."""
    # A reading that shrinks is followed by one of the micro-batch that is cut anew.
    engine, _ = fake(Sensor(ROOMY, HALF, HALF, HALF, HALF // 2), rule=rule)
    assert sizes(engine) == [[8], [4], [4], [2], [2]]
    full, half, quarter = factors
    assert engine.rescalings == [(0, full, 0), (1, half, 1), (2, half, 1.5), (3, quarter, 2), (4, quarter, 2.5)]


def test_a_short_last_update_has_the_factor_of_the_size_in_force():
    """As Keras leaves the learning rate alone for it."""
    engine, _ = fake(Sensor(3 * PER_SAMPLE), rule="linear")
    assert sizes(engine) == [[2]] * 10
    assert {rate for _, rate, _ in engine.rescalings} == {0.25}
    engine, _ = fake(Sensor(ROOMY), rule="linear")
    assert sizes(engine) == [[8], [8], [4]]
    assert {rate for _, rate, _ in engine.rescalings} == {1.0}


def test_out_of_memory_is_redone_as_a_smaller_update_and_nothing_is_accumulated():
    """Seen to fail with what ran out of memory not put back."""
    engine, one = fake(Sensor(ROOMY), fails=lambda call, size: call == 2, rule="linear", epochs=2)
    assert sizes(engine)[:3] == [[8], [4], [4]]
    assert engine.rescalings[:4] == [(0, 1.0, 0), (1, 1.0, 1), (1, 0.5, 1), (2, 0.5, 1.5)]
    assert one.sizes == [(8, 4)]
    source = Numbered(SAMPLES)
    used = [pair for update in engine.updates for part in update for pair in source.numbers(part)]
    assert used == expected_samples(SAMPLES, 2)


def test_it_grows_back_and_updates_are_whole_again():
    engine, _ = fake(Sensor(HALF, ROOMY), epochs=2)
    assert sizes(engine) == [[4], [4], [8], [4], [8], [8], [4]]


def rates(model, sensor, *, rule, callbacks=(), **plan):
    """The rate of each update, as the weight tells it."""
    seen = []

    def note(*_, **__):
        seen.append(float(model.weights[0].numpy()[0, 0]))

    source = Ones(SAMPLES)
    engine = engine_for(model, source.read([0, 1], 0), rescaled=True)
    note()
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    _, history = resized(model, engine, sensor, rule=rule, source=source, callbacks=[*callbacks, watch], **plan)
    return -np.diff(seen), history.history


def test_a_schedule_goes_by_the_samples_and_not_by_the_updates():
    """An epoch in halves ends at the rate of one in whole updates.

    Seen to fail with the schedule asked at `optimizer.iterations`.
    """
    table = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05]

    def schedule():
        return keras.optimizers.schedules.PiecewiseConstantDecay([0, 1, 2, 3, 4], table)

    whole, _ = rates(steady_net(schedule()), Sensor(ROOMY), rule="linear", epochs=2)
    halves, _ = rates(steady_net(schedule()), Sensor(HALF), rule="linear", epochs=2)
    assert whole == pytest.approx(table, rel=1e-4)
    expected = [0.5, 0.5, 0.4, 0.4, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05]
    assert halves == pytest.approx([rate / 2 for rate in expected], rel=1e-4)


def test_callbacks_see_and_set_the_rate_of_the_reference_batch():
    """Seen to fail with the factor written into the optimizer's own rate."""
    by_epoch = [0.5, 0.25]
    setter = keras.callbacks.LearningRateScheduler(lambda epoch, rate: by_epoch[epoch])
    found, history = rates(steady_net(), Sensor(HALF), rule="sqrt", epochs=2, callbacks=[setter])
    assert found == pytest.approx(np.repeat(by_epoch, 5) * 0.5**0.5, rel=1e-4)
    assert history["learning_rate"] == by_epoch


def test_a_plateau_lowers_the_rate_of_the_reference_batch():
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.1, patience=1, min_delta=1e9)
    model = steady_net(0.5)
    found, history = rates(model, Sensor(HALF), rule="linear", epochs=3, callbacks=[plateau])
    assert history["learning_rate"] == pytest.approx([0.5, 0.5, 0.05])
    assert found == pytest.approx([0.25] * 10 + [0.025] * 5, rel=1e-4)


class Counting(keras.callbacks.Callback):
    """Keeps the numbers of the batches, and the steps it was told of, by epoch."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.steps = [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append([])
        self.ended.append([])

    def on_train_batch_begin(self, batch, logs=None):
        self.begun[-1].append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ended[-1].append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.steps.append(self.params["steps"])


@pytest.mark.parametrize(
    ("sensor", "updates"),
    [
        (Sensor(HALF), [5, 5]),
        (Sensor(ROOMY, HALF), [4, 5]),
        (Sensor(HALF, ROOMY), [4, 3]),
        (Sensor(ROOMY, 100), [13, 20]),
    ],
    ids=["half", "shrinks", "grows", "shrinks to one"],
)
def test_callbacks_count_updates_and_are_told_how_many_there_are(sensor, updates):
    """Seen to fail with the number of steps told once."""
    counting = Counting()
    engine, _ = fake(sensor, callbacks=[counting], epochs=2)
    assert counting.begun == counting.ended == [list(range(count)) for count in updates]
    assert counting.steps == updates
    assert len(engine.updates) == sum(updates)


@pytest.mark.filterwarnings("ignore:The data come to an end after:UserWarning")
@pytest.mark.parametrize("steps", [2, 5])
def test_steps_per_epoch_are_steps_of_the_reference_batch(steps):
    """Twice as many updates in halves; an epoch ends with its pass."""
    counting = Counting()
    fake(Sensor(HALF), callbacks=[counting], epochs=1, steps_per_epoch=steps)
    assert counting.steps == [{2: 4, 5: 5}[steps]]


@pytest.mark.parametrize("sensor", [Sensor(ROOMY, HALF), Sensor(HALF, ROOMY)], ids=["shrinks", "grows"])
def test_the_progress_bar_ends_full(sensor, capfd):
    """Seen to fail with Keras' own progress bar, whose target stays."""
    engine, _ = fake(sensor, verbose=1)
    counts = re.findall(r"(\d+)/(\d+)", capfd.readouterr().out)
    assert counts[-1] == (str(len(engine.updates)),) * 2


def test_the_logs_say_the_size_of_each_update():
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))
    fake(Sensor(ROOMY, HALF), callbacks=[watch], log_memory=True)
    assert [logs["autobatch/micro_batch"] for logs in seen] == [8, 4, 4, 4]
    assert {logs["autobatch/accumulation_steps"] for logs in seen} == {1}
    assert [logs["autobatch/headroom_bytes"] for logs in seen] == [0, 0, 0, 0]


def test_a_training_that_is_stopped_stops_in_the_middle_of_a_window():
    """After an update, as Keras does."""
    engine = FakeEngine()
    model = small_net(metrics=None)

    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    resized(model, engine, Sensor(2 * PER_SAMPLE), callbacks=[Stops()], epochs=3)
    assert sizes(engine) == [[2], [2]]


def test_the_real_engine_makes_one_plain_update_of_each_micro_batch():
    """Equal to Keras' own training at the smaller size. Seen to fail with gradients divided by the reference batch."""
    ours, theirs = small_net(), small_net()
    source = Numbered(16)
    engine = engine_for(ours, source.read([0, 1], 0), rescaled=True)
    resized(ours, engine, Sensor(HALF), source=source, shuffle=False)
    data = source.read(np.arange(16), 0)
    theirs.fit(data.x, data.y, batch_size=4, shuffle=False, verbose=0)
    assert int(ours.optimizer.iterations) == 4
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        assert np.allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
