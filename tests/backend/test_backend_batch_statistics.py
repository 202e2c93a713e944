"""Batch statistics over groups of samples: as Keras computes them for each group, whatever the micro-batch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from faults import FaultyLoss, InMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import compiled, numbers, pictures, relative_l2, update

from autobatch.backend import current_backend
from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow.batch_statistics import grouped_statistics
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.data.epoch import near_equal, rungs
from autobatch.errors import ModelError
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed

layers = keras.layers
SIDE, CLASSES = 8, 4
DATA = pictures(3 * 48 + 44, side=SIDE)
UPDATES = (48, 48, 48, 44)  # the last one ends with a smaller group
CUTS: dict[int, tuple[tuple[int, ...], ...]] = {
    16: ((16, 16, 16), (16, 32), (32, 16), (32, 12)),
    8: ((8,) * 6, (24, 24), (40, 8), (8, 32, 4)),
    5: ((5,) * 9 + (3,), (45, 3), (10, 15, 23), (40, 4)),
}


def block(x: Any, **norm: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, **norm)(layers.Conv2D(6, 3, padding="same")(x)))


def head(x: Any) -> Any:
    return layers.Dense(CLASSES, "softmax", dtype="float32")(layers.GlobalAveragePooling2D()(x))


def functional() -> Any:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.BatchNormalization(center=False)(layers.Flatten()(block(inputs, scale=False)))
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax")(x))


def nested() -> Any:
    inner_input = keras.Input((SIDE, SIDE, 3))
    inner = keras.Model(inner_input, block(inner_input))
    inputs = keras.Input((SIDE, SIDE, 3))
    return keras.Model(
        inputs, head(keras.Sequential([inner, layers.Conv2D(6, 3), layers.BatchNormalization()])(inputs))
    )


def shared() -> Any:
    """A branch that is called twice: its averages move by both calls of a group before the next group comes."""
    inputs = keras.Input((SIDE, SIDE, 3))
    branch_input = keras.Input((SIDE, SIDE, 3))
    branch = keras.Model(branch_input, block(branch_input))
    return keras.Model(inputs, head(layers.Concatenate()([branch(inputs), branch(layers.Activation("tanh")(inputs))])))


def inverted_residual() -> Any:
    """A block as those of MobileNetV2."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = y = block(inputs)
    for convolution in (
        layers.Conv2D(12, 1, use_bias=False),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
    ):
        y = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(convolution(y)))
    y = layers.BatchNormalization(momentum=0.999)(layers.Conv2D(6, 1, use_bias=False)(y))
    return keras.Model(inputs, head(layers.Add()([x, y])))


