"""Promise 4: a probe leaves no trace in the caller's model, random states, data, files, processes and threads."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from folders import write_pictures
from keras.src.backend.common import global_state
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from keras.src.utils.rng_utils import get_random_seed
from nets import compiled

import autobatch
from autobatch.results.trial import Trial

COUNT = 12


class NoConfig(keras.layers.Layer):
    """A layer as many people write them: without what it takes to be rebuilt elsewhere."""

    def __init__(self, width: int, scale: list[float]) -> None:
        super().__init__()
        self.width, self.scale = width, scale

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.width))
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        self.seen.assign_add(1.0)
        self.draws = random.random(), np.random.random()  # whenever it is traced
        noise = keras.random.normal(
            (1,), dtype=inputs.dtype
        )  # without a seed: from the generator that all of Keras shares
        return inputs @ self.kernel * self.scale[0] + noise

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("this layer has no configuration")


def layers(*special: Any) -> list[Any]:
    return [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.RandomFlip(),
        keras.layers.Dropout(0.3),
        keras.layers.Flatten(),
        *special,
        keras.layers.Dense(2, "softmax"),
    ]


def with_adam(model: Any, *, eager: bool = False) -> Any:
    return compiled(model, optimizer=keras.optimizers.Adam(1e-3), run_eagerly=eager)


def travels() -> Any:
    return with_adam(keras.Sequential(layers()))


def no_config(*, eager: bool = False) -> Any:
    return with_adam(keras.Sequential(layers(NoConfig(5, [0.5]))), eager=eager)


def mixed() -> Any:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return no_config(eager=True)
    finally:
        keras.config.set_dtype_policy(policy)


class Subclassed(keras.Model):
    """A model that is built by its first call and cannot say what it is made of."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.body = keras.Sequential([keras.layers.Flatten(), *map(keras.layers.Dense, widths)])
        self.drop = keras.layers.Dropout(0.5)
        self.out = keras.layers.Dense(2, "softmax")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.out(self.drop(self.body(inputs), training=training))


def subclassed() -> Any:
    model = with_adam(Subclassed((6, 5)), eager=True)
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "in a worker": (travels, "worker"),
    "in the caller: no configuration": (no_config, "caller"),
    "in the caller: mixed precision": (mixed, "caller"),
    "in the caller: a subclass": (subclassed, "caller"),
}


def values(model: Any) -> dict[str, bytes]:
    """Everything that a step may change, by name."""
    generators = [g.state for layer in model._flatten_layers() for g in getattr(layer, "_seed_generators", ())]
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    found = [*model.variables, *model.optimizer.variables, *generators, *metrics]
    return {f"{place} {variable.path}": np.array(variable.value).tobytes() for place, variable in enumerate(found)}


def random_states() -> dict[str, Any]:
    """Python's, numpy's and Keras'."""
    generator = global_state.get_global_attribute("global_seed_generator")
    return {
        "python": random.getstate(),
        "numpy": [np.asarray(part).tobytes() for part in np.random.get_state()],
        "keras seed": get_random_seed(),
        "keras generator": None if generator is None else np.array(generator.state.value).tobytes(),
    }


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", COUNT // 2, COUNT // 2)


def seed_everything(seed: int) -> None:
    """As Keras does it from 3.13 on: before, a generator that exists keeps its state."""
    keras.src.backend.common.global_state.set_global_attribute("global_seed_generator", None)
    keras.utils.set_random_seed(seed)


