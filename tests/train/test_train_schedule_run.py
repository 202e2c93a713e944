"""An effective batch that changes from epoch to epoch: which samples, how many updates, at which rate."""

from itertools import chain

import keras
import numpy as np
import pytest
from folders import write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled
from surroundings import PLAIN, ROOMY, Numbered, Run, Sensor, expected_samples, need, small_net

import autobatch
from autobatch.data.epoch import rungs
from autobatch.errors import ArgumentError, ModelError
from autobatch.testing import FakeEngine
from autobatch.train.control.policy import Policy
from autobatch.train.learning_rate import scale
from autobatch.train.loop import Resizing, TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.schedule import parse_schedule

pytestmark = pytest.mark.usefixtures("probed_once")
SAMPLES = 20
MODEL = small_net(metrics=None)  # nothing is trained on it


def trained(schedule, *, budget=4 * ROOMY, rule=None, follows=False, rescaled=False, **plan):
    """The engine and the controller's history after a run by a schedule."""
    effective_at = parse_schedule(schedule).at
    first = effective_at(plan.get("initial_epoch", 0))
    one = Run(Sensor(budget), ladder=rungs(first, first), micro=first)
    engine = FakeEngine()
    reference = effective_at(0)
    resizing = Resizing(follows, lambda size: scale(rule, size, reference), reference)
    options = {
        "epochs": 3,
        "verbose": 0,
        "workers": 1,
        "effective_at": effective_at,
        "policy_for": lambda effective: Policy(rungs(effective, effective), {"host": need}, PLAIN),
        "resizing": resizing if rescaled or follows else None,
    } | plan
    run(
        MODEL,
        engine,
        Numbered(SAMPLES),
        MicroBatchRunner(one.controller),
        TrainingPlan(effective_batch_size=first, **options),
    )
    return engine, one


def sizes(engine):
    return [sum(part.size for part in update) for update in engine.updates]


def samples_of(engine):
    source = Numbered(SAMPLES)
    return [[pair for part in update for pair in source.numbers(part)] for update in engine.updates]


PAIRS = [(0, 8), (1, 16)]
SCHEDULES = {"pairs": PAIRS, "a function": lambda epoch: 8 * min(2, 1 + epoch)}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_each_epoch_has_updates_of_its_own_effective_batch(schedule):
    """Seen to fail with the effective batch of the first epoch throughout."""
    engine, one = trained(schedule)
    assert sizes(engine) == [8, 8, 4, 16, 4, 16, 4]
    assert list(chain.from_iterable(samples_of(engine))) == expected_samples(SAMPLES, 3)
    assert [(change.before, change.after, change.reason) for change in one.changes] == [
        (8, 16, "the effective batch is 16 samples now")
    ]


def test_a_larger_effective_batch_is_cut_as_memory_allows():
    engine, _ = trained([(0, 8), (1, 16)], budget=ROOMY + 10)
    assert [[part.size for part in update] for update in engine.updates] == [
        *[[8], [8], [4]],
        *[[8, 8], [4]] * 2,
    ]


def test_a_smaller_effective_batch_comes_in_one_piece():
    engine, _ = trained([(0, 16), (1, 4)], epochs=2)
    assert sizes(engine) == [16, 4, 4, 4, 4, 4, 4]


@pytest.mark.filterwarnings("ignore:The data come to an end after:UserWarning")
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_steps_per_epoch_are_updates_of_the_epochs_own_effective_batch(steps):
    """A pass goes on from one epoch to the next; neither an update nor an epoch spans two."""
    engine, _ = trained(PAIRS, steps_per_epoch=steps)
    expected = {1: [8, 12, 16], 2: [8, 8, 4, 16, 4], 4: [8, 8, 4, 16, 4, 16, 4]}[steps]
    assert sizes(engine) == expected
    used = list(chain.from_iterable(samples_of(engine)))
    assert used == expected_samples(SAMPLES, 6)[: len(used)]


@pytest.mark.filterwarnings("ignore:The data come to an end after:UserWarning")
@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("steps", [None, 1, 2, 4])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_run_begun_later_is_the_tail_of_the_whole_one(schedule, steps, first):
    """The same samples in the same updates. Seen to fail with the epochs before taken at the later effective batch."""
    whole, _ = trained(schedule, steps_per_epoch=steps)
    head, _ = trained(schedule, steps_per_epoch=steps, epochs=first)
    tail, _ = trained(schedule, steps_per_epoch=steps, initial_epoch=first)
    assert samples_of(head) + samples_of(tail) == samples_of(whole)


@pytest.mark.parametrize(("rule", "factor"), [("linear", 2.0), ("sqrt", 2**0.5)])
def test_the_rate_follows_the_effective_batch_of_epoch_0(rule, factor):
    """Also in a run that begins later."""
    engine, _ = trained(PAIRS, rule=rule, rescaled=True)
    assert [rate for _, rate, _ in engine.rescalings] == [1.0] * 3 + [factor] * 4
    later, _ = trained(PAIRS, rule=rule, rescaled=True, initial_epoch=1)
    assert [rate for _, rate, _ in later.rescalings] == [factor] * 4


def test_the_clock_of_a_schedule_counts_updates_of_the_reference_batch():
    """An epoch takes it as far as any other. Seen to fail with one tick for each update."""
    engine, _ = trained(PAIRS, rule="linear", rescaled=True)
    assert [updates for _, _, updates in engine.rescalings] == [0, 1, 2, 3, 5, 6, 8]
    engine, _ = trained([(0, 16), (1, 4)], rule="linear", rescaled=True, epochs=2)
    assert [updates for _, _, updates in engine.rescalings] == [0, 1, 2, 2.25, 2.5, 2.75, 3]


