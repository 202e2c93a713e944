"""Models made of a user's own code, through `autobatch.fit`: where their trials run, and what is refused, and when."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from folders import write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import numbers
from programs import environment

import autobatch
from autobatch.errors import ModelError

OWN = """
import keras

{register_layer}
class Scaled(keras.layers.Layer):
    def __init__(self, by=2.0, **options):
        super().__init__(**options)
        self.by = by

    def call(self, inputs):
        return inputs * self.by

    def get_config(self):
        return super().get_config() | {{"by": self.by}}

{register_loss}
def own_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)
"""
TRAIN = """
import json, sys
import autobatch
from keras.src.legacy.preprocessing.image import ImageDataGenerator

keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.Input((8, 8, 3)), Scaled(0.5), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")
])
model.compile("sgd", own_loss)
datagen = ImageDataGenerator(rescale=1 / 255)
history = autobatch.fit(model, datagen, sys.argv[1], batch_size=8, max_batch_size=3, cache=False, verbose=0)
report = history.autobatch
where = sorted({trial.where for trial in report.probe.trials})
print(json.dumps({"where": where, "notes": report.notes, "updates": int(model.optimizer.iterations)}))
"""
REGISTER = "@keras.saving.register_keras_serializable('own')"
# Where the layer and the loss are defined, of which one is registered, where the trials run, and what is said of it.
HOMES: dict[str, tuple[bool, str, str | None]] = {
    "the script": (False, "caller", "is defined in the script or notebook itself"),
    "a module": (True, "worker", None),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("own code") / "training", 10, 10)


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES)
def test_code_of_the_users_own_is_tried_where_it_can_be(folder: Path, tmp_path: Path, home: str) -> None:
    """A script cannot be imported by the worker: trials run in the caller's process then, and the report says so."""
    apart, where, said = HOMES[home]
    own = OWN.format(register_layer="" if apart else REGISTER, register_loss=REGISTER if apart else "")
    if apart:
        (tmp_path / "own_code.py").write_text(own)
        own = "import keras\nfrom own_code import Scaled, own_loss\n"
    script = tmp_path / "training.py"
    script.write_text(own + TRAIN)
    package = str(Path(autobatch.__file__).parents[1])
    environ = environment(PYTHONPATH=package)
    done = subprocess.run(
        [sys.executable, script, folder], env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["where"], found["updates"]) == ([where], 3)
    told = [
        note for note in found["notes"] if note.startswith("Trials run in this process, without a deadline, because")
    ]
    assert len(told) == (said is not None)
    assert said is None or f"Scaled {said}" in told[0]


class Gan(keras.Model):
    """Two nets and two optimizers, as in Keras' guide."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
        self.maker = keras.Sequential([keras.Input((5,)), keras.layers.Dense(192), keras.layers.Reshape((8, 8, 3))])

    def compile(self, critic_optimizer: Any, maker_optimizer: Any, **options: Any) -> None:
        super().compile(**options)
        self.critic_optimizer, self.maker_optimizer = critic_optimizer, maker_optimizer

    def call(self, inputs: Any) -> Any:
        return self.critic(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        real, *_ = keras.utils.unpack_x_y_sample_weight(data)
        noise = tf.random.normal([tf.shape(real)[0], 5])
        for optimizer, net, sign in ((self.critic_optimizer, self.critic, 1), (self.maker_optimizer, self.maker, -1)):
            with tf.GradientTape() as tape:
                loss = sign * tf.reduce_mean(self.critic(real) - self.critic(self.maker(noise)))
            optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return {"loss": loss}


class Twice(keras.Sequential):
    """One optimizer, asked twice a step."""

    def train_step(self, data: Any) -> Any:
        super().train_step(data)
        return super().train_step(data)


def gan(*, eager: bool) -> tuple[Any, dict[str, Any], str]:
    model = Gan()
    model(np.zeros((1, 8, 8, 3), np.float32))
    model.compile(keras.optimizers.Adam(0.5), keras.optimizers.Adam(0.5), run_eagerly=eager)
    options = {"class_mode": None, "target_size": (8, 8), "color_mode": "rgb"}
    return model, options, r"model\.critic_optimizer.*own fit"


def twice(*, eager: bool) -> tuple[Any, dict[str, Any], str]:
    model = Twice([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "categorical_crossentropy", run_eagerly=eager)
    return model, {}, "applies gradients 2 times"


@pytest.mark.usefixtures("trials_here")
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("make", [gan, twice])
def test_a_step_that_is_not_one_update_is_refused_before_training(make: Any, eager: bool, folder: Path) -> None:
    """No callback has been called and no weight has moved."""
    called: list[str] = []
    model, options, words = make(eager=eager)
    before = numbers(model.weights)
    watch = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: called.append("begins"))
    datagen = ImageDataGenerator(rescale=1 / 255)
    with pytest.raises(ModelError, match=words):
        autobatch.fit(model, datagen, folder, batch_size=8, cache=False, verbose=0, callbacks=[watch], **options)
    assert called == []
    assert [one.tobytes() for one in numbers(model.weights)] == [one.tobytes() for one in before]