def trained(model: Any) -> Any:
    """The model after some of Keras' own training: its optimizer's slots, averages, seeds and metrics are not zero."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(8, 8, 8, 3)).astype(np.float32), np.eye(2, dtype=np.float32)[draw.integers(0, 2, 8)]
    eager, model.run_eagerly = model.run_eagerly, True  # a few steps: tracing them would take longer
    model.fit(x, y, batch_size=4, verbose=0)
    model.run_eagerly, model.train_function = eager, None
    return model


def drawn() -> list[Any]:
    """What the generators of this process make next."""
    weights = keras.layers.Dense(3)
    weights.build((None, 4))
    draws = [np.random.random(3), random.random(), keras.random.normal((3,)), tf.random.uniform((3,))]
    return [np.asarray(value).tolist() for value in (*draws, weights.kernel.value)]


def afterwards(model: Any) -> tuple[list[Any], list[bytes]]:
    """What is drawn next, and what Keras' own training then makes of the model."""
    return drawn(), list(values(trained(model)).values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_leaves_everything_as_it_was(kind: str, pictures: Path, surroundings: Any) -> None:
    """And what is drawn and trained afterwards is what would have been without it, bit for bit.

    Seen to fail without `preserved` around trials in the caller, with parts of what it keeps left out, and without
    Keras' global generator among what is put back.
    """
    make, where = KINDS[kind]

    def begun() -> Any:
        seed_everything(11)
        return trained(make())

    model = begun()
    datagen = ImageDataGenerator(rescale=1 / 255, rotation_range=20, horizontal_flip=True)
    before, states, data = values(model), random_states(), files(pictures)
    surroundings.remember()
    result = autobatch.probe(model, datagen, pictures, cache=False, seed=3, target_size=(8, 8), max_batch_size=4)
    assert {trial.where for trial in result.trials} == {where}
    assert values(model) == before
    assert random_states() == states
    assert files(pictures) == data
    surroundings.require_nothing_new()
    assert afterwards(model) == afterwards(begun())


def test_training_after_a_probe_is_training_without_one(pictures: Path, surroundings: Any) -> None:
    """On a fresh model, bit for bit. Seen to fail without `preserved` around trials in the caller."""
    ends = []
    for probed in (True, False):
        seed_everything(11)
        model = no_config(eager=True)
        if probed:
            autobatch.probe(model, ImageDataGenerator(), pictures, cache=False, seed=3, max_batch_size=4)
        ends.append(afterwards(model))
    assert ends[0] == ends[1]


class RaisesError(Exception):
    pass


def raising() -> Any:
    """A model that no other process can rebuild, and that fails at more than two samples."""

    class Raises(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            if hasattr(inputs, "numpy") and inputs.shape[0] > 2:  # a real batch, not the symbol of building
                raise RaisesError("this layer fails")
            return inputs

    return compiled(keras.Sequential(layers(Raises())), run_eagerly=True)


def test_nothing_is_left_when_the_callers_callback_raises(pictures: Path, surroundings: Any) -> None:
    """In this process; an error that ends a probe with a worker is told of among those that are attributed."""

    def raising_callback(*_: Any) -> None:
        raise RaisesError("this callback fails")

    model = trained(no_config(eager=True))
    before = values(model)
    surroundings.remember()
    with pytest.raises(RaisesError, match="this callback fails"):
        autobatch.probe(model, ImageDataGenerator(), pictures, cache=False, on_trial=raising_callback)
    assert values(model) == before
    surroundings.require_nothing_new()


def test_nothing_is_left_when_the_model_raises(pictures: Path, surroundings: Any) -> None:
    """After a trial that ran in this process, since no worker could rebuild the model."""
    model = raising()
    model._symbolic_build(data_batch=(np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 2), np.float32)))
    model.optimizer.build(model.trainable_variables)
    before, states = values(model), random_states()
    surroundings.remember()
    trials: list[Trial] = []
    with pytest.raises(RaisesError, match="this layer fails"):
        autobatch.probe(model, ImageDataGenerator(), pictures, cache=False, on_trial=trials.append)
    assert {trial.where for trial in trials} == {"caller"}
    assert values(model) == before
    assert random_states() == states
    surroundings.require_nothing_new()


def test_nothing_is_left_when_nothing_fits(pictures: Path, surroundings: Any) -> None:
    surroundings.remember()
    with pytest.raises(autobatch.DoesNotFitError, match="reserve="):
        autobatch.probe(travels(), ImageDataGenerator(), pictures, cache=False, reserve=0.999)
    surroundings.require_nothing_new()


def test_nothing_is_left_when_trials_end_at_their_deadline(pictures: Path, surroundings: Any) -> None:
    """A worker cannot start within a millisecond. Seen to fail with the process of a missed deadline left running."""
    surroundings.remember()
    with pytest.raises(autobatch.ProbeError):
        autobatch.probe(travels(), ImageDataGenerator(), pictures, cache=False, trial_timeout_s=0.001)
    surroundings.require_nothing_new()


class Interrupted(keras.layers.Layer):
    """Somebody presses Ctrl-C while the model is being packed for its journey."""

    def get_config(self) -> dict[str, Any]:
        raise KeyboardInterrupt


def test_nothing_is_left_when_the_start_is_interrupted(pictures: Path, surroundings: Any) -> None:
    """Seen to fail with a worker that has no owner until the trials begin."""
    model = compiled(keras.Sequential(layers(Interrupted())))
    surroundings.remember()
    with pytest.raises(KeyboardInterrupt) as caught:
        autobatch.probe(model, ImageDataGenerator(), pictures, cache=False)
    surroundings.require_nothing_new()
    assert caught.tb is not None  # a traceback that is kept, as by a notebook, keeps its frames' objects
