"""Promise 5, whatever divides the loss: a cut update is Keras' own on the whole batch, or is refused beforehand."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from faults import put_back, state
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import numbers, update

import autobatch
from autobatch.backend.tensorflow import cut_check
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.data.batch import Batch, map_leaves, with_class_weight
from autobatch.errors import ModelError

layers = keras.layers
SIZE, LENGTH = 48, 5
CUTS: tuple[tuple[int, ...], ...] = ((48,), (24, 24), (20, 20, 8), (1,) * 48)
DRAW = np.random.default_rng(7)


class OddOnes(layers.Layer):
    """Masks what has an even first number."""

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        del mask
        return keras.ops.cast(inputs[..., 0], "int32") % 2 == 1


class AddsItsMean(layers.Layer):
    supports_masking = True

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.1 * keras.ops.mean(inputs**2))
        return inputs


def own_with_ignored(y_true: Any, y_pred: Any) -> Any:
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, ignore_class=0)


def compiled(inputs: Any, outputs: Any, loss: Any, metrics: Any = None, **options: Any) -> Any:
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics, **options)
    return model


def ids_of(lengths: Any) -> Any:
    """Rows of whole numbers from 1, padded with zeros."""
    ids = np.random.default_rng(1).integers(1, 20, (SIZE, LENGTH))
    return np.where(np.arange(LENGTH) < np.asarray(lengths)[:, None], ids, 0)


UNEVEN = np.where(np.arange(SIZE) < 22, LENGTH, 1)  # full rows first, then hardly anything
TARGETS = DRAW.normal(size=(SIZE, LENGTH, 1)).astype(np.float32) + 3 * (UNEVEN == 1)[:, None, None]
IDS = Batch(ids_of(UNEVEN), TARGETS)
ROWS = Batch((IDS.x[..., None] * [1.0, 0.5]).astype(np.float32), TARGETS)
WEIGHTS = DRAW.uniform(0.1, 3.0, SIZE).astype(np.float32)
LABELS = np.where(np.arange(LENGTH) < UNEVEN[:, None], DRAW.integers(1, 4, (SIZE, LENGTH)), 0)


def embedded(loss: Any = "mse", **options: Any) -> Any:
    inputs = keras.Input((LENGTH,), dtype="int32")
    return compiled(inputs, layers.Dense(1)(layers.Embedding(20, 4, mask_zero=True)(inputs)), loss, ["mae"], **options)


def on_rows(layer: Any) -> Any:
    inputs = keras.Input((LENGTH, 2))
    return compiled(inputs, layers.Dense(1)(layer(inputs)), "mse")


def two_outputs() -> Any:
    ids, rows = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH, 2))
    one = layers.Dense(1, name="one")(layers.Embedding(20, 4, mask_zero=True)(ids))
    other = layers.Dense(1, name="other", kernel_regularizer="l2")(layers.Masking(3.0)(rows))
    plain = layers.Dense(1, name="plain")(layers.Flatten()(rows))
    return compiled([ids, rows], [one, other, plain], ["mse", "mae", "mse"], loss_weights=[1.0, 0.5, 0.1])


def of_labels(loss: Any) -> Any:
    inputs = keras.Input((LENGTH, 2))
    return compiled(inputs, layers.Dense(4, "softmax")(inputs), loss)


def summed(reduction: str) -> Any:
    return keras.losses.MeanSquaredError(reduction=reduction)


def regularized() -> Any:
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = AddsItsMean()(layers.Embedding(20, 4, mask_zero=True, embeddings_regularizer="l2")(inputs))
    return compiled(inputs, layers.Dense(1, activity_regularizer="l2")(hidden), "mse")


THREES = np.where(IDS.x[::-1, :, None] == 0, 3.0, DRAW.normal(size=(SIZE, LENGTH, 2))).astype(np.float32)
THREES[:3] = 3.0  # so that the two masks leave different numbers
TWO = Batch([IDS.x, THREES], [TARGETS, TARGETS[::-1].copy(), TARGETS[:, 0]])
LABELLED = Batch(ROWS.x / 20, LABELS)
IGNORING = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)

# name: (how the model is made, its data)
MASKS: dict[str, tuple[Callable[[], Any], Batch]] = {
    "embedding": (embedded, IDS),
    "masking": (lambda: on_rows(layers.Masking(0.0)), ROWS),
    "a layer's own": (lambda: on_rows(OddOnes()), ROWS),
    "two outputs, two masks": (two_outputs, TWO),
    "sample weights": (embedded, Batch(IDS.x, TARGETS, WEIGHTS[:, None])),
    "weights for each step": (embedded, Batch(IDS.x, TARGETS, DRAW.uniform(0.1, 3, (SIZE, LENGTH)))),
    "mean_with_sample_weight": (
        lambda: embedded(summed("mean_with_sample_weight")),
        Batch(IDS.x, TARGETS, WEIGHTS[:, None]),
    ),
    "mean_with_sample_weight, unweighted": (lambda: embedded(summed("mean_with_sample_weight")), IDS),
    "sum": (lambda: embedded(summed("sum"), loss_weights=0.01), IDS),
    "regularizers, add_loss": (regularized, IDS),
    "ignore_class": (lambda: of_labels(IGNORING), LABELLED),
    "ignore_class, a function of one's own": (lambda: of_labels(own_with_ignored), LABELLED),
    "class weights": (
        lambda: of_labels(IGNORING),
        with_class_weight(Batch(ROWS.x[:, 0] / 20, LABELS[:, 0]), {0: 1.0, 1: 2.0, 2: 0.5, 3: 3.0}),
    ),
    "nothing is left": (embedded, Batch(np.zeros_like(IDS.x), TARGETS)),
    "eager": (lambda: embedded(run_eagerly=True), IDS),
}
MASKS["class weights"] = (
    lambda: compiled(i := keras.Input((2,)), layers.Dense(4, "softmax")(i), IGNORING),
    MASKS["class weights"][1],
)


def keras_own(model: Any, data: Batch, updates: int = 1) -> tuple[list[Any], dict[str, Any]]:
    """What Keras comes to on the whole batch, so many times: weights and logs."""
    x, y, weights = map_leaves(lambda array: np.concatenate([array] * updates), data.nest)
    history = model.fit(x, y, sample_weight=weights, batch_size=SIZE, shuffle=False, verbose=0).history
    return numbers(model.weights), {name: np.asarray(values[0]) for name, values in history.items()}


def require_equal(
    make: Callable[[], Any], data: Batch, *, cuts: Any = CUTS, updates: int = 1, rel: float = 1e-5
) -> None:
    keras.utils.set_random_seed(1)
    expected, logs = keras_own(make(), data, updates)
    keras.utils.set_random_seed(1)
    model = make()
    engine = TensorFlowEngine(model, data[:2])
    start = state(model)
    for cut in cuts:
        put_back(model, start)
        model.reset_metrics()
        for _ in range(updates):
            ours = update(engine, data, cut)
        for one, other in zip(numbers(model.weights), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=rel, atol=rel, err_msg=str(cut))
        assert ours.keys() == logs.keys()
        for name, value in logs.items():
            np.testing.assert_allclose(np.asarray(ours[name]), value, rtol=rel, atol=1e-6, err_msg=f"{name} {cut}")


@pytest.mark.parametrize("kind", MASKS)
def test_what_masks_leave_out_counts_for_nothing_in_any_cut(kind: str) -> None:
    """Seen to fail with every mean taken for one over samples."""
    require_equal(*MASKS[kind])


@pytest.mark.usefixtures("trials_here")
def test_a_training_counts_what_masks_leave_of_the_whole_update() -> None:
    """Seen to fail with what the loop counts left out."""
    expected, _ = keras_own(embedded(), IDS)
    model = embedded()
    model.set_weights(expected)
    reference = keras.models.clone_model(model)
    reference.compile(keras.optimizers.SGD(0.1), "mse")
    reference.set_weights(expected)
    keras_own(reference, IDS)
    autobatch.fit(model, (IDS.x, IDS.y), batch_size=SIZE, max_batch_size=20, shuffle=False, verbose=0, cache=False)
    for one, other in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("trials_here")
def test_what_cannot_be_cut_is_run_whole_and_says_so_or_is_refused() -> None:
    """Seen to fail with the note left out."""
    model, data = with_loss("Dice")
    report = autobatch.fit(model, (data.x, data.y), batch_size=SIZE, verbose=0, cache=False).autobatch
    assert report.micro_batch_size == SIZE
    assert [note for note in report.notes if "run whole" in note and "changed the gradient" in note]
    model, data = with_loss("Dice")
    before = numbers(model.weights)
    with pytest.raises(ModelError, match="must not be cut"):
        autobatch.fit(model, (data.x, data.y), batch_size=SIZE, max_batch_size=20, verbose=0, cache=False)
    assert all(map(np.array_equal, numbers(model.weights), before))


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.usefixtures("trials_here")
def test_a_frozen_model_is_run_and_learns_nothing_as_with_keras() -> None:
    """Seen to fail with models refused that have nothing to train."""

    def frozen() -> Any:
        model = embedded()
        model.trainable = False
        model.compile("adam", "mse", metrics=["mae"])
        return model

    require_equal(frozen, IDS)
    report = autobatch.fit(frozen(), (IDS.x, IDS.y), batch_size=SIZE, max_batch_size=20, verbose=0, cache=False)
    assert any("no trainable weights" in note for note in report.autobatch.notes)


@functools.cache
def masked_engine() -> tuple[Any, Any, Any]:
    keras.utils.set_random_seed(1)
    model, reference = embedded(), embedded()
    keras_own(reference, IDS)
    return TensorFlowEngine(model, IDS[:2]), state(model), reference


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_masks_of_any_kind_in_any_cut(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, LENGTH), min_size=SIZE, max_size=SIZE))
    left, cut = SIZE, []
    while left:
        cut.append(data.draw(st.integers(1, left)))
        left -= cut[-1]
    batch = Batch(ids_of(lengths), TARGETS)
    engine, start, reference = masked_engine()
    put_back(engine._model, start)
    put_back(reference, start)
    expected, _ = keras_own(reference, batch)
    update(engine, batch, cut)
    for one, other in zip(numbers(engine._model.weights), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


class MasksByItself(keras.Model):
    """Tells nobody beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        outputs = self.dense(inputs)
        outputs._keras_mask = keras.ops.not_equal(inputs[..., 0], 0)
        return outputs


