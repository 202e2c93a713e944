"""`autobatch.evaluate` gives what `model.evaluate` gives, whatever the size, and whatever happens on the way."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import write_pictures
from inference import SIDE, Fragile, keras_evaluate, one_output, pixels, two_inputs, two_outputs
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import compiled, numbers

from autobatch.infer.evaluate import evaluate

COUNT = 21
X = pixels(COUNT)
LABELS = np.arange(COUNT) % 2
Y = np.eye(2, dtype=np.float32)[LABELS]
WEIGHTS = np.linspace(0.1, 3.0, COUNT).astype(np.float32)


def ours(model: Any, data: Any, source: Any = None, **options: Any) -> dict[str, float]:
    return evaluate(model, data, source, **({"cache": False, "verbose": 0} | options))


def assert_same(one: dict[str, float], other: dict[str, float]) -> None:
    assert list(one) == list(other)
    assert one == pytest.approx(other, rel=2e-5)


def classifier() -> Any:
    return compiled(one_output(), metrics=["accuracy", keras.metrics.AUC(name="auc")])


def two_headed() -> Any:
    losses, weights = {"wide": "mse", "flat": "mae"}, {"wide": 0.3, "flat": 2.0}
    model = two_outputs(lambda a, b: {"wide": a, "flat": b})
    return compiled(model, loss=losses, loss_weights=weights, metrics={"flat": ["mae"]})


TARGETS = {"wide": pixels(COUNT, 1)[:, :4, :4, :1].repeat(4, -1), "flat": Y}
BY_WEIGHT = keras.losses.CategoricalCrossentropy(reduction="mean_with_sample_weight")
CASES = {
    "one output": (classifier, (X, Y)),
    "sample weights": (lambda: compiled(one_output(), weighted_metrics=["accuracy"], metrics=None), (X, Y, WEIGHTS)),
    "a loss that divides by the weights": (lambda: compiled(one_output(), loss=BY_WEIGHT), (X, Y, WEIGHTS)),
    "a sum": (lambda: compiled(one_output(), loss=keras.losses.CategoricalCrossentropy(reduction="sum")), (X, Y)),
    "several outputs": (two_headed, (X, TARGETS)),
    "several inputs": (
        lambda: compiled(two_inputs(names=True), loss="mse", metrics=["mae"]),
        ({"picture": X, "numbers": X[:, 0, 0]}, Y),
    ),
}
SIZES: dict[str, dict[str, Any]] = {
    "a number, the last step short": {"batch_size": 8},
    "in small micro-batches": {"batch_size": 8, "max_batch_size": 3},
    "some steps": {"batch_size": 4, "steps": 2},
}


@pytest.mark.parametrize(
    ("what", "size"),
    [(what, "in small micro-batches") for what in CASES]
    + [("a loss that divides by the weights", "a number, the last step short"), ("several outputs", "some steps")],
)
def test_metrics_are_those_of_keras(what: str, size: str) -> None:
    """At the same number of samples a step. Seen to fail with the micro-batches of a step counted alike."""
    make, data = CASES[what]
    model, options = make(), SIZES[size]
    x, y, weight = (*data, None)[:3]
    steps, samples = options.get("steps"), options["batch_size"]
    # As a graph: run eagerly, Keras weights the losses of several outputs by the samples of each step.
    expected = model.evaluate(x, y, sample_weight=weight, batch_size=samples, steps=steps, verbose=0, return_dict=True)
    assert_same(ours(model, data, **options), expected)


@pytest.mark.parametrize(("size", "data"), [("auto", ((X, Y),)), ("largest", (X, Y))], ids=["auto", "largest"])
def test_a_size_that_is_found_gives_the_same(size: str, data: tuple[Any, ...]) -> None:
    model = compiled(one_output())
    assert_same(ours(model, *data, batch_size=size), keras_evaluate(model, X, Y))


def test_nothing_needs_to_be_trainable_and_no_optimizer_is_built() -> None:
    """Seen to fail with the model refused as one that cannot be trained."""
    model = one_output()
    model.trainable = False
    compiled(model, optimizer="adam")
    before = numbers(model.variables)
    assert_same(ours(model, (X, Y)), keras_evaluate(model, X, Y))
    assert not model.optimizer.built
    assert [a.tobytes() for a in numbers(model.variables)] == [b.tobytes() for b in before]


def test_a_step_that_runs_out_of_memory_is_redone_smaller() -> None:
    """Metrics count no sample twice. Seen to fail with the metrics not rolled back."""
    fragile = Fragile()
    model = one_output(keras.Sequential([Before(), fragile]))
    compiled(model)
    expected = keras_evaluate(model, X, Y, batch_size=8)

    class Tightens(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                fragile.sizes.clear()
                fragile.fails = lambda size: size > 2

    got = ours(model, (X, Y), batch_size=8, callbacks=[Tightens()])
    assert_same(got, expected)
    assert (max(fragile.sizes), sum(fragile.sizes)) == (2, COUNT - 8)


class Before(keras.layers.Layer):
    """Counts the samples in a metric of its own, before anything fails."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = keras.metrics.Sum(name="seen")

    def call(self, inputs: Any) -> Any:
        self.seen.update_state(keras.ops.sum(keras.ops.ones_like(inputs[:, 0, 0, 0])))
        return inputs


def test_pictures_of_a_folder_are_evaluated_as_they_are(tmp_path: Path) -> None:
    """All of them, not transformed at random. Seen to fail with only the part for training evaluated."""
    folder = write_pictures(tmp_path / "pictures", 6, 7, side=SIDE)
    plain = ImageDataGenerator(rescale=1 / 255)
    wild = ImageDataGenerator(rescale=1 / 255, rotation_range=90, horizontal_flip=True, validation_split=0.3)
    model = compiled(one_output())
    flow = plain.flow_from_directory(folder, (SIDE, SIDE), shuffle=False, batch_size=4)
    assert_same(ours(model, wild, folder), keras_evaluate(model, flow))


def test_a_stream_is_evaluated_to_its_end() -> None:
    model = compiled(one_output())
    stream = ((X[start : start + 5], Y[start : start + 5]) for start in range(0, COUNT, 5))
    expected = keras_evaluate(model, X, Y, batch_size=8)
    assert_same(ours(model, stream, batch_size=8, max_batch_size=3), expected)


def test_the_metrics_of_the_model_are_left_as_keras_leaves_them() -> None:
    """Trials leave nothing in them."""
    mine, theirs = compiled(one_output()), compiled(one_output())
    ours(mine, (X, Y), batch_size=8)
    keras_evaluate(theirs, X, Y, batch_size=8)
    for one, other in zip(mine.metrics, theirs.metrics, strict=True):
        for a, b in zip(one.variables, other.variables, strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)


@pytest.mark.usefixtures("trials_here")
def test_a_metric_that_a_cut_changes_is_named(capsys: Any) -> None:
    """Seen to fail with evaluations left untried."""

    def spread(y_true: Any, y_pred: Any) -> Any:
        del y_true
        return keras.ops.std(y_pred)

    model = compiled(one_output(), metrics=[spread])
    ours(model, (X, Y), batch_size=COUNT, max_batch_size=8, verbose=2)
    assert "computed for a batch at a time: spread" in " ".join(capsys.readouterr().out.split())
    ours(model, (X, Y), batch_size=COUNT, verbose=2)
    assert "at a time" not in capsys.readouterr().out
