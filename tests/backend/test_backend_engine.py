"""The TensorFlow engine on the models that people have: compiled with XLA, eager, frozen, their own `train_step`."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from faults import FaultyLoss
from keras.src.random.seed_generator import global_seed_generator
from nets import compiled, conv_net, numbers, pictures, relative_l2, update

from autobatch.backend import current_backend, engine_for
from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.data.batch import Batch
from autobatch.errors import ModelError, OutOfMemoryError

DATA = pictures(24)
CUTS = ((24,), (12, 12), (10, 10, 4), (1,) * 24)


class Counting(keras.layers.Layer):
    """Counts how often Python comes by, which is once a trace, and never again while the trace is used."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def call(self, inputs: Any) -> Any:
        self.calls += 1
        return inputs


@pytest.fixture
def reset_names() -> Iterator[None]:
    keras.backend.clear_session()
    yield
    keras.backend.clear_session()


def counting_model(**options: Any) -> tuple[Any, Counting]:
    keras.utils.set_random_seed(1)
    counter = Counting()
    layers = [keras.Input((12, 12, 3)), counter, keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    return compiled(keras.Sequential(layers), **options), counter


def after(model: Any, *cuts: tuple[int, ...]) -> list[np.ndarray]:
    """The weights after updates of the same samples, cut in these ways."""
    engine = TensorFlowEngine(model, DATA[:2])
    for cut in cuts:
        update(engine, DATA, cut)
    return numbers(model.weights)


def test_one_trace_serves_all_sizes_and_all_uses() -> None:
    """Seen to fail with the batch dimension in the signature: then each size is traced anew."""
    model, counter = counting_model(jit_compile=False)
    engine = TensorFlowEngine(model, DATA[:2])
    update(engine, DATA, (24,))
    traced = counter.calls
    for cut in CUTS:
        update(engine, DATA, cut)
    assert counter.calls == traced
    evaluated = [engine.evaluate(DATA[:size], BatchTotals(size)) for size in (24, 7, 1)]
    assert len(evaluated) == 3
    assert counter.calls == traced + 1


def test_two_engines_of_two_models_do_not_meet() -> None:
    """Seen to fail with the compiled functions kept on the class."""
    models = [compiled(conv_net(seed=seed)) for seed in (1, 2)]
    calm = [compiled(conv_net(seed=seed)) for seed in (1, 2)]
    engines = [TensorFlowEngine(model, DATA[:2]) for model in models]
    for cut in ((24,), (12, 12)):
        for engine in engines:
            update(engine, DATA, cut)
    for model, alone in zip(models, calm, strict=True):
        engine = TensorFlowEngine(alone, DATA[:2])
        for cut in ((24,), (12, 12)):
            update(engine, DATA, cut)
        assert relative_l2(numbers(model.weights), numbers(alone.weights)) < 1e-6


def test_xla_computes_the_same() -> None:
    """Seen to fail with accumulators that are not given their shape before XLA compiles."""
    cuts = ((12, 12), (24,), (12, 12))
    plain = after(compiled(conv_net(), jit_compile=False), *cuts)
    assert relative_l2(after(compiled(conv_net(), jit_compile=True), *cuts), plain) < 1e-4


@pytest.mark.parametrize("cut", [(24,), (10, 10, 4)])
def test_an_eager_model_computes_the_same_and_stays_eager(cut: tuple[int, ...]) -> None:
    """Seen to fail with every step compiled."""
    plain = after(compiled(conv_net(), jit_compile=False), cut, cut)
    model, counter = counting_model(run_eagerly=True)
    engine = TensorFlowEngine(model, DATA[:2])
    before = counter.calls
    update(engine, DATA, cut)
    assert counter.calls == before + len(cut)
    assert relative_l2(after(compiled(conv_net(), run_eagerly=True), cut, cut), plain) < 1e-5


def test_embeddings_with_sparse_gradients_accumulate() -> None:
    """Seen to fail with only the first micro-batch's rows kept."""
    draw = np.random.default_rng(2)
    data = Batch(draw.integers(0, 20, (24, 6)).astype(np.int32), np.eye(4, dtype=np.float32)[draw.integers(0, 4, 24)])

    def run(cut: tuple[int, ...]) -> list[np.ndarray]:
        keras.utils.set_random_seed(3)
        layers = [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(20, 5),
            keras.layers.Flatten(),
            keras.layers.Dense(4, "softmax"),
        ]
        model = compiled(keras.Sequential(layers), optimizer=keras.optimizers.SGD(0.5))
        engine = TensorFlowEngine(model, data[:2])
        for _ in range(3):
            update(engine, data, cut)
        return numbers(model.weights)

    assert relative_l2(run((10, 10, 4)), run((24,))) < 1e-5


def test_a_weight_without_a_gradient_is_left_alone() -> None:
    """Seen to fail with `None` gradients taken for zeros: weight decay would then move the weight."""

    def run(cut: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
        keras.utils.set_random_seed(3)
        inputs = keras.Input((12, 12, 3))
        used, unused = keras.layers.Dense(4, "softmax"), keras.layers.Dense(4, "softmax", name="unused")
        flat = keras.layers.Flatten()(inputs)
        model = keras.Model(inputs, [used(flat), unused(flat)])
        optimizer = keras.optimizers.AdamW(1e-2, weight_decay=0.1)
        model.compile(optimizer, loss=["categorical_crossentropy", None])
        before = numbers(unused.weights)
        engine = TensorFlowEngine(model, DATA[:2])
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            update(engine, DATA, cut)
        assert [a.tobytes() for a in numbers(unused.weights)] == [b.tobytes() for b in before]
        return before[0], numbers(used.weights)

    assert relative_l2(run((12, 12))[1], run((24,))[1]) < 1e-3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_frozen_layers_stay_bit_identical(jit_compile: bool) -> None:
    """Seen to fail with an update that writes all variables."""
    model = conv_net(norm=True, dropout=0.2)
    model.layers[0].trainable = False
    model.layers[1].trainable = False  # BatchNorm: its averages stand still, too
    compiled(model, jit_compile=jit_compile)
    frozen = [*model.layers[0].weights, *model.layers[1].weights]
    before, engine = numbers(frozen), TensorFlowEngine(model, DATA[:2])
    for cut in CUTS[:2]:
        rest = numbers(model.trainable_weights)
        update(engine, DATA, cut)
        assert [a.tobytes() for a in numbers(frozen)] == [b.tobytes() for b in before]
        assert relative_l2(numbers(model.trainable_weights), rest) > 1e-4


class OwnStep(keras.Model):
    """A `train_step` as Keras' guides write it: own loss, own tracker, one call of the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_net(l2=False)
        self.tracker = keras.metrics.Mean(name="own")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.body(inputs, training=training)

    @property
    def metrics(self) -> list[Any]:
        return [self.tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        # In another order than the model's own: the pairs say what belongs together.
        pairs = list(zip(gradients, self.trainable_variables, strict=True))[::-1]
        self.optimizer.apply_gradients(pairs)
        self.tracker.update_state(loss, sample_weight=tf.cast(tf.shape(x)[0], tf.float32))
        return {"own": self.tracker.result()}


def own_model() -> Any:
    model = OwnStep()
    model.compile(optimizer=keras.optimizers.SGD(0.5))
    return model


@pytest.mark.parametrize("cut", [(24,), (10, 10, 4)])
def test_the_users_own_train_step_is_exact(cut: tuple[int, ...]) -> None:
    """Against Keras' own step. Seen to fail with gradients taken in the order of the call instead of by variable."""
    theirs = own_model()
    theirs.run_eagerly = True  # for two steps
    theirs.fit(DATA.x, DATA.y, batch_size=24, shuffle=False, epochs=2, verbose=0)
    ours = own_model()
    engine = TensorFlowEngine(ours, DATA[:2])
    for _ in range(2):
        ours.reset_metrics()
        logs = update(engine, DATA, cut)
    assert relative_l2(numbers(ours.trainable_weights), numbers(theirs.trainable_weights)) < 1e-5
    assert float(logs["own"]) == pytest.approx(theirs.history.history["own"][-1], rel=1e-5)


class TwoCalls(OwnStep):
    """A step that updates twice, as that of a GAN does."""

    def train_step(self, data: Any) -> dict[str, Any]:
        super().train_step(data)
        return super().train_step(data)  # type: ignore[no-any-return]


class NoCall(OwnStep):
    """A step that computes and updates nothing."""

    def train_step(self, data: Any) -> dict[str, Any]:
        self.tracker.update_state(tf.reduce_mean(self(data[0], training=True)))
        return {"own": self.tracker.result()}


@pytest.mark.parametrize(("kind", "calls"), [(TwoCalls, 2), (NoCall, 0)])
@pytest.mark.parametrize("eager", [False, True])
def test_a_step_that_is_not_one_update_is_refused_before_any_weight_changes(
    kind: type[OwnStep], calls: int, eager: bool
) -> None:
    """Seen to fail without the count, and with the count taken after the use of the gradients."""
    model = kind()
    model.compile(optimizer=keras.optimizers.Adam(0.5), run_eagerly=eager)
    engine = TensorFlowEngine(model, DATA[:2])
    before = numbers([*model.variables, *model.optimizer.variables])
    for cut in ((24,), (12, 12)):
        with pytest.raises(ModelError, match=f"applies gradients {calls} times"):
            update(engine, DATA, cut)
        engine.abandon()
    after_it = numbers([*model.variables, *model.optimizer.variables])
    assert [a.tobytes() for a in after_it] == [b.tobytes() for b in before]


def accumulating() -> Any:
    return compiled(conv_net(), optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))


def mixed_reductions() -> Any:
    inputs = keras.Input((12, 12, 3))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(4)(flat), keras.layers.Dense(4)(flat)])
    model.compile("sgd", loss=[keras.losses.MeanSquaredError(reduction=None), keras.losses.MeanSquaredError()])
    return model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (conv_net, "not compiled"),
        (accumulating, "gradient_accumulation_steps=4"),
        (mixed_reductions, "reductions="),
    ],
)
def test_a_model_that_cannot_be_trained_this_way_is_refused(make: Any, words: str) -> None:
    """Seen to fail without each of the three checks."""
    model = make()
    targets = [DATA.y, DATA.y] if make is mixed_reductions else DATA.y
    with pytest.raises(ModelError, match=words):
        engine_for(model, Batch(DATA.x, targets)[:2])