def test_a_mask_that_only_the_run_shows_is_refused() -> None:
    """Seen to fail with masks that were not counted let through."""
    model = MasksByItself()
    model.compile("sgd", "mse")
    engine = TensorFlowEngine(model, ROWS[:2])
    assert not engine.needs_divisors
    with pytest.raises(ModelError, match="A mask that only the run has shown"):
        update(engine, ROWS, (24, 24))
    update(engine, ROWS, (48,))


LOSSES = sorted(
    name for name, item in vars(keras.losses).items() if inspect.isclass(item) and item is not keras.losses.Loss
)
COUPLING = {"Dice", "Tversky", "Circle"}
ONE_HOT = np.eye(4, dtype=np.float32)[DRAW.integers(0, 4, SIZE)]
SOFT = 0.9 * ONE_HOT + 0.025
INPUTS = DRAW.normal(size=(SIZE, 6)).astype(np.float32)
NUMBERS = ONE_HOT.argmax(axis=1)
LOSS_TARGETS = {
    "SparseCategoricalCrossentropy": NUMBERS,
    "Circle": NUMBERS,
    "CategoricalGeneralizedCrossEntropy": NUMBERS,
}


def with_loss(name: str, **options: Any) -> tuple[Any, Batch]:
    keras.utils.set_random_seed(1)
    loss = getattr(keras.losses, name)()
    inputs = keras.Input((6,))
    if name == "CTC":
        outputs = layers.Reshape((6, 5))(layers.Dense(30)(inputs))
        return compiled(inputs, outputs, loss, **options), Batch(INPUTS, np.tile([1, 2, 3, 1], (SIZE, 1)))
    model = compiled(inputs, layers.Dense(4, "sigmoid")(inputs), loss, **options)
    return model, Batch(INPUTS, LOSS_TARGETS.get(name, SOFT))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_keras_may_be_cut_or_is_found_to_couple_samples(name: str, monkeypatch: Any) -> None:
    """Seen to fail with `dice` in the list of losses that give one value a sample."""
    model, data = with_loss(name, run_eagerly=True)
    engine = TensorFlowEngine(model, data[:2])
    known = cut_check.is_known(model)
    monkeypatch.setattr(cut_check, "is_known", lambda *_: False)
    refused = engine.check_cut(data, 8).why_whole is not None
    assert refused == (name in COUPLING)
    assert not (known and refused)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - COUPLING))