def test_an_effective_batch_that_follows_memory_too_is_cut_into_updates():
    engine, _ = trained(PAIRS, budget=ROOMY + 10, rule="linear", follows=True, epochs=2)
    assert sizes(engine) == [8, 8, 4, 8, 8, 4]
    assert {rate for _, rate, _ in engine.rescalings} == {1.0}


def stays_here(**options):
    keras.utils.set_random_seed(1)
    body = [keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    # A few steps take less time than tracing them.
    return compiled(keras.Sequential(body), metrics=None, run_eagerly=True, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("schedule") / "training", 10, 10)


def fit(folder, model=None, **options):
    options = {"cache": False, "verbose": 0, "seed": 1} | options
    return autobatch.fit(model or stays_here(), ImageDataGenerator(rescale=1 / 255), folder, **options)


@pytest.mark.parametrize("when", ["accumulate", "resize"])
def test_a_schedule_is_trained_from_end_to_end(folder, when):
    model, steps = stays_here(), []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    history = fit(
        folder,
        model,
        batch_size=[(0, 8), (2, 16)],
        epochs=4,
        scale_learning_rate="sqrt",
        on_memory_pressure=when,
        callbacks=[watch],
    )
    assert steps == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]
    assert int(model.optimizer.iterations) == 10
    assert history.autobatch.effective_batch_size == 8
    assert history.autobatch.micro_batch_size == 8
    assert len(history.history["loss"]) == 4


def test_the_same_weights_come_of_a_schedule_that_says_the_same_throughout(folder):
    models = [stays_here(), stays_here(), stays_here()]
    for model, batch_size in zip(models, (8, [(0, 8)], lambda epoch: 8), strict=True):
        fit(folder, model, batch_size=batch_size, epochs=2, scale_learning_rate="linear")
    for model in models[1:]:
        for one, other in zip(model.weights, models[0].weights, strict=True):
            assert np.allclose(one.numpy(), other.numpy(), rtol=1e-6, atol=1e-8)


BAD = {
    "no pairs": [],
    "not from epoch 0": [(1, 8)],
    "falling epochs": [(0, 8), (3, 16), (2, 8)],
    "no samples": [(0, 0)],
    "a fraction": [(0, 8.5)],
    "triples": [(0, 8, 1)],
    "numbers": [8, 16],
    "a function of nothing": lambda epoch: None,
    "a function of fractions": lambda epoch: 8 / (1 + epoch),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_schedule_is_an_error_before_anything_starts(name, tmp_path):
    """The folder is not even looked into."""
    with pytest.raises(ArgumentError, match=r"Received: batch_size.*Expected"):
        fit(tmp_path / "not there", batch_size=BAD[name], epochs=2)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"on_memory_pressure": "grow"}, "on_memory_pressure='grow'"),
        ({"on_memory_pressure": None}, "on_memory_pressure=None"),
        ({"scale_learning_rate": "cubic"}, "scale_learning_rate='cubic'"),
        ({"scale_learning_rate": 2.0}, "scale_learning_rate=2.0"),
        ({"checkpoint_every_s": 0}, "checkpoint_every_s=0"),
        ({"batch_statistics": 1}, "batch_statistics=1"),
        ({"batch_statistics": "all"}, "batch_statistics='all'"),
        ({"batch_statistics": True}, "batch_statistics=True"),
    ],
)
def test_what_cannot_be_meant_is_an_error_before_anything_starts(options, received, tmp_path):
    with pytest.raises(ArgumentError, match="Expected") as caught:
        fit(tmp_path / "not there", **options)
    assert received in str(caught.value)


def test_a_rule_with_nothing_to_do_is_said(folder):
    """Seen to fail without the note."""
    history = fit(folder, batch_size=8, scale_learning_rate="linear")
    assert [note for note in history.autobatch.notes if "has no effect" in note]


@pytest.mark.parametrize("options", [{"on_memory_pressure": "resize"}, {"batch_size": [(0, 8), (1, 16)]}])
def test_a_rule_with_something_to_do_is_not(folder, options):
    history = fit(folder, scale_learning_rate="linear", **{"batch_size": 8} | options)
    assert not [note for note in history.autobatch.notes if "has no effect" in note]


def by_hand(y, p):
    """Neither a mean nor a sum over samples."""
    return keras.ops.square(keras.ops.sum(keras.ops.abs(y - p)))


def test_a_loss_that_cannot_be_cut_is_refused_before_the_epoch_that_would_cut_it(folder):
    """Seen to fail with the first epoch's effective batch checked alone."""
    with pytest.raises(ModelError, match="16 samples cannot be run in micro-batches of 8"):
        fit(folder, stays_here(loss=by_hand), batch_size=[(0, 8), (1, 16)], epochs=2, max_batch_size=8)


def test_a_loss_that_cannot_be_cut_may_be_resized(folder):
    """Every micro-batch is an update of its own. Seen to fail with it refused."""
    model = stays_here(loss=by_hand, optimizer=keras.optimizers.SGD(1e-4))
    fit(folder, model, batch_size=16, max_batch_size=8, on_memory_pressure="resize")
    assert int(model.optimizer.iterations) == 3