class Subclassed(keras.Model):
    """Builds its layers when it is first called, and keeps some in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [layers.Conv2D(6, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten()]
        self.last = layers.Dense(CLASSES, "softmax")

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = inputs
        for part in self.parts:
            x = part(x, training=training) if isinstance(part, layers.BatchNormalization) else part(x)
        return self.last(x)


EAGER = {"run_eagerly": True}
# What is traced takes a few seconds more.
NETS: tuple[tuple[Any, int, dict[str, Any]], ...] = (
    (functional, 16, {}),
    (functional, 8, EAGER),
    (nested, 16, {}),
    (Subclassed, 16, EAGER),
    (shared, 5, EAGER),
    (inverted_residual, 16, EAGER),
)


class Trained:
    """A model that can be trained again from its first weights, at one size of group."""

    def __init__(self, make: Any, group: int, **options: Any) -> None:
        keras.utils.set_random_seed(1)
        self.model = compiled(make(), optimizer=keras.optimizers.SGD(0.05), **options)
        self.engine = TensorFlowEngine(self.model, DATA[:2], group=group)
        self._start = numbers(self.model.variables)

    def again(self) -> None:
        for variable, value in zip(self.model.variables, self._start, strict=True):
            variable.assign(value)
        self.model.reset_metrics()

    def after(self, cuts: Sequence[Sequence[int]]) -> tuple[list[np.ndarray], dict[str, float]]:
        """Weights and averages after updates in these cuts, and the logs."""
        self.again()
        start = 0
        for cut in cuts:
            logs = update(self.engine, DATA[start : start + sum(cut)], cut)
            start += sum(cut)
        return numbers(self.model.weights), {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize(("make", "group", "options"), NETS)
def test_an_update_is_the_same_at_any_micro_batch_size(make: Any, group: int, options: dict[str, Any]) -> None:
    """Seen to fail with averages that move once a micro-batch."""
    trained = Trained(make, group, **options)
    whole, logs = trained.after([(size,) for size in UPDATES])
    cut, cut_logs = trained.after(CUTS[group])
    assert relative_l2(cut, whole) < 1e-5
    for ours, theirs in zip(cut, whole, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert cut_logs == pytest.approx(logs, rel=1e-5)


@pytest.fixture(scope="module")
def any_net() -> Trained:
    return Trained(functional, 5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 4))
def test_any_cut_between_groups_is_the_same_update(any_net: Trained, parts: list[list[int]], short: int) -> None:
    cuts = [[5 * part for part in update_parts] for update_parts in parts]
    cuts[-1][-1] -= short  # the last group of all
    cuts = [cut for cut in cuts if sum(cut)]
    whole, logs = any_net.after([(sum(cut),) for cut in cuts])
    cut, cut_logs = any_net.after(cuts)
    assert relative_l2(cut, whole) < 1e-5
    assert cut_logs == pytest.approx(logs, rel=1e-5)


@pytest.mark.parametrize("group", [48, 1000])
def test_one_group_is_what_keras_computes(group: int) -> None:
    """Averages, too. Seen to fail with a variance that counts samples that are not there."""
    ours, theirs = Trained(inverted_residual, group, **EAGER), Trained(inverted_residual, 1, **EAGER).model
    weights, _ = ours.after([(48,), (48,), (44,)])
    for start, size in ((0, 48), (48, 48), (96, 44)):
        theirs.train_on_batch(DATA.x[start : start + size], DATA.y[start : start + size])
    assert relative_l2(weights, numbers(theirs.weights)) < 1e-6


MASK = np.random.default_rng(1).random((10, 6)) < 0.6
MASK[:4] = False  # a group without anything
# name: (options of the layer, shape of a sample, mask, dtype policy)
LAYERS: dict[str, tuple[dict[str, Any], tuple[int, ...], Any, str]] = {
    "vectors": ({}, (7,), None, "float32"),
    "pictures": ({}, (5, 6, 3), None, "float32"),
    "channels first": ({"axis": 1}, (3, 5, 6), None, "float32"),
    "an axis in the middle": ({"axis": -2}, (5, 6, 3), None, "float32"),
    "no scale": ({"scale": False}, (6, 3), None, "float32"),
    "no center": ({"center": False}, (6, 3), None, "float32"),
    "synchronized": ({"synchronized": True}, (6, 3), None, "float32"),
    "masked": ({}, (6, 3), MASK, "float32"),
    "half precision": ({}, (5, 6, 3), None, "mixed_float16"),
    "half precision, masked": ({}, (6, 3), MASK, "mixed_float16"),
    "frozen": ({"trainable": False}, (6, 3), None, "float32"),
}


@pytest.mark.parametrize("case", LAYERS)
def test_each_group_gets_what_keras_gives_it_alone(case: str) -> None:
    """Outputs, averages and gradients. Seen to fail with a mask, an axis or a type that is left out of account."""
    options, shape, mask, policy = LAYERS[case]
    x = (np.random.default_rng(0).normal(3.0, 2.0, (10, *shape))).astype("float16" if "half" in case else "float32")
    ours, theirs = (layers.BatchNormalization(momentum=0.8, dtype=policy, **options) for _ in range(2))
    for layer in (ours, theirs):
        layer.build((None, *shape))
        for variable in layer.trainable_variables:
            variable.assign(np.linspace(0.5, 1.5, variable.shape[0]))
    keras_outputs, keras_gradient = [], []
    for start in range(0, 10, 4):
        part = None if mask is None else tf.constant(mask[start : start + 4])
        output, gradient = _called(theirs, x[start : start + 4], part)
        keras_outputs.append(output)
        keras_gradient.append(gradient)
    model = keras.Sequential([ours])
    with grouped_statistics(model, 4)(len(x)):
        output, gradient = _called(ours, x, None if mask is None else tf.constant(mask))
    close = 2e-3 if "half" in case else 2e-5
    assert output.dtype == keras_outputs[0].dtype
    assert relative_l2([output], [np.concatenate(keras_outputs)]) < close
    assert relative_l2([gradient], [np.concatenate(keras_gradient)]) < close
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6)
    assert "call" not in vars(ours)


def _called(layer: Any, x: np.ndarray, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        output = layer(inputs, training=True, **({} if mask is None else {"mask": mask}))
        value = tf.reduce_sum(tf.sin(tf.cast(output, tf.float32)))
    return output.numpy(), tape.gradient(value, inputs).numpy()


def test_averages_move_as_if_group_after_group_had_come() -> None:
    layer = layers.BatchNormalization(momentum=0.5)
    layer.build((None, 1))
    with grouped_statistics(keras.Sequential([layer]), 2)(5):
        layer(np.float32([[2], [2], [4], [4], [8]]), training=True)
    assert np.array(layer.moving_mean).tolist() == [((0 + 2) / 2 + 4) / 2 / 2 + 8 / 2]


def test_a_micro_batch_that_ran_out_of_memory_is_undone_and_run_again_in_smaller_ones() -> None:
    """Seen to fail with micro-batches that are cut through a group."""
    trained = Trained(functional, 8, loss=FaultyLoss(lambda call: call in {2, 4, 9}), **EAGER)
    trained.again()
    decisions: list[tuple[int, int]] = []
    runner = MicroBatchRunner(
        controller_without_sensors(48, rungs(48, 48, 8), lambda before, after, _: decisions.append((before, after))),
        partial(near_equal, group=8),
    )
    feed = Feed(InMemory(DATA))
    for size in UPDATES:
        runner.update(trained.engine, feed, size)
    assert decisions == [(48, 24), (24, 16), (16, 8)]
    calm, _ = Trained(functional, 8, **EAGER).after([(size,) for size in UPDATES])
    assert relative_l2(numbers(trained.model.weights), calm) < 1e-5


def test_evaluation_sees_the_averages_and_a_saved_model_nothing_of_it(tmp_path: Any) -> None:
    trained = Trained(functional, 8, **EAGER)
    trained.after([(48,), (48,)])
    trained.model.reset_metrics()
    logs = trained.engine.evaluate(DATA[:24], BatchTotals(24))
    trained.model.save(tmp_path / "model.keras")
    plain = keras.saving.load_model(tmp_path / "model.keras")
    assert float(logs["loss"]) == pytest.approx(plain.evaluate(DATA.x[:24], DATA.y[:24], verbose=0)[0], rel=1e-5)
    assert all("call" not in vars(layer) for layer in trained.model._flatten_layers())


@pytest.mark.slow
def test_compiled_by_xla_it_is_the_same() -> None:
    plain, _ = Trained(functional, 16, **EAGER).after([(32, 12)])
    assert relative_l2(Trained(functional, 16, jit_compile=True).after([(32, 12)])[0], plain) < 1e-4


class OwnCall(layers.BatchNormalization):
    """Normalises in a way of its own."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return super().call(inputs, training=training, mask=mask)