@pytest.mark.parametrize(("make", "words"), [(conv_net, "not compiled"), (accumulating, "Leave gradient_acc")])
def test_what_needs_no_data_to_be_refused_is_refused_first(make: Any, words: str) -> None:
    model = make()
    with pytest.raises(ModelError, match=words):
        current_backend().require_trainable(model)


def test_averaged_weights_are_written_once_at_the_end() -> None:
    """Against Keras' own fit. Seen to fail without `finish`."""

    def make() -> Any:
        optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
        return compiled(conv_net(), optimizer=optimizer)

    ours, theirs = make(), make()
    engine = TensorFlowEngine(ours, DATA[:2])
    for _ in range(3):
        update(engine, DATA, (12, 12))
    last = numbers(ours.weights)
    engine.finish()
    theirs.run_eagerly = True
    theirs.fit(DATA.x, DATA.y, batch_size=24, shuffle=False, epochs=3, verbose=0)
    assert relative_l2(numbers(ours.weights), numbers(theirs.weights)) < 1e-5
    assert relative_l2(last, numbers(theirs.weights)) > 1e-4


def test_an_abandoned_update_leaves_nothing_for_the_next() -> None:
    """Seen to fail with `abandon` doing nothing."""
    model, calm = compiled(conv_net()), compiled(conv_net())
    engine = TensorFlowEngine(model, DATA[:2])
    engine.accumulate(DATA[:12], BatchTotals(24))
    engine.abandon()
    engine.apply()
    assert int(model.optimizer.iterations) == 0
    update(engine, DATA, (12, 12))
    assert relative_l2(numbers(model.weights), after(calm, (12, 12))) < 1e-7


