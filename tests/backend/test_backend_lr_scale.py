"""The factor on the learning rate: exact for every kind of optimizer and step, and unseen by everybody else."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import compiled, numbers, pictures, relative_l2, update

from autobatch.backend import engine_for
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.errors import ArgumentError, ModelError
from autobatch.testing import FakeEngine

DATA = pictures(8, side=6)
CUTS = ((8,), (4, 4))  # few shapes: XLA compiles for each
BASE = 0.02
RATES = (1.0, 0.25, 3.0, 0.5)


class Table(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that looks its rate up, for which it needs a whole number."""

    def __call__(self, step):
        return tf.gather(tf.constant([0.01, 0.02, 0.04, 0.08, 0.03]), tf.minimum(tf.convert_to_tensor(step), 4))


class Counting(keras.optimizers.SGD):
    """Counts how often Python comes by its update, which is once for each weight and trace."""

    calls = 0

    def update_step(self, gradient, variable, learning_rate):
        self.calls += 1
        super().update_step(gradient, variable, learning_rate)


class Headstrong(keras.optimizers.SGD):
    """Knows better which rate is good."""

    def _backend_apply_gradients(self, grads, trainable_variables):
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            variable.assign_sub(0.01 * gradient)


def multi(rate):
    groups = keras.optimizers.OptimizerMap(keras.optimizers.SGD(rate), {".*bias": keras.optimizers.Adam(rate)})
    return keras.optimizers.MultiOptimizer(groups)


OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": keras.optimizers.Adam,
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=1.0, use_ema=True),
    "lamb": keras.optimizers.Lamb,
    "nadam": keras.optimizers.Nadam,
    "muon": keras.optimizers.Muon,
    "loss scale": lambda rate: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(rate, weight_decay=0.1)),
    "multi": pytest.param(
        multi, marks=pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="not in this Keras")
    ),
}
KINDS = pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
WAYS = {"graph": {"jit_compile": False}, "xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}
LEARNING_RATES = {
    "float": lambda: BASE,
    "exponential": lambda: keras.optimizers.schedules.ExponentialDecay(BASE, 2, 0.5),
    "piecewise": lambda: keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.04, 0.02, 0.01]),
    "warm up": lambda: keras.optimizers.schedules.CosineDecay(0.0, 10, warmup_target=BASE, warmup_steps=3),
    "table": Table,
    "callable": lambda: lambda: BASE,
    "whole number": lambda: lambda: 1,
}


def model_with(optimizer, **options):
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(6, "relu")
    layers = [keras.Input((6, 6, 3)), keras.layers.Flatten(), dense, keras.layers.Dense(4, "softmax")]
    return compiled(keras.Sequential(layers), optimizer=optimizer, **({"jit_compile": False} | options))


def rescaled(model):
    return TensorFlowEngine(model, DATA[:2], rescaled=True)


def leaves(optimizer):
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(inner, "optimizers", [inner]))


def assert_same_weights(ours, theirs, start):
    """Both have moved, to the same place."""
    moved = [after - before for after, before in zip(numbers(ours.weights), start, strict=True)]
    expected = [after - before for after, before in zip(numbers(theirs.weights), start, strict=True)]
    assert relative_l2(moved, [0 * array for array in moved]) > 0
    assert relative_l2(moved, expected) < 2e-5


def as_keras(theirs, rates):
    """Keras' own updates, with these learning rates set from outside; eagerly, for they are few."""
    theirs.run_eagerly = True
    for rate in rates:
        for optimizer in leaves(theirs.optimizer):
            optimizer.learning_rate = rate
        theirs.train_on_batch(DATA.x, DATA.y)


def assert_as_keras(kind, way):
    """Updates at several rates, whole and accumulated by turns."""
    ours, theirs = model_with(kind(BASE), **way), model_with(kind(BASE), **way)
    start, engine = numbers(ours.weights), rescaled(ours)
    for number, rate in enumerate(RATES):
        engine.rescale(rate, 0)
        update(engine, DATA, CUTS[number % 2])
    as_keras(theirs, [BASE * rate for rate in RATES])
    assert_same_weights(ours, theirs, start)


@KINDS
def test_an_update_at_a_rate_is_keras_own_with_the_rate_multiplied(kind):
    """Seen to fail with the swap on the outer optimizer, around accumulated updates only, and with a fixed factor."""
    assert_as_keras(kind, WAYS["graph"])


