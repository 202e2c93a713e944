"""Promise 6: an error that is not about memory comes out as itself, and where it came from is always chained."""

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from folders import tiny_model, write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import compiled, numbers, pictures

import autobatch
from autobatch.backend import engine_for
from autobatch.backend.base import BatchTotals
from autobatch.data.batch import Batch
from autobatch.errors import AutobatchError, DataError, DoesNotFitError, OutOfMemoryError
from autobatch.probing.trials import executor
from autobatch.probing.trials.ipc import Reply
from autobatch.probing.trials.worker import Worker
from autobatch.results.trial import Outcome

DATA = pictures(8, side=8, classes=2)


# A lambda travels with its code, so this one raises in the worker: at the size that is tried after two samples.
AT_MOST_TWO = lambda x: x if not hasattr(x, "numpy") or x.shape[0] <= 2 else {}["at most two"]  # noqa: E731


class ScaleError(Exception):
    pass


class Fails(keras.layers.Layer):
    """Raises what it is told to when a real batch, or one of more than `limit` samples, comes by."""

    def __init__(self, error: Callable[[], BaseException], limit: int = 0) -> None:
        super().__init__()
        self._error, self._limit = error, limit

    def call(self, inputs: Any) -> Any:
        if hasattr(inputs, "numpy") and inputs.shape[0] > self._limit:
            raise self._error()
        return inputs


def failing(error: Callable[[], BaseException], limit: int = 0) -> Any:
    layers = [
        keras.Input((8, 8, 3)),
        Fails(error, limit),
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    return compiled(keras.Sequential(layers), run_eagerly=True)


def odd_loss(y_true: Any, y_pred: Any) -> Any:
    """Wants pairs of samples."""
    return tf.reshape(tf.square(y_pred - y_true), [-1, 7])


def wrong_shape() -> Any:
    return tiny_model(loss=odd_loss, run_eagerly=False)


def asserting() -> Any:
    """Fails while it runs, in TensorFlow's own words, in the compiled step."""
    inputs = keras.Input((8, 8, 3))
    checked = keras.layers.Lambda(_checked, output_shape=(8, 8, 3))(inputs)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(checked))
    return compiled(keras.Model(inputs, outputs))


def _checked(inputs: Any) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.assert_less(tf.reduce_max(inputs), -5.0, "too bright")]):
        return tf.identity(inputs)


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "a layer's ValueError": (lambda: failing(lambda: ValueError("a scale of zero")), "a scale of zero"),
    "an error that talks of memory": (
        lambda: failing(lambda: ValueError("OOM when allocating tensor with shape[1]")),
        "OOM when allocating",
    ),
    "an error of the user's own": (lambda: failing(lambda: ScaleError("a scale of zero")), "a scale of zero"),
    "a full disk": (lambda: failing(lambda: OSError(28, "No space left on device")), "28"),
    "a loss of another shape": (wrong_shape, "7"),
    "an assertion within the compiled step": (asserting, "too bright"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 8, 8)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class FailingWorker(Worker):
    """Rebuilds every model and fails at every trial, without a process."""

    def open(self, payload: Any, timeout_s: float) -> Reply:
        return Reply(Outcome.RAN)

    def trial(self, size: int, options: Any = None, *, timeout_s: float) -> Reply:
        return Reply(Outcome.ERROR, detail="it failed there")


@pytest.mark.parametrize("what", MODELS)
@pytest.mark.parametrize("function", [autobatch.probe, autobatch.fit], ids=["probe", "fit"])
def test_the_models_own_error_comes_out_as_from_keras(
    what: str, function: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from `train_on_batch`, also after a worker's. Seen to fail with every failure here taken for memory."""
    monkeypatch.setattr(executor, "Worker", FailingWorker)
    make, words = MODELS[what]
    with pytest.raises(Exception, match=words) as keras_error:
        make().train_on_batch(DATA.x, DATA.y)
    with pytest.raises(Exception, match=words) as caught:
        function(make(), ImageDataGenerator(), folder, cache=False)
    assert type(caught.value) is type(keras_error.value)
    assert not isinstance(caught.value, AutobatchError)


def test_an_error_that_only_a_larger_size_shows_comes_out_as_itself(folder: Path) -> None:
    """Seen to fail with every failed size taken for too large."""
    model = failing(lambda: ScaleError("more than four"), limit=4)
    with pytest.raises(ScaleError, match="more than four"):
        autobatch.probe(model, ImageDataGenerator(), folder, cache=False)


def test_an_error_in_a_worker_comes_back_with_its_type_and_its_traceback(folder: Path, surroundings: Any) -> None:
    """Raised there, after a first size ran; and nothing is left.

    Seen to fail with the worker's exception left there, with the trials' place left open, and closed after a good end
    alone.
    """
    inputs = keras.Input((8, 8, 3))
    few = keras.layers.Lambda(AT_MOST_TWO, output_shape=(8, 8, 3))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(few)))
    compiled(model, run_eagerly=True)
    before = [variable.tobytes() for variable in numbers(model.variables)]
    surroundings.remember()
    with pytest.raises(KeyError, match="at most two") as caught:
        autobatch.probe(model, ImageDataGenerator(), folder, cache=False)
    assert "Raised in the process of a trial" in "".join(caught.value.__notes__)
    assert "Traceback" in "".join(caught.value.__notes__)
    assert [variable.tobytes() for variable in numbers(model.variables)] == before
    assert not model.optimizer.built
    surroundings.require_nothing_new()