class OwnName(layers.BatchNormalization):
    """Keras' layer by another name."""


class Looped(layers.Layer):
    """Calls its normalisation in a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = layers.BatchNormalization(name="inside")

    def build(self, shape: Any) -> None:
        self.norm.build(shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        return tf.function(lambda x: self.norm(x, training=training))(inputs)


def normed(layer: Any) -> Any:
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Flatten(), layer, layers.Dense(CLASSES, "softmax")])


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (lambda: OwnCall(name="own"), "own"),
        (lambda: layers.BatchNormalization(renorm=True, name="renormed"), "renormed"),
        (lambda: OwnCall(name="frozen", trainable=False), None),
        (OwnName, None),
        (layers.LayerNormalization, None),
    ],
)
def test_layers_that_cannot_be_treated_so_are_named(layer: Any, word: str | None) -> None:
    model = compiled(normed(layer()))
    if word is None:
        current_backend().require_trainable(model, 8)
    else:
        with pytest.raises(ModelError, match=f"way of their own.*'{word}'"):
            current_backend().require_trainable(model, 8)
        current_backend().require_trainable(model)


class TwoViews(layers.Layer):
    """Normalises two views of each sample at once, one below the other: groups of one view may go on in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = layers.BatchNormalization(name="of_views")

    def build(self, shape: Any) -> None:
        self.norm.build(shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        views = self.norm(tf.concat([inputs, -inputs], 0), training=training)
        return tf.add_n(tf.split(views, 2))


@pytest.mark.parametrize("options", [{}, EAGER])
def test_a_layer_that_is_called_with_other_rows_is_named(options: dict[str, Any]) -> None:
    """Seen to fail without a look: a last group that is smaller is filled up by the other view."""
    engine = TensorFlowEngine(compiled(normed(TwoViews()), **options), DATA[:2], group=8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of_views is called with other rows"):
        update(engine, DATA[:12], (12,))


def test_xla_which_leaves_assertions_out_is_looked_at_before() -> None:
    """Nothing moves by it. Seen to fail without a look."""
    with pytest.raises(ModelError, match="of_views is called with other rows"):
        TensorFlowEngine(compiled(normed(TwoViews()), jit_compile=True), DATA[:2], group=8)
    model = compiled(functional(), jit_compile=True)
    before = [np.asarray(variable) for variable in model.variables]
    TensorFlowEngine(model, DATA[:2], group=8)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.variables, strict=True))


def test_a_layer_that_is_called_in_a_function_of_its_own_is_named() -> None:
    engine = TensorFlowEngine(compiled(normed(Looped())), DATA[:2], group=8)
    with pytest.raises(ModelError, match="in a function of its own: 'inside'"):
        update(engine, DATA[:16], (16,))