@pytest.mark.parametrize(("way", "kind"), [("xla", "loss scale"), ("eager", "momentum")])
def test_it_is_so_however_the_step_is_run(kind, way):
    assert_as_keras(OPTIMIZERS[kind], WAYS[way])


@pytest.mark.parametrize("make", LEARNING_RATES.values(), ids=LEARNING_RATES)
def test_a_schedule_counts_updates_of_the_reference_batch(make):
    """Seen to fail with the schedule asked at `optimizer.iterations`."""
    ours, theirs = model_with(keras.optimizers.SGD(make())), model_with(keras.optimizers.SGD(BASE))
    start, asked = numbers(ours.weights), make()
    engine = rescaled(ours)
    schedule = isinstance(asked, keras.optimizers.schedules.LearningRateSchedule)
    rates = []
    for updates, rate, cut in ((0, 1.0, CUTS[0]), (3.0, 0.5, CUTS[1]), (7, 2.0, CUTS[0])):
        engine.rescale(rate, updates)
        update(engine, DATA, cut)
        base = asked(tf.constant(int(updates), tf.int64)) if schedule else asked() if callable(asked) else asked
        rates.append(rate * float(base))
    as_keras(theirs, rates)
    assert_same_weights(ours, theirs, start)
    assert int(ours.optimizer.iterations) == 3


@pytest.mark.parametrize(("updates", "whole"), [(2.5, 2), (2.9999999, 3), (3.0000001, 3), (0.25, 0)])
def test_a_schedule_is_asked_at_whole_updates(updates, whole):
    """Seen to fail with the number handed over as it is, and with fractions that miss a whole by rounding cut off."""
    ours, theirs = model_with(keras.optimizers.SGD(Table())), model_with(keras.optimizers.SGD(BASE))
    start, engine = numbers(ours.weights), rescaled(ours)
    engine.rescale(1.0, updates)
    update(engine, DATA, (8,))
    as_keras(theirs, [float(Table()(whole))])
    assert_same_weights(ours, theirs, start)


@pytest.mark.parametrize(
    ("rate", "way", "untold"),
    [
        *((rate, "eager", len(CUTS)) for rate in ("float", "table", "callable")),
        ("exponential", "xla", len(CUTS)),
        ("exponential", "graph", 0),
    ],
)
def test_at_a_rate_of_one_nothing_changes_by_a_bit(rate, way, untold):
    """Also before the first word about it. Seen to fail with a clock that starts at 0."""
    make = LEARNING_RATES[rate]
    ours = model_with(keras.optimizers.AdamW(make(), weight_decay=0.1), **WAYS[way])
    theirs = model_with(keras.optimizers.AdamW(make(), weight_decay=0.1), **WAYS[way])
    engine, plain = rescaled(ours), TensorFlowEngine(theirs, DATA[:2])
    for number, cut in enumerate((*CUTS, *CUTS)):
        if number >= untold:
            engine.rescale(1.0, int(ours.optimizer.iterations))
        update(engine, DATA, cut)
        update(plain, DATA, cut)
    pairs = zip(numbers(ours.variables), numbers(theirs.variables), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    pairs = zip(numbers(ours.optimizer.variables), numbers(theirs.optimizer.variables), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("way", "kind"), [("graph", "adamw"), ("graph", "loss scale"), ("eager", "sgd"), ("eager", "loss scale")]
)
def test_everybody_else_sees_the_users_own_rate(kind, way):
    """Seen to fail with the product assigned to `optimizer.learning_rate`, and with the swap left in place."""
    model = model_with(OPTIMIZERS[kind](BASE), **WAYS[way])
    engine = rescaled(model)
    engine.rescale(0.25, 0)
    for cut in CUTS:
        update(engine, DATA, cut)
        for optimizer in leaves(model.optimizer):
            assert float(optimizer.learning_rate) == pytest.approx(BASE)
            assert "_get_current_learning_rate" not in vars(optimizer)


def scheduler(model):
    """Takes the rate there is and halves it, epoch by epoch."""
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    callback.set_model(model)
    return callback.on_epoch_begin


def plateau(model):
    """Halves the rate whenever the loss stays, which it does in every epoch but the first."""
    callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1)
    callback.set_model(model)
    callback.on_train_begin()
    return lambda epoch: callback.on_epoch_end(epoch, {"loss": 1.0})