def test_a_model_that_was_never_called_is_built_from_the_example(reset_names: None) -> None:
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4, "softmax")])
    compiled(model)
    engine = TensorFlowEngine(model, DATA[:2])
    update(engine, DATA, (12, 12))
    assert model.built
    assert int(model.optimizer.iterations) == 1


def test_other_forms_of_data_get_a_step_of_their_own() -> None:
    """With and without sample weights, in turns. Seen to fail with the form left out of the key."""
    model = compiled(conv_net())
    engine = TensorFlowEngine(model, DATA[:2])
    weighted = Batch(DATA.x, DATA.y, np.linspace(0.1, 2, 24).astype(np.float32))
    for batch in (DATA, weighted, DATA, weighted):
        update(engine, batch, (12, 12))
    assert int(model.optimizer.iterations) == 4


class Noise(keras.layers.Layer):
    """Draws without a seed: from the generator that all of Keras shares."""

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal((1,))


def test_a_failed_step_puts_the_shared_seed_back_too() -> None:
    """Seen to fail with only the seeds of layers put back."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((12, 12, 3)), Noise(), keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    model = compiled(keras.Sequential(layers), loss=FaultyLoss(lambda call: call == 2))
    engine = TensorFlowEngine(model, DATA[:2])
    engine.accumulate(DATA[:8], BatchTotals(24))
    before = np.array(global_seed_generator().state.value).tolist()
    with pytest.raises(OutOfMemoryError):
        engine.accumulate(DATA[8:16], BatchTotals(24))
    assert np.array(global_seed_generator().state.value).tolist() == before
    engine.accumulate(DATA[8:16], BatchTotals(24))
    assert np.array(global_seed_generator().state.value).tolist() != before


def test_gradients_that_were_kept_are_freed_when_updates_are_whole_again() -> None:
    """Seen to fail with the accumulators left as they were."""
    model = compiled(conv_net())
    engine = TensorFlowEngine(model, DATA[:2])

    def held() -> int:
        return sum(int(tf.size(accumulator)) for accumulator in engine._update._accumulators)

    update(engine, DATA, (12, 12))
    assert held() == sum(int(tf.size(variable)) for variable in model.trainable_variables)
    assert engine.accumulator_bytes() == 4 * held()
    update(engine, DATA, (24,))
    assert held() == 0
    update(engine, DATA, (8, 8, 8))
    assert int(model.optimizer.iterations) == 3
