"""`fit(batch_statistics=G)`: the same training at any micro-batch size, for nets with BatchNormalization, too."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from nets import Here, compiled, conv_net, numbers, pictures, relative_l2

import autobatch
from autobatch.errors import ArgumentError, ModelError
from autobatch.probing.trials.executor import Executor
from autobatch.probing.trials.ipc import Reply
from autobatch.results.trial import Outcome

DATA = pictures(44, side=6)
HELD_OUT = pictures(10, side=6, seed=3)


def net(norm: Any = None) -> Any:
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((6, 6, 3)),
        Here(),
        keras.layers.Conv2D(4, 3),
        norm or keras.layers.BatchNormalization(momentum=0.8),
        keras.layers.Flatten(),
        keras.layers.Dense(4, activation="softmax"),
    ]
    return compiled(keras.Sequential(layers), run_eagerly=True)


def fit(model: Any = None, **options: Any) -> tuple[Any, Any]:
    model = model or net()
    options = {"batch_size": 32, "batch_statistics": 8, "epochs": 2, "seed": 1, "cache": False, "verbose": 0} | options
    return model, autobatch.fit(model, (DATA.x, DATA.y), validation_data=(HELD_OUT.x, HELD_OUT.y), **options)


@pytest.fixture(scope="module")
def whole() -> tuple[Any, Any]:
    return fit()


@pytest.mark.parametrize("most", [24, 16, 9])
def test_a_training_is_the_same_at_any_micro_batch_size(most: int, whole: tuple[Any, Any]) -> None:
    """Logs of validation, too. Seen to fail with cuts through groups, and with trials alone that group."""
    model, history = fit(max_batch_size=most)
    run = history.autobatch
    assert (run.effective_batch_size, run.micro_batch_size) == (32, 16 if most == 24 else most // 8 * 8)
    assert relative_l2(numbers(model.weights), numbers(whole[0].weights)) < 1e-5
    ours, theirs = ({n: v for n, v in one.history.items() if "/" not in n} for one in (history, whole[1]))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values == pytest.approx(theirs[name], rel=1e-5)


def test_without_it_the_micro_batch_shows_and_the_note_names_it(whole: tuple[Any, Any]) -> None:
    model, history = fit(batch_statistics="micro", max_batch_size=8)
    assert relative_l2(numbers(model.weights), numbers(whole[0].weights)) > 1e-3
    assert any("batch_statistics=16 takes them over groups" in note for note in history.autobatch.notes)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.optimizer.iterations == 3:
            raise KeyboardInterrupt


def test_a_resumed_training_ends_as_one_that_was_not_interrupted(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=tmp_path, checkpoint_every_s=1e-9, callbacks=[Interrupt()], max_batch_size=16)
    with pytest.raises(ArgumentError, match=r"batch_statistics=4. Expected 8"):
        fit(checkpoint=tmp_path, batch_statistics=4)
    model, _ = fit(checkpoint=tmp_path, max_batch_size=8)
    assert relative_l2(numbers(model.weights), numbers(whole[0].weights)) < 1e-5


@pytest.mark.parametrize("batch_size", ["auto", "largest"])
def test_a_size_that_is_found_is_of_whole_groups(batch_size: str) -> None:
    _, history = fit(batch_size=batch_size, epochs=1, batch_statistics=16)
    assert history.autobatch.effective_batch_size in {16, 32}


def test_a_batch_that_follows_memory_is_of_whole_groups() -> None:
    sizes: list[int] = []
    model = net()
    train_step = model.train_step
    model.train_step = lambda data: (sizes.append(len(data[0])), train_step(data))[1]
    _, history = fit(model, on_memory_pressure="resize", max_batch_size=20, epochs=1)
    assert history.autobatch.micro_batch_size == 16
    assert sizes[-3:] == [16, 16, 12]


def test_what_it_does_is_said() -> None:
    for norm, words in (
        (None, "normalise by groups of 12 samples (the last group of each update has 8)"),
        (keras.layers.LayerNormalization(), "batch_statistics=12 has no effect"),
    ):
        _, history = fit(net(norm), batch_statistics=12, epochs=1)
        assert any(words in note for note in history.autobatch.notes)


class Centered(keras.layers.Layer):
    """Has batch statistics of its own."""

    def call(self, inputs: Any) -> Any:
        return inputs - keras.ops.mean(inputs, axis=0)


def test_other_layers_that_compare_samples_are_found_out_by_trying() -> None:
    with pytest.raises(ModelError, match="must not be cut"):
        fit(net(Centered()), max_batch_size=16)


def test_what_cannot_be_had_is_refused_before_anything_runs() -> None:
    with pytest.raises(ArgumentError, match="max_batch_size=4 with batch_statistics=8"):
        fit(max_batch_size=4)
    with pytest.raises(ModelError, match="'renormed'"):
        fit(net(keras.layers.BatchNormalization(renorm=True, name="renormed")))


class Told:
    """Stands in for the process of the trials."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.payload = folder, {}

    def open(self, payload: dict[str, Any], timeout_s: float) -> Reply:
        del timeout_s
        self.payload = payload
        return Reply(Outcome.RAN)

    def close(self) -> None:
        """There is nothing to close."""


def test_trials_run_the_step_of_the_training_wherever_they_run(tmp_path: Path) -> None:
    """Seen to fail with trials whose statistics are those of the micro-batch."""
    worker: Any = Told(tmp_path)
    Executor(compiled(conv_net(norm=True)), pictures(2), open_timeout_s=1.0, worker=worker, group=8).close()
    assert worker.payload["group"] == 8
    renormed = net(keras.layers.BatchNormalization(renorm=True, name="renormed"))
    with pytest.raises(ModelError, match="'renormed'"):
        Executor(renormed, DATA[:2], open_timeout_s=1.0, group=8)


def test_samples_are_all_used(whole: tuple[Any, Any]) -> None:
    assert np.isfinite(whole[1].history["val_loss"]).all()
    assert int(whole[0].optimizer.iterations) == 4