@pytest.mark.parametrize(("attach", "halved", "kind"), [(scheduler, 4, "adam"), (plateau, 3, "loss scale")])
def test_callbacks_that_set_the_rate_compose_with_it(kind, attach, halved):
    """Seen to fail with the product assigned to `optimizer.learning_rate`: it was halved and multiplied again."""
    ours, theirs = model_with(OPTIMIZERS[kind](BASE)), model_with(OPTIMIZERS[kind](BASE))
    start, engine = numbers(ours.weights), rescaled(ours)
    epoch_of, seen = attach(ours), []
    for epoch, rate in enumerate((1.0, 0.5, 0.5, 2.0)):
        epoch_of(epoch)
        engine.rescale(rate, epoch)
        update(engine, DATA, CUTS[epoch % 2])
        seen.append(float(ours.optimizer.learning_rate))
        as_keras(theirs, [seen[-1] * rate])
    assert seen[-1] == pytest.approx(BASE / 2**halved)
    assert_same_weights(ours, theirs, start)


@pytest.mark.parametrize("rate", ["float", "exponential"])
def test_another_rate_needs_no_other_trace(rate):
    """Seen to fail with the compiled steps thrown away when the rate changes."""
    model = model_with(Counting(LEARNING_RATES[rate]()))
    engine = rescaled(model)
    for cut in CUTS:
        update(engine, DATA, cut)
    traced = model.optimizer.calls
    before = numbers(model.weights)
    for number, rate_now in enumerate(RATES):
        engine.rescale(rate_now, number)
        for cut in CUTS:
            update(engine, DATA, cut)
    assert model.optimizer.calls == traced
    assert relative_l2(numbers(model.weights), before) > 0


def test_an_engine_that_is_not_rescaled_leaves_the_optimizer_alone():
    """Seen to fail with the swap made in any case."""
    asked = []

    class Watched(keras.optimizers.SGD):
        def _get_current_learning_rate(self):
            asked.append("_get_current_learning_rate" in vars(self))
            return super()._get_current_learning_rate()

    update(TensorFlowEngine(model_with(Watched(BASE)), DATA[:2]), DATA, (8,))
    assert asked
    assert not any(asked)


def test_the_rate_is_given_back_when_the_optimizer_fails():
    """Seen to fail without the swap undone on errors."""

    class Broken(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            raise RuntimeError("broken")

    model = model_with(Broken(BASE))
    engine = rescaled(model)
    engine.rescale(0.5, 0)
    with pytest.raises(RuntimeError, match="broken"):
        update(engine, DATA, (8,))
    assert "_get_current_learning_rate" not in vars(model.optimizer)


def test_an_engine_that_was_not_made_for_it_says_so():
    engine = engine_for(model_with(keras.optimizers.SGD(BASE)), DATA[:2])
    with pytest.raises(ArgumentError, match=r"Received: rate=0\.5 .* Expected one made with it"):
        engine.rescale(0.5, 0)


@pytest.mark.parametrize(
    ("rate", "updates"),
    [(0.0, 0), (-1.0, 0), (float("nan"), 0), (float("inf"), 0), (1.0, -1), (1.0, float("nan")), (1.0, float("inf"))],
)
def test_numbers_that_cannot_be_meant_are_refused(rate, updates):
    engine = engine_for(model_with(keras.optimizers.SGD(BASE)), DATA[:2], rescaled=True)
    with pytest.raises(ArgumentError, match=r"Received: rate=.*, updates=.* Expected rate > 0"):
        engine.rescale(rate, updates)


def test_an_optimizer_that_has_a_rate_of_its_own_is_refused():
    """Its rate would not follow, and nobody would know. Seen to fail without the check."""
    engine = rescaled(model_with(Headstrong(BASE)))
    engine.rescale(0.5, 0)
    with pytest.raises(ModelError, match="rate cannot follow the effective batch"):
        update(engine, DATA, (8,))


def test_the_fake_engine_keeps_what_it_is_told():
    engine = FakeEngine()
    engine.rescale(0.5, 0)
    update(engine, DATA, (8,))
    engine.rescale(2.0, 1.5)
    assert engine.rescalings == [(0, 0.5, 0), (1, 2.0, 1.5)]
