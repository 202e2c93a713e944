"""What cannot be meant is said at once, clearly, and before anything is started."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import tiny_model, tiny_net, write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled, numbers
from surroundings import Numbered, small_net

import autobatch
from autobatch.errors import ArgumentError, AutobatchError, DataError, ModelError

Case = tuple[type[AutobatchError], list[str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that are right (`good`, `three`) and wrong in one way each."""
    root = tmp_path_factory.mktemp("bad input")
    write_pictures(root / "good", 5, 5)
    write_pictures(root / "three", 2, 2, 2)
    write_pictures(root / "one class", 3)
    write_pictures(root / "loose", 3, 3)
    (root / "empty").mkdir()
    (root / "a file").write_text("not a folder")
    for picture in write_pictures(root / "unreadable", 3, 3).rglob("*.png"):
        picture.write_bytes(b"no picture")
    return root


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test if a process is started or a thread stays."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"a process was started: {arguments}")

    threads = set(threading.enumerate())
    monkeypatch.setattr(subprocess, "Popen", refuse)
    yield
    assert set(threading.enumerate()) <= threads


def dense(shape: tuple[int, ...], outputs: int = 2, activation: str = "softmax", **options: Any) -> Any:
    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(outputs, activation=activation)]
    return compiled(keras.Sequential(layers), **options)


def refused(
    folder: Path,
    kind: type[AutobatchError],
    words: list[str],
    make: Callable[[], Any] = tiny_model,
    function: Callable[..., Any] = autobatch.fit,
    **options: Any,
) -> AutobatchError:
    """The error; the message holds every one of the words, and the model is as it was."""
    model = make()
    before = numbers(model.variables)
    with pytest.raises(kind) as caught:
        function(model, ImageDataGenerator(), folder, **({"cache": False} | options))
    for word in words:
        assert re.search(word, str(caught.value)), f"{word!r} is not in: {caught.value}"
    assert [value.tobytes() for value in numbers(model.variables)] == [value.tobytes() for value in before]
    assert not getattr(getattr(model, "optimizer", None), "built", False)
    return caught.value


FOLDERS: dict[str, list[str]] = {
    "nowhere": ["no such folder", "one subfolder for each class"],
    "a file": ["a file, not a folder", "one subfolder for each class"],
    "empty": ["No pictures", "no subfolders", r"\.png"],
    "good/class0": ["No pictures", "5 pictures lie in it directly", "one subfolder for each class"],
    "one class": ["one class only", "class0"],
    "unreadable": [r"000\.png", "cannot be read as a picture", "Repair the file or take it out"],
}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("function", [autobatch.fit, autobatch.probe], ids=["fit", "probe"])
def test_a_folder_that_cannot_be_used(
    name: str, function: Callable[..., Any], folders: Path, nothing_starts: None
) -> None:
    """Seen to fail with the folder looked at after the probe."""
    error = refused(folders / name, DataError, FOLDERS[name], function=function)
    assert isinstance(error, DataError)
    assert error.path is not None
    assert error.path.startswith(str(folders / name))


