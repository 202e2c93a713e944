"""Trials of an evaluation and of a prediction: they run that step alone, leave no trace, and share no answers."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from inference import Fragile, keras_evaluate, keras_predict, one_output
from nets import compiled, conv_net, pictures

from autobatch.backend import current_backend
from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow.forward import TensorFlowForwardEngine
from autobatch.data.batch import Batch
from autobatch.errors import ModelError
from autobatch.infer.evaluate import evaluate
from autobatch.infer.predict import predict
from autobatch.probing.cache import Cache, cache_key
from autobatch.probing.recall import fingerprint
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials import executor
from autobatch.probing.trials.executor import InProcessTrials
from autobatch.probing.trials.measure import TrialMeasurer
from autobatch.probing.trials.serialize import deserialize, serialize
from autobatch.probing.trials.steps import warm_up_forward
from autobatch.probing.tuner import find_batch_size
from autobatch.results.trial import Outcome
from autobatch.testing import memory_reading

SAMPLES = pictures(6)
STEPS = ("train", "evaluate", "predict")


def state(model: Any) -> list[bytes]:
    return [bytes(variable.read()) for variable in current_backend().state_variables(model)]


class Draws(keras.layers.Layer):
    """Has a seed that every call moves, in inference, too."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)

    def get_config(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("step", ["evaluate", "predict"])
def test_a_trial_leaves_the_model_as_it_was(step: Any) -> None:
    """Metrics and seeds included. Seen to fail with the trial run outside of what puts the model back."""
    model = compiled(keras.Sequential([keras.Input((12, 12, 3)), Draws(), *conv_net(norm=True).layers]))
    keras_evaluate(model, SAMPLES.x, SAMPLES.y)
    place = InProcessTrials(model, SAMPLES, step)
    before, numpy_state = state(model), np.random.get_state()[1].tolist()
    for size in (4, 2):
        assert place.trial(size, {}, timeout_s=60).outcome is Outcome.RAN
    assert state(model) == before
    assert np.random.get_state()[1].tolist() == numpy_state


@pytest.mark.parametrize("step", ["evaluate", "predict"])
def test_a_trial_that_runs_out_of_memory_leaves_the_model_as_it_was(step: Any) -> None:
    fragile = Fragile()
    model = compiled(keras.Sequential([keras.Input((12, 12, 3)), Draws(), fragile, *conv_net(norm=True).layers]))
    place = InProcessTrials(model, SAMPLES, step)
    before = state(model)
    fragile.fails = lambda size: size > 2
    assert place.trial(4, {}, timeout_s=60).outcome is Outcome.OUT_OF_MEMORY
    assert state(model) == before
    assert place.trial(2, {}, timeout_s=60).outcome is Outcome.RAN


@pytest.mark.parametrize("evaluates", [True, False], ids=["evaluate", "predict"])
def test_a_warm_up_leaves_the_model_as_it_was(evaluates: bool) -> None:
    """Metrics and seeds included. Seen to fail with nothing put back after the run."""
    model = compiled(keras.Sequential([keras.Input((12, 12, 3)), Draws(), *conv_net().layers]))
    engine = TensorFlowForwardEngine(model, SAMPLES, evaluates=evaluates)
    before = state(model)
    warm_up_forward(engine, SAMPLES, evaluates=evaluates)
    assert state(model) == before


def test_the_engine_undoes_a_step_that_failed() -> None:
    """Seen to fail with the backup left where it is."""
    fragile = Fragile()
    model = compiled(keras.Sequential([keras.Input((12, 12, 3)), Draws(), fragile, *conv_net().layers]))
    engine = TensorFlowForwardEngine(model, SAMPLES, evaluates=True)
    engine.evaluate(SAMPLES, BatchTotals(SAMPLES.size))
    before = state(model)
    fragile.fails = lambda size: True
    with pytest.raises(MemoryError):
        engine.evaluate(SAMPLES, BatchTotals(SAMPLES.size))
    with pytest.raises(MemoryError):
        engine.predict(SAMPLES)
    assert state(model) == before


def test_answers_of_each_kind_of_step_are_kept_apart() -> None:
    """Seen to fail with the size that a prediction allows taken for a training."""
    model = compiled(conv_net())
    keys = set()
    for step in STEPS:
        question = ProbeRequest("auto", cap=8, step=step)
        keys.add(cache_key(fingerprint(model, SAMPLES, memory_reading(), question.lasting(), step) or {}))
    assert len(keys) == len(STEPS)


def test_for_predictions_it_does_not_matter_how_a_model_is_compiled() -> None:
    samples = Batch(SAMPLES.x)
    texts = []
    for model in (conv_net(), compiled(conv_net()), compiled(conv_net(), loss="mse", optimizer="adam")):
        parts = fingerprint(model, samples, memory_reading(), {}, "predict")
        assert parts is not None
        texts.append(cache_key({**parts, "compile": None}))
    assert len(set(texts)) == 1


@pytest.mark.usefixtures("trials_here")
def test_an_answer_is_kept_and_used(tmp_path: Path) -> None:
    model, question = compiled(conv_net()), ProbeRequest("largest", cap=4, step="predict")
    assert not find_batch_size(model, SAMPLES, question, cache=Cache(tmp_path)).from_cache
    assert find_batch_size(model, SAMPLES, question, cache=Cache(tmp_path)).from_cache


def test_several_replicas_are_refused() -> None:
    class Replicated:
        compiled = True

        class distribute_strategy:  # noqa: N801
            num_replicas_in_sync = 2

    with pytest.raises(ModelError, match="2 replicas"):
        predict(Replicated(), SAMPLES.x)


def normed() -> Any:
    return conv_net(norm=True, dropout=0.5)


@pytest.mark.slow
def test_a_prediction_is_tried_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with a model that came back uncompiled refused."""
    model, data = normed(), pictures(50)
    result = find_batch_size(model, data[:6], ProbeRequest("largest", cap=50, step="predict"))
    assert {trial.where for trial in result.trials} == {"worker"}
    assert result.batch_size == 50
    monkeypatch.setattr(executor, "SUPPORTED", False)  # what is tried from here on is tried here: it takes less time
    got = predict(model, data.x, cache=False, verbose=0)
    np.testing.assert_allclose(got, keras_predict(model, data.x), rtol=1e-5, atol=1e-7)


def test_an_evaluation_is_rebuilt_and_tried_as_in_a_worker(tmp_path: Path) -> None:
    model = compiled(normed())
    rebuilt, samples = deserialize(serialize(model, SAMPLES, tmp_path, "evaluate"))
    before = state(model)
    assert TrialMeasurer(rebuilt, samples, "evaluate").run(4, {})["seconds"]
    assert state(model) == before
    got = evaluate(model, (SAMPLES.x, SAMPLES.y), cache=False, verbose=0)
    assert got == pytest.approx(keras_evaluate(model, SAMPLES.x, SAMPLES.y), rel=1e-5)


def test_a_model_that_cannot_travel_is_tried_here() -> None:
    model = one_output(Fragile())
    result = find_batch_size(
        model, Batch(np.zeros((4, 6, 6, 3), np.float32)), ProbeRequest("largest", cap=16, step="predict")
    )
    assert {trial.where for trial in result.trials} == {"caller"}