def test_every_loss_of_keras_that_may_be_cut_comes_out_the_same(name: str) -> None:
    _, data = with_loss(name)
    require_equal(lambda: with_loss(name)[0], data, cuts=CUTS[1:])


METRICS = {
    name: item
    for name, item in vars(keras.metrics).items()
    if inspect.isclass(item) and issubclass(item, keras.metrics.Metric)
}
NO_METRICS = {"Metric", "Mean", "Sum", "MeanMetricWrapper"}  # bases, which take values instead of targets
METRIC_ARGUMENTS: dict[str, dict[str, Any]] = {
    "IoU": {"num_classes": 2, "target_class_ids": [0]},
    "MeanIoU": {"num_classes": 2},
    "OneHotIoU": {"num_classes": 4, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 4},
    "BinaryIoU": {},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "MeanRelativeError": {"normalizer": [1.0] * 4},
}
OF_NUMBERS = {"SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy"}


def metrics_of(names: Any) -> list[Any]:
    return [METRICS[name](name=name, **METRIC_ARGUMENTS.get(name, {})) for name in sorted(names)]


@pytest.mark.parametrize("of_numbers", [False, True], ids=["one-hot", "numbers"])
def test_every_metric_of_keras_comes_out_the_same(of_numbers: bool) -> None:
    """Seen to fail with a metric of one's own among them that is the last micro-batch's alone."""
    names = OF_NUMBERS if of_numbers else METRICS.keys() - NO_METRICS - OF_NUMBERS
    loss = "sparse_categorical_crossentropy" if of_numbers else "categorical_crossentropy"
    data = Batch(INPUTS, NUMBERS if of_numbers else ONE_HOT)

    def make() -> Any:
        inputs = keras.Input((6,))
        return compiled(inputs, layers.Dense(4, "softmax")(inputs), loss, metrics_of(names))

    require_equal(make, data, cuts=CUTS[2:3])