def test_what_ran_out_of_memory_is_chained(folder: Path) -> None:
    """Seen to fail with the failure raised from nothing."""
    model = failing(lambda: MemoryError("the attic is full"))
    with pytest.raises(DoesNotFitError, match="Not even one sample fits") as caught:
        autobatch.probe(model, ImageDataGenerator(), folder, cache=False)
    cause = caught.value.__cause__
    assert isinstance(cause, OutOfMemoryError)
    assert "the attic is full" in str(cause.__cause__)


def test_a_micro_batch_that_did_not_fit_says_so_and_chains_what_happened() -> None:
    model = failing(lambda: MemoryError("the attic is full"))
    engine = engine_for(model, DATA[:2])
    with pytest.raises(OutOfMemoryError, match="8 samples") as caught:
        engine.accumulate(DATA, BatchTotals(8))
    assert caught.value.size == 8
    assert "the attic is full" in str(caught.value.__cause__)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_within_a_step_passes(kind: type[BaseException]) -> None:
    """Seen to fail with every exception of a step taken for memory."""
    engine = engine_for(failing(kind), DATA[:2])
    with pytest.raises(kind):
        engine.accumulate(DATA, BatchTotals(8))


def test_a_picture_that_cannot_be_read_is_named(folder: Path) -> None:
    """Through the loop's threads. Seen to fail with errors of the reader raised without their file."""
    broken = folder / "class1" / "004.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"004\.png") as caught:
        autobatch.fit(failing(ScaleError, limit=99), ImageDataGenerator(), folder, cache=False, verbose=0, batch_size=4)
    assert caught.value.path == str(broken)
    assert caught.value.__cause__ is not None


def test_an_error_of_the_users_preprocessing_passes_with_the_file_beside_it(folder: Path) -> None:
    """Seen to fail with such errors called broken pictures."""

    def preprocess(picture: np.ndarray) -> np.ndarray:
        raise ScaleError("cannot scale this")

    with pytest.raises(ScaleError, match="cannot scale this") as caught:
        autobatch.probe(tiny_model(), ImageDataGenerator(preprocessing_function=preprocess), folder, cache=False)
    assert ".png" in "".join(caught.value.__notes__)


ERRORS: list[AutobatchError] = [
    autobatch.ArgumentError("a"),
    autobatch.ModelError("m"),
    DataError("d", "/a/path.png"),
    OutOfMemoryError("o", 8),
    DoesNotFitError("f", 5, 3, ["trial"]),
    autobatch.DeviceError("v", "GPU:1", ["GPU:0"]),
    autobatch.ProbeError("p", ["trial"]),
    autobatch.ProbeTimeoutError("i", ["trial"], 4),
    autobatch.MissingExtraError("Plots need matplotlib: pip install 'keras-autobatch[plot]'."),
    autobatch.TooLateError("t"),
    autobatch.UpdateInterruptedError("u"),
]


def kinds(root: type[AutobatchError]) -> Iterator[type[AutobatchError]]:
    """All the errors below one, at any depth."""
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_error_travels_between_processes() -> None:
    """With all it says. Seen to fail without `__reduce__`: two of them could be pickled and not read again."""
    assert {type(error) for error in ERRORS} == set(kinds(AutobatchError))
    for error in ERRORS:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - written here
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_batches_of_the_wrong_form_are_told_by_keras() -> None:
    engine = engine_for(tiny_model(), DATA[:2])
    with pytest.raises(Exception, match=r"4|shape") as caught:
        engine.accumulate(Batch(DATA.x, np.zeros((8, 4), np.float32)), BatchTotals(8))
    assert not isinstance(caught.value, MemoryError)