MODELS: dict[str, tuple[Callable[[], Any], str, type[AutobatchError], list[str]]] = {
    "not compiled": (tiny_net, "good", ModelError, ["not compiled", r"model\.compile\("]),
    "3 classes, 10 outputs": (
        lambda: compiled(tiny_net(classes=10)),
        "three",
        ModelError,
        ["3 classes", "10 outputs", "class0, class1, class2"],
    ),
    "3 classes, sparse loss of 2": (
        lambda: tiny_model(loss="sparse_categorical_crossentropy"),
        "three",
        ModelError,
        ["3 classes", "2 outputs"],
    ),
    "3 classes, yes or no": (
        lambda: dense((8, 8, 3), 1, "sigmoid", loss="binary_crossentropy"),
        "three",
        ArgumentError,
        ["3 classes", "1 output", "categorical"],
    ),
    "5 channels": (lambda: dense((8, 8, 5)), "good", ModelError, ["5 channels", "1, 3 or 4"]),
    "no pictures": (lambda: dense((7,)), "good", ModelError, ["no pictures", r"\(None, 7\)", "height, width"]),
    "accumulating": (
        lambda: tiny_model(optimizer=keras.optimizers.SGD(gradient_accumulation_steps=2)),
        "good",
        ModelError,
        ["gradient_accumulation_steps=2", "batch_size"],
    ),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_does_not_fit_the_folder_or_cannot_be_trained(
    what: str, folders: Path, nothing_starts: None
) -> None:
    make, folder, kind, words = MODELS[what]
    refused(folders / folder, kind, words, make)


BATCH_SIZES = [0, -1, 2.5, "big", True, False, None, "8", np.float32(8), [8], float("nan")]


@pytest.mark.parametrize("batch_size", BATCH_SIZES, ids=repr)
@pytest.mark.parametrize("function", [autobatch.fit, autobatch.probe], ids=["fit", "probe"])
def test_what_is_no_batch_size(
    batch_size: Any, function: Callable[..., Any], folders: Path, nothing_starts: None
) -> None:
    """Seen to fail with `True` taken for 1, and with 2.5 cut to 2."""
    pairs = function is autobatch.fit and isinstance(batch_size, list)
    expected = "pairs of an epoch" if pairs else "'auto', 'largest' or a whole number of at least 1"
    words = [re.escape(f"batch_size={batch_size!r}"), expected]
    refused(folders / "good", ArgumentError, words, function=function, batch_size=batch_size)


ARGUMENTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "epochs=0": ({"epochs": 0}, ["epochs=0", "at least 1"]),
    "epochs=1.5": ({"epochs": 1.5}, ["epochs=1.5", "whole number"]),
    "initial_epoch=-1": ({"initial_epoch": -1}, ["initial_epoch=-1", "at least 0"]),
    "initial_epoch='x'": ({"initial_epoch": "x"}, ["initial_epoch='x'"]),
    "steps_per_epoch=0": ({"steps_per_epoch": 0}, ["steps_per_epoch=0"]),
    "validation_steps=0": ({"validation_steps": 0}, ["validation_steps=0"]),
    "workers=0": ({"workers": 0}, ["workers=0"]),
    "max_batch_size=0": ({"max_batch_size": 0}, ["max_batch_size=0"]),
    "trial_timeout_s=0": ({"trial_timeout_s": 0}, ["trial_timeout_s=0", "seconds"]),
    "reserve=2.5": ({"reserve": 2.5}, ["reserve=2.5", "fraction", "bytes"]),
    "reserve=-1": ({"reserve": -1}, ["reserve=-1"]),
    "reserve='8%'": ({"reserve": "8%"}, ["reserve='8%'"]),
    "seed='x'": ({"seed": "x"}, ["seed='x'", "whole number"]),
    "seed=1.5": ({"seed": 1.5}, ["seed=1.5"]),
    "cache=3": ({"cache": 3}, ["cache=3", "True, False"]),
    "cache=None": ({"cache": None}, ["cache=None"]),
    "class_weight as a list": ({"class_weight": [1, 2]}, ["class_weight=", "dictionary"]),
    "callbacks=3": ({"callbacks": 3}, ["callbacks", "keras.callbacks.Callback"]),
    "a callback's class": ({"callbacks": [keras.callbacks.TerminateOnNaN]}, ["TerminateOnNaN", "instances"]),
    "targetsize": ({"targetsize": (8, 8)}, ["Did you mean 'target_size'", r"targetsize=\(8, 8\)"]),
    "epoch": ({"epoch": 3}, ["Did you mean 'epochs'"]),
    "batchsize": ({"batchsize": 3}, ["Did you mean 'batch_size'"]),
    "target_size=(9, 9)": ({"target_size": (9, 9)}, ["8 x 8", r"target_size=\(9, 9\)", "leave it out"]),
    "target_size=8": ({"target_size": 8}, ["height and a width", "target_size=8"]),
    "color_mode='grayscale'": ({"color_mode": "grayscale"}, ["3 channels", "'grayscale' has 1"]),
    "color_mode='blue'": ({"color_mode": "blue"}, ["color_mode='blue'", "'rgb'"]),
    "class_mode='sparse'": ({"class_mode": "sparse"}, ["one-hot", "class_mode='sparse'", "'categorical'"]),
    "class_mode=None": ({"class_mode": None}, ["needs targets"]),
    "subset without a split": ({"subset": "validation"}, ["validation_split is 0"]),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_an_argument_that_cannot_be_meant(what: str, folders: Path, nothing_starts: None) -> None:
    """Seen to fail with each of the checks taken out: seed, cache, callbacks, epochs."""
    options, words = ARGUMENTS[what]
    refused(folders / "good", ArgumentError, words, **options)


def test_another_seed_than_that_of_the_samples(nothing_starts: None) -> None:
    """Seen to fail with the seed of the samples taken without a word."""
    with pytest.raises(ArgumentError, match=r"Received: seed=7 with Numbered\(\.\.\., seed=5\)"):
        autobatch.fit(small_net(), Numbered(8), seed=7, verbose=0)


@pytest.mark.parametrize("directory", [None, 3, ["a", "b"]], ids=repr)
def test_what_is_no_path(directory: Any, nothing_starts: None) -> None:
    refused(directory, ArgumentError, ["Received: ", "folder", "arrays"])


X, Y = np.zeros((6, 8, 8, 3), np.float32), np.zeros((6, 2), np.float32)


def uncalled() -> Iterator[Any]:
    yield X, Y


FED: dict[str, tuple[Callable[[Path], tuple[Any, ...]], dict[str, Any], list[str]]] = {
    "a folder without a generator": (lambda here: (here,), {}, ["ImageDataGenerator\\(rescale"]),
    "something else and a folder": (lambda here: ("no generator", here), {}, ["ImageDataGenerator\\(rescale"]),
    "two things that are no arrays": (lambda here: (3, 4), {}, ["first is no ImageDataGenerator"]),
    "nothing at all": (lambda here: (None,), {}, ["Received: None", "PyDataset"]),
    "a list of numbers": (lambda here: ([1, 2],), {}, ["Received: \\[1, 2\\]"]),
    "four arrays": (lambda here: ((X, Y, Y, Y),), {}, ["x, y"]),
    "as many inputs as targets": (lambda here: ((X, Y[:5]),), {}, ["6", "5"]),
    "a generator of batches to validate on, and no end": (
        lambda here: ((X, Y),), {"validation_data": iter([(X, Y)])}, ["validation_steps=None"]
    ),
    "a generator that was not called": (lambda here: (uncalled,), {}, ["a batch generator when called"]),
    "an option that arrays have no use for": (lambda here: ((X, Y),), {"target_size": (8, 8)}, ["target_size="]),
    "an option that does not exist": (lambda here: ((X, Y),), {"taget_size": (8, 8)}, ["Did you mean 'target_size'"]),
    "a split that is none": (lambda here: ((X, Y),), {"validation_split": 1.5}, ["validation_split=1.5"]),
    "a split of pictures": (
        lambda here: (ImageDataGenerator(), here), {"validation_split": 0.2}, ["ImageDataGenerator\\(validation_split"]
    ),
    "a checkpoint of a stream": (
        lambda here: (iter([(X, Y)]),), {"steps_per_epoch": 1, "checkpoint": True}, ["come as a stream"]
    ),
    "no targets": (lambda here: (X,), {}, ["nothing to compare", "without targets", "fit\\(model, x, y\\)"]),
    "names for targets": (lambda here: ((X, np.array(["a", "b"] * 3)),), {}, ["these are names", "np\\.unique"]),
    "objects for targets": (lambda here: ((X, Y.astype(object)),), {}, ["Python objects", "astype"]),
    "larger pictures": (lambda here: ((np.zeros((6, 9, 8, 3)), Y),), {}, ["\\(9, 8, 3\\)", "takes \\(8, 8, 3\\)"]),
    "weights by their name in Keras": (
        lambda here: ((X, Y),), {"sample_weight": np.ones(2000)}, ["\\(x, y, sample_weight\\)\\. Received"]
    ),
    "a long option that does not exist": (lambda here: ((X, Y),), {"wieght": "w" * 500}, ["wieght='w{79}\\. Expected"]),
    "validation without an end": (
        lambda here: ((X, Y),), {"validation_data": iter([(X, Y)])}, ["validation_steps=None"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FED)
def test_what_cannot_be_trained_on(what: str, folders: Path, tmp_path: Path, nothing_starts: None) -> None:
    """Before anything is started."""
    data, options, words = FED[what]
    if "checkpoint" in options:
        options = options | {"checkpoint": tmp_path}
    with pytest.raises(ArgumentError) as caught:
        autobatch.fit(tiny_model(), *data(folders / "good"), cache=False, **options)
    for word in words:
        assert re.search(word, str(caught.value)), f"{word!r} is not in: {caught.value}"


def test_batches_that_are_none_are_data_errors(nothing_starts: None) -> None:
    with pytest.raises(DataError, match="Received"):
        autobatch.fit(tiny_model(), iter([3.0]), steps_per_epoch=1, cache=False)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [("nowhere", DataError, ["no such folder"]), ("three", AutobatchError, ["3 classes", "2"])],
)
def test_a_validation_folder_that_cannot_be_used(
    name: str, kind: type[AutobatchError], words: list[str], folders: Path, nothing_starts: None
) -> None:
    """Said before the probe, not after the first epoch. Seen to fail with validation looked at after the probe."""
    refused(folders / "good", kind, words, validation_data=folders / name)


def test_every_message_of_a_bad_argument_says_what_was_received(folders: Path, nothing_starts: None) -> None:
    """Keras' formula: what was received, and what was expected."""
    for options, _ in ARGUMENTS.values():
        error = refused(folders / "good", ArgumentError, [], **options)
        assert "Received: " in str(error), options
        assert "Expected " in str(error), options


def test_a_size_above_the_number_of_samples_is_capped_and_said(folders: Path) -> None:
    """Seen to fail with the remark left out."""
    history = autobatch.fit(in_process(), ImageDataGenerator(), folders / "good", batch_size=64, cache=False, verbose=0)
    assert history.autobatch.effective_batch_size == 10
    assert any("batch_size=64" in note and "10" in note for note in history.autobatch.notes)
    assert len(history.epoch) == 1


def in_process() -> Any:
    """A model that stays in this process: there is no other to wait for."""
    layers = [keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return compiled(keras.Sequential(layers))