def spread(y_true: Any, y_pred: Any) -> Any:
    """One value for the batch, which is no mean over samples."""
    del y_true
    return keras.ops.std(y_pred)


def mean_error(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


class Tracked(keras.Model):
    """Keeps the mean of its losses by itself, a number a batch."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.tracker = keras.metrics.Mean(name="tracked")

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        )
        self.tracker.update_state(loss)
        return {"tracked": self.tracker.result()}


def test_a_mean_of_one_number_a_batch_comes_out_the_same() -> None:
    """Seen to fail with each micro-batch counted alike."""

    def make() -> Any:
        inputs = keras.Input((6,))
        return compiled(inputs, layers.Dense(4)(inputs), "mse", [mean_error])

    def tracked() -> Any:
        inputs = keras.Input((6,))
        model = Tracked(inputs, layers.Dense(4)(inputs))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    data = Batch(INPUTS, ONE_HOT)
    require_equal(make, data, updates=3)
    require_equal(tracked, data, updates=3)


def test_a_metric_that_is_no_mean_is_noted() -> None:
    """Seen to fail with only gradients compared."""
    inputs = keras.Input((6,))
    model = compiled(inputs, layers.Dense(4)(inputs), "mse", [mean_error, spread], run_eagerly=True)
    check = TensorFlowEngine(model, Batch(INPUTS, ONE_HOT)[:2]).check_cut(Batch(INPUTS, ONE_HOT), 8)
    assert check.why_whole is None
    (note,) = check.notes
    assert "spread" in note
    assert "mean_error" not in note


@pytest.mark.parametrize("place", [None, 0, 23, 45], ids=str)
def test_half_precision_overflows_where_the_whole_batch_does(place: int | None) -> None:
    """Seen to fail with the share applied to the gradient, after the backward pass has overflowed."""

    def make() -> Any:
        inputs = keras.Input((6,))
        hidden = layers.Dense(8, "relu", dtype="mixed_float16")(inputs)
        outputs = layers.Dense(4, dtype="mixed_float16")(hidden)
        model = keras.Model(inputs, layers.Activation("linear", dtype="float32")(outputs))
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2.0**17)
        model.compile(optimizer, "mse")
        return model

    x = INPUTS.copy()
    if place is not None:
        x[place] *= 3000
    require_equal(make, Batch(x, ONE_HOT), updates=3, rel=2e-3)
