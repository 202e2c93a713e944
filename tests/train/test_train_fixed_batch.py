"""Models that take one number of samples at once: by their `Input`, or because state goes from batch to batch."""

from typing import Any

import keras
import numpy as np
import pytest
from nets import Here, numbers, relative_l2

import autobatch
from autobatch.data.model_spec import carried_states, fixed_batch_size
from autobatch.errors import ArgumentError

FIXED = 6
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(24, 4, 3)).astype(np.float32)
Y = GENERATOR.normal(size=(24, 1)).astype(np.float32)


def stateful(*, eagerly: bool = True) -> Any:
    """State goes from each batch to the next."""
    return made(lambda: keras.layers.SimpleRNN(3, stateful=True), eagerly=eagerly)


def declared(*, eagerly: bool = True) -> Any:
    """Nothing but its `Input` says that the size is fixed."""
    return made(keras.layers.Flatten, eagerly=eagerly)


def written_out() -> Any:
    """A shape in it holds the size."""
    return made(lambda: keras.layers.Lambda(lambda x: keras.ops.reshape(x, (FIXED, 12))))


def made(layer: Any, *, eagerly: bool = True) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(batch_shape=(FIXED, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(layer()(Here()(inputs))))
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
    return model


def carried(model: Any) -> list[Any]:
    """Weights, and the state that goes on."""
    return numbers([*model.trainable_variables, *(s for layer in model.layers for s in carried_states(layer))])


class Own(keras.Model):
    """Tells nothing of its inputs; its state does, once there is some."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.dense = keras.layers.SimpleRNN(3, stateful=True), keras.layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(self.recurrent(x))

    def get_config(self) -> Any:
        raise NotImplementedError


def own() -> Any:
    keras.utils.set_random_seed(1)
    model = Own()
    model(X[:FIXED])
    model.recurrent.reset_state()
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    return model


def fit(model: Any, data: Any = (X, Y), **options: Any) -> Any:
    return autobatch.fit(model, data, **{"shuffle": False, "verbose": 0, "cache": False} | options)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        pytest.param(lambda: stateful(eagerly=False), {}, marks=pytest.mark.slow),
        (stateful, {"batch_size": "largest", "validation_data": (X[:12], Y[:12])}),
        (stateful, {"batch_size": FIXED, "max_batch_size": 100, "validation_data": (X[:12], Y[:12])}),
        (declared, {"batch_size": [(0, FIXED)]}),
        (written_out, {}),
        (own, {}),
    ],
)
def test_it_trains_at_that_size_alone_and_as_keras_does(make: Any, options: dict[str, Any]) -> None:
    """Over two epochs, validation between them: what is carried over is, too.

    Seen to fail with the state that a trial had left.
    """
    ours, theirs = make(), make()
    validation = {"validation_data": options.get("validation_data"), "validation_batch_size": FIXED}
    expected = theirs.fit(X, Y, batch_size=FIXED, shuffle=False, epochs=2, verbose=0, **validation)
    history = fit(ours, epochs=2, **options)
    assert relative_l2(carried(ours), carried(theirs)) < 1e-5
    for name, values in expected.history.items():
        assert history.history[name] == pytest.approx(values, rel=1e-5)
    report = history.autobatch
    assert (report.effective_batch_size, report.micro_batch_size) == (FIXED, FIXED)
    assert {trial.size for trial in report.probe.trials} == {FIXED}
    assert any(f"batches of {FIXED} samples and no others" in note for note in report.notes)


def test_a_short_last_batch_is_trained_on_where_keras_can() -> None:
    ours, theirs = declared(), declared()
    theirs.fit(X[:20], Y[:20], batch_size=FIXED, shuffle=False, verbose=0)
    fit(ours, (X[:20], Y[:20]))
    assert relative_l2(carried(ours), carried(theirs)) < 1e-5


@pytest.mark.parametrize(
    ("make", "samples", "options", "received"),
    [
        (stateful, 24, {"batch_size": 24}, "batch_size=24"),
        (declared, 24, {"batch_size": 3}, "batch_size=3"),
        (declared, 24, {"batch_size": [(0, 3), (1, FIXED)], "epochs": 2}, "batch_size=3"),
        (declared, 24, {"max_batch_size": 4}, "max_batch_size=4"),
        (declared, 24, {"validation_data": (X, Y), "validation_batch_size": 4}, "validation_batch_size=4"),
        (declared, 24, {"on_memory_pressure": "resize"}, "on_memory_pressure='resize'"),
        (stateful, 20, {}, "20 samples in data"),
        (written_out, 20, {}, "20 samples in data"),
        (stateful, 24, {"validation_data": (X[:8], Y[:8])}, "8 samples in validation_data"),
        (stateful, 4, {}, "4 samples in data"),
    ],
)
def test_any_other_size_is_refused_in_one_sentence(
    make: Any, samples: int, options: dict[str, Any], received: str
) -> None:
    """Seen to fail with the inner message of Keras about a batch that nobody had asked for."""
    model = make()
    before = carried(model)
    with pytest.raises(ArgumentError) as caught:
        fit(model, (X[:samples], Y[:samples]), **options)
    assert f"batches of {FIXED} samples and no others" in str(caught.value)
    assert f"Received: {received}" in str(caught.value)
    assert relative_l2(carried(model), before) == 0


@pytest.mark.slow
def test_probe_evaluate_and_predict_use_that_size() -> None:
    result = autobatch.probe(stateful(), (X, Y), cache=False)
    assert (result.batch_size, {trial.size for trial in result.trials}) == (FIXED, {FIXED})
    assert f"{FIXED} is the only size that the model takes." in result.reasons
    ours, theirs = stateful(), stateful()
    assert np.allclose(
        autobatch.predict(ours, X, verbose=0, cache=False), theirs.predict(X, batch_size=FIXED, verbose=0), atol=1e-6
    )
    expected = theirs.evaluate(X, Y, batch_size=FIXED, verbose=0, return_dict=True)
    assert autobatch.evaluate(ours, (X, Y), verbose=0, cache=False) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ArgumentError, match="20 samples in data"):
        autobatch.predict(ours, X[:20], verbose=0, cache=False)
    assert len(autobatch.predict(ours, X[:20], steps=3, verbose=0, cache=False)) == 3 * FIXED


@pytest.mark.parametrize(
    ("make", "size"), [(stateful, FIXED), (declared, FIXED), (own, FIXED), (keras.Sequential, None)]
)
def test_the_size_is_read_from_the_model(make: Any, size: int | None) -> None:
    assert fixed_batch_size(make()) == size


def test_what_a_model_is_first_called_on_fixes_nothing() -> None:
    """Seen to fail with the `Input` that Keras makes then taken for the user's, and with models built on a number."""
    for called in (True, False):
        model = keras.Sequential([Here(), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        if called:
            model(X[:8])
        fit(model, (X, Y), batch_size=5, max_batch_size=3)
        fit(model, (X, Y), batch_size=12)
        assert fixed_batch_size(model) is None
        assert called or model.inputs[0].shape[0] is None
    reshaping = keras.Sequential([keras.Input(batch_shape=(FIXED, 4, 3)), *written_out().layers[2:]])
    assert fixed_batch_size(reshaping) == FIXED
