"""Promise 8: every decision carries its reason and what it rests on; an earlier answer says that it is one."""

import importlib.util
import json
import subprocess
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import tiny_model, tiny_net, write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled, pictures

import autobatch
from autobatch.data.batch import Batch
from autobatch.memory.budget import Reserve
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Device, Driver
from autobatch.probing.cache import cache_key
from autobatch.probing.recall import fingerprint
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials import executor
from autobatch.results.probe import ProbeResult
from autobatch.testing import memory_reading

SAMPLES = pictures(4, side=8, classes=2)
GIB = 2**30


def stays_here() -> Any:
    layers = [keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return compiled(keras.Sequential(layers), run_eagerly=True, metrics=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 6, 6)


def test_a_training_says_what_it_chose_why_and_on_what_it_rests(folder: Path) -> None:
    """Seen to fail with the notes of the probe, those of the pictures, and the reasons left out of the report."""
    datagen = ImageDataGenerator(validation_split=0.25)
    history = autobatch.fit(stays_here(), datagen, folder, batch_size=4, cache=False, verbose=0, seed=5)
    report = history.autobatch
    assert isinstance(report.probe, ProbeResult)
    assert all(isinstance(reading, MemoryReading) for reading in report.readings)
    assert report.readings
    assert (report.effective_batch_size, report.micro_batch_size, report.seed, report.accumulation_steps) == (
        4,
        4,
        5,
        1,
    )
    assert report.probe.reasons
    assert report.chosen().startswith("batch_size=4")
    assert all(reason in report.chosen() for reason in report.probe.reasons)
    notes = " ".join(report.notes)
    for word in ("target_size=(8, 8)", "color_mode='rgb'", "class_mode='categorical'", "subset='training'"):
        assert word in notes
    assert "Trials run in this process, without a deadline" in notes
    assert "this layer stays here" in notes
    for line in (report.chosen(), "seed=5", *report.notes):
        assert line in str(report)


def test_the_report_is_json_and_comes_back(folder: Path) -> None:
    """Seen to fail with a reading handed over as it is."""
    history = autobatch.fit(stays_here(), ImageDataGenerator(), folder, max_batch_size=4, cache=False, verbose=0)
    values = json.loads(json.dumps(history.autobatch.to_dict(), allow_nan=False))
    assert values["probe"]["batch_size"] == values["micro_batch_size"] == values["effective_batch_size"]
    assert ProbeResult.from_dict(values["probe"]).to_dict() == history.autobatch.probe.to_dict()
    assert values["readings"][0]["host"]["total_bytes"] > 0
    assert values["notes"]


def test_every_batch_size_that_is_returned_has_run(folder: Path) -> None:
    """Seen to fail with the cap taken for the answer."""
    for batch_size in ("auto", "largest", 5):
        result = autobatch.probe(stays_here(), ImageDataGenerator(), folder, batch_size=batch_size, cache=False)
        assert result.proof is not None
        assert result.proof.size == result.batch_size


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder; trials run in this process, which is not what matters where this is used."""
    monkeypatch.setattr(executor, "SUPPORTED", False)
    monkeypatch.setenv("AUTOBATCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_earlier_answer_says_that_it_is_one_and_costs_no_process(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with `from_cache` always false, and with nothing kept."""
    first = autobatch.probe(tiny_model(), ImageDataGenerator(), folder, cache=cache)
    assert not first.from_cache
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(executor, "SUPPORTED", True)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    second = autobatch.probe(tiny_model(), ImageDataGenerator(), folder, cache=cache)
    assert second.from_cache
    assert any("earlier probe" in note for note in second.notes)
    assert [trial.size for trial in second.trials] == [trial.size for trial in first.trials]
    assert second.batch_size == first.batch_size


def refuse(*arguments: Any, **options: Any) -> None:
    raise AssertionError("a process was started")


def test_without_a_cache_nothing_is_read_and_nothing_is_written(folder: Path, cache: Path) -> None:
    """Seen to fail with `cache=False` taken for the default folder."""
    model, options = tiny_model(), {"max_batch_size": 2}
    assert not autobatch.probe(model, ImageDataGenerator(), folder, cache=True, **options).from_cache
    kept = {path: path.read_bytes() for path in cache.iterdir()}
    assert len(kept) == 1
    assert not autobatch.probe(model, ImageDataGenerator(), folder, cache=False, **options).from_cache
    assert {path: path.read_bytes() for path in cache.iterdir()} == kept


def test_a_model_without_a_text_is_not_kept_and_says_so(folder: Path, tmp_path: Path) -> None:
    """Seen to fail with such models kept under the text of the others."""
    cache = tmp_path / "cache"
    result = autobatch.probe(stays_here(), ImageDataGenerator(), folder, cache=cache, max_batch_size=2)
    assert not cache.exists()
    assert any("not kept" in note for note in result.notes)


# ---------------------------------------------------------------------------------------------- what an answer rests on


def loss_from(folder: Path, body: str) -> Any:
    """A loss called `mine`, read from a file with this text."""
    path = folder / f"losses_{abs(hash(body))}.py"
    path.write_text(f"import keras\n\n\ndef mine(y_true, y_pred):\n    return {body}\n")
    spec = importlib.util.spec_from_file_location("losses", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mine


def graph_model(**options: Any) -> Any:
    """The tiny model, to be traced."""
    return tiny_model(run_eagerly=False, **options)


def key(
    make: Callable[[], Any] = graph_model,
    *,
    samples: Batch = SAMPLES,
    reading: MemoryReading | None = None,
    question: ProbeRequest | None = None,
    driver: Driver | None = None,
) -> str:
    asked = (question or ProbeRequest("auto", 100)).lasting()
    parts = fingerprint(make(), samples, reading or memory_reading(), asked, driver=lambda: (driver, ()))
    assert parts is not None
    return cache_key(parts)


def frozen() -> Any:
    model = tiny_net()
    model.layers[0].trainable = False
    return compiled(model)


def trained() -> Any:
    model = graph_model()
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(9)
    return model


def under_policy() -> Any:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return graph_model()
    finally:
        keras.config.set_dtype_policy(policy)


def net_with(layer: Any) -> Any:
    layers = [keras.Input((8, 8, 3)), layer, keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return compiled(keras.Sequential(layers))


CHANGES: dict[str, Callable[[], str]] = {
    "a wider layer": lambda: key(lambda: compiled(tiny_net(width=5))),
    "one class more": lambda: key(lambda: compiled(tiny_net(classes=3))),
    "another optimizer": lambda: key(lambda: graph_model(optimizer=keras.optimizers.Adam())),
    "averaged weights": lambda: key(lambda: graph_model(optimizer=keras.optimizers.SGD(0.05, use_ema=True))),
    "another loss": lambda: key(lambda: graph_model(loss="mse")),
    "another metric": lambda: key(lambda: graph_model(metrics=["mae"])),
    "mixed precision": lambda: key(under_policy),
    "XLA": lambda: key(lambda: graph_model(jit_compile=True)),
    "eager": lambda: key(tiny_model),
    "a frozen layer": lambda: key(frozen),
    "larger pictures": lambda: key(samples=pictures(4, side=9, classes=2)),
    "float64 pictures": lambda: key(samples=Batch(SAMPLES.x.astype(np.float64), SAMPLES.y)),
    "sample weights": lambda: key(samples=Batch(SAMPLES.x, SAMPLES.y, np.ones(4, np.float32))),
    "an effective batch": lambda: key(question=ProbeRequest("micro", 64, effective_batch_size=64)),
    "groups that are not cut": lambda: key(question=ProbeRequest("micro", 64, effective_batch_size=64, group=8)),
    "another effective batch": lambda: key(question=ProbeRequest("micro", 64, effective_batch_size=32)),
    "a larger machine": lambda: key(reading=memory_reading(host_total_bytes=128 * GIB)),
    "dropout": lambda: key(lambda: net_with(keras.layers.Dropout(0.5))),
    "an activation": lambda: key(lambda: net_with(keras.layers.Activation("relu"))),
    "another activation": lambda: key(lambda: net_with(keras.layers.Activation("tanh"))),
}


def test_the_key_changes_with_what_matters() -> None:
    """Each change has a key of its own.

    Seen to fail with each of model, samples, weighted, compile, host and question left out.
    """
    keys = {"nothing": key()} | {name: make() for name, make in CHANGES.items()}
    assert [(one, other) for one, other in combinations(keys, 2) if keys[one] == keys[other]] == []


def test_the_key_changes_with_the_driver_of_a_gpu() -> None:
    """Seen to fail with the driver left out: it is a part of what a context and its kernels take."""
    reading = memory_reading(devices=(Device(0, "GPU-1", "Fake GPU", 16 * GIB, 12 * GIB, 0),))
    drivers = (Driver("550.54.15"), Driver("580.95.05"), None)
    keys = {key(reading=reading, driver=driver) for driver in drivers}
    assert len(keys) == len(drivers)


@pytest.mark.parametrize("variable", ["TF_ENABLE_ONEDNN_OPTS", "TF_GPU_ALLOCATOR", "XLA_FLAGS", "OMP_NUM_THREADS"])
def test_the_key_changes_with_what_is_set_for_the_framework(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with the environment left out."""
    before = key()
    monkeypatch.setenv(variable, "7")
    assert key() != before


def test_the_key_changes_with_the_text_of_ones_own_code(tmp_path: Path) -> None:
    """Seen to fail with the code left out: a configuration holds only its name."""
    one, other, again = (loss_from(tmp_path, f"keras.ops.mean(y_pred {sign} y_true)") for sign in "-+-")
    assert one.__name__ == other.__name__
    keys = [key(lambda loss=loss: graph_model(loss=loss)) for loss in (one, other, again)]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def joined(*, swapped: bool = False) -> Any:
    """The same layers, of which one is subtracted from the other, or the other from the one."""
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    first = keras.layers.Dense(192)(flat)
    second = keras.layers.Dense(192)(first)
    difference = keras.layers.Subtract()([second, first] if swapped else [first, second])
    return compiled(keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(difference)))


SAME: dict[str, Callable[[], str]] = {
    "the same model, built again": key,
    "a model of functions, built again": lambda: key(joined),
    "other weights": lambda: key(trained),
    "other pictures of that size": lambda: key(samples=pictures(7, side=8, classes=2, seed=9)),
    "less memory left": lambda: key(reading=memory_reading(host_available_bytes=GIB, rss_bytes=2 * GIB)),
    "the largest instead of the fastest": lambda: key(question=ProbeRequest("largest", 100)),
    "another cap, reserve and deadline": lambda: key(
        question=ProbeRequest("auto", 7, reserve=Reserve(0.5), trial_timeout_s=1.0)
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_the_key_stays_with_what_does_not_matter(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice, since Keras numbers its names. Seen to fail with the names that Keras makes up left in the key."""
    monkeypatch.setenv("SOMETHING_ELSE", "7")
    first, second = SAME[what](), SAME[what]()
    assert first == second
    assert "functions" in what or first == key()


def test_what_is_joined_to_what_is_part_of_the_key() -> None:
    """Seen to fail with made-up names dropped instead of replaced by their places."""
    assert key(joined) != key(lambda: joined(swapped=True))


def test_names_of_ones_own_stay_in_the_key() -> None:
    named = [key(lambda name=name: net_with(keras.layers.Dropout(0.5, name=name))) for name in ("mine", "other")]
    assert named[0] != named[1]
