"""`autobatch.fit` from end to end, on models that stay in this process; one takes the way through a worker."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import tiny_model, write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled, numbers, relative_l2

import autobatch


def stays_here(**options: Any) -> Any:
    """A model whose few steps take less time than tracing them, unless it is told otherwise."""
    options = {"run_eagerly": True, **options}
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((8, 8, 3)),
        Here(),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    return compiled(keras.Sequential(layers), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("fit") / "training", 10, 10)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("fit") / "held out", 6, 6, seed=8)


def fit(model: Any, folder: Path, **options: Any) -> Any:
    options = {"batch_size": 8, "cache": False, "verbose": 0, "shuffle": False, "seed": 1} | options
    return autobatch.fit(model, options.pop("datagen", ImageDataGenerator(rescale=1 / 255)), folder, **options)


def flow(folder: Path, *, batch_size: int = 8, datagen: Any = None, **options: Any) -> Any:
    datagen = datagen or ImageDataGenerator(rescale=1 / 255)
    return datagen.flow_from_directory(folder, (8, 8), batch_size=batch_size, shuffle=False, **options)


WEIGHTED = {"epochs": 2, "class_weight": {0: 0.5, 1: 2.0}}


@pytest.fixture(scope="module")
def by_keras(folder: Path, held_out: Path) -> tuple[Any, Any]:
    """A model that Keras has trained, and its history."""
    model = stays_here(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    return model, model.fit(flow(folder), validation_data=flow(held_out), shuffle=False, verbose=0, **WEIGHTED).history


@pytest.mark.parametrize("micro", [8, 3])
def test_a_training_is_the_one_that_keras_would_do(micro: int, folder: Path, held_out: Path, by_keras: Any) -> None:
    """At the same effective batch and order. Seen to fail with the warm-up's update left in the weights."""
    theirs, expected = by_keras
    ours = stays_here(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), run_eagerly=False)
    history = fit(ours, folder, validation_data=held_out, max_batch_size=micro, **WEIGHTED)
    report = history.autobatch
    assert (report.effective_batch_size, report.micro_batch_size <= micro) == (8, True)
    assert [name for name in history.history if "/" not in name] == list(expected)
    for name, values in expected.items():
        assert history.history[name] == pytest.approx(values, rel=1e-5), name
    assert relative_l2(numbers(ours.variables), numbers(theirs.variables)) < 1e-5
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == 6


@pytest.mark.usefixtures("probed_once")
def test_the_same_seed_gives_the_same_training(folder: Path) -> None:
    """With shuffling and augmentation. Seen to fail with a seed that is drawn anew."""
    datagen = ImageDataGenerator(rescale=1 / 255, rotation_range=30, horizontal_flip=True)

    def weights(seed: int, **options: Any) -> list[np.ndarray]:
        model = stays_here()
        history = fit(model, folder, datagen=datagen, shuffle=True, seed=seed, **options)
        assert history.autobatch.seed == seed
        return numbers(model.variables)

    first = weights(7)
    assert relative_l2(weights(7, workers=3, max_batch_size=3), first) < 1e-5
    assert relative_l2(weights(8), first) > 1e-4


VALIDATION: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda held_out: held_out,
    "a generator and a folder": lambda held_out: (ImageDataGenerator(rescale=1 / 255), held_out),
    "a flow of Keras": flow,
    "arrays": lambda held_out: flow(held_out, batch_size=12)[0],
}


@pytest.mark.usefixtures("probed_once")
@pytest.mark.parametrize("what", VALIDATION)
def test_validation_data_may_be_what_keras_takes_and_folders(what: str, folder: Path, held_out: Path) -> None:
    """Seen to fail with a random transformation of the pictures to validate on."""
    datagen = ImageDataGenerator(rescale=1 / 255, rotation_range=90, width_shift_range=0.5)
    model = stays_here()
    history = fit(model, folder, datagen=datagen, validation_data=VALIDATION[what](held_out))
    expected = model.evaluate(flow(held_out), verbose=0, return_dict=True)
    assert history.history["val_loss"][-1] == pytest.approx(expected["loss"], rel=1e-5)
    assert history.history["val_accuracy"][-1] == pytest.approx(expected["accuracy"])


@pytest.mark.usefixtures("probed_once")
def test_a_split_of_the_generator_is_trained_on_and_validated_on(folder: Path) -> None:
    """Seen to fail with the held-out part trained on as well."""
    datagen = ImageDataGenerator(rescale=1 / 255, validation_split=0.2)
    ours, theirs = stays_here(), stays_here()
    history = fit(ours, folder, datagen=datagen, epochs=2)
    parts = [flow(folder, datagen=datagen, subset=subset) for subset in ("training", "validation")]
    expected = theirs.fit(parts[0], validation_data=parts[1], epochs=2, shuffle=False, verbose=0).history
    assert int(ours.optimizer.iterations) == 4
    for name, values in expected.items():
        assert history.history[name] == pytest.approx(values, rel=1e-5), name


def test_verbose_0_prints_nothing_at_all(folder: Path, held_out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor does any part of Keras. Seen to fail with the choice printed whatever is asked for."""
    model, data = stays_here(), held_out
    capfd.readouterr()
    fit(model, folder, validation_data=data, verbose=0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("probed_once")
def test_verbose_2_prints_what_was_chosen_once_and_then_the_lines_of_keras(
    folder: Path, held_out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail with Keras' own "Found 20 images" let through."""
    model = stays_here()
    capfd.readouterr()
    history = fit(model, folder, validation_data=held_out, verbose=2, epochs=2)
    lines = capfd.readouterr().out.splitlines()
    said = [history.autobatch.chosen(), *history.autobatch.notes]
    assert lines[0].startswith("batch_size=8 (micro-batch 8 x 1). ")
    assert lines[: len(said)] == said
    rest = lines[len(said) :]
    assert rest[::2] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(line.startswith("3/3 - ") and "val_loss" in line for line in rest[1::2])
    assert len(rest) == 4


class BrokenError(Exception):
    pass


@pytest.mark.usefixtures("probed_once")
@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
def test_what_a_callback_raises_passes_and_no_thread_stays(error: type[BaseException], folder: Path) -> None:
    class Raises(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise error

    threads = set(threading.enumerate())
    with pytest.raises(error):
        fit(stays_here(), folder, callbacks=[Raises()])
    assert set(threading.enumerate()) <= threads


@pytest.mark.slow
def test_through_a_worker_the_training_is_the_same(folder: Path) -> None:
    """The probe runs elsewhere, the training here, from the weights that are here."""
    ours, theirs = tiny_model(metrics=None), tiny_model(metrics=None, run_eagerly=True)
    history = fit(ours, folder, epochs=2)
    assert {trial.where for trial in history.autobatch.probe.trials} == {"worker"}
    expected = theirs.fit(flow(folder), epochs=2, shuffle=False, verbose=0).history
    assert history.history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert relative_l2(numbers(ours.variables), numbers(theirs.variables)) < 1e-5
