"""What a user's own code and the user's own hands do to a step."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from faults import EFFECTIVE, FaultyLoss, stateful_model, train
from nets import compiled, conv_net, numbers, pictures, relative_l2, update

from autobatch.backend.base import BatchTotals
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.data.batch import Batch

DATA = pictures(8)


class AsInTheGuide(keras.Model):
    """Keras' own guide unpacks the data of a step like this."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}

    def test_step(self, data):
        x, y = data
        return {"loss": self.compute_loss(y=y, y_pred=self(x, training=False))}


class TapesItsInput(keras.Model):
    """Needs tensors, as Keras hands over, not arrays."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def subclassed(kind):
    inputs = keras.Input((12, 12, 3))
    return kind(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs)))


def test_a_train_step_may_unpack_two_values_as_in_keras_guide():
    """Seen to fail with the weights always handed over as a third value."""
    model = compiled(subclassed(AsInTheGuide))
    engine = TensorFlowEngine(model, DATA)
    before = numbers(model.weights)
    update(engine, DATA, (5, 3))
    engine.evaluate(DATA, BatchTotals(DATA.size))
    assert relative_l2(numbers(model.weights), before) > 0


@pytest.mark.parametrize("eager", [True, False])
def test_a_train_step_gets_tensors(eager):
    """Seen to fail without the conversion for models that run eagerly."""
    model = compiled(subclassed(TapesItsInput), run_eagerly=eager)
    update(TensorFlowEngine(model, DATA), DATA, (8,))


@pytest.fixture
def heeds_ctrl_c():
    """A shell that starts something in the background has it ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("micro", [EFFECTIVE, EFFECTIVE // 2])
def test_ctrl_c_stays_ctrl_c_and_leaves_whole_updates(micro):
    """With a real signal. Seen to fail with every error after the first write taken for a broken update."""
    data = pictures(3 * EFFECTIVE)

    def interrupts(call):
        if call == 1 + EFFECTIVE // micro:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    model, _ = stateful_model(interrupts)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, micro=micro)
    updates = int(model.optimizer.iterations)
    calm, _ = stateful_model()
    train(calm, data[: updates * EFFECTIVE], micro=micro)
    assert updates in {1, 2}
    assert relative_l2(numbers(model.trainable_variables), numbers(calm.trainable_variables)) < 1e-6


def test_weights_that_a_loss_divides_by_survive_a_roll_back():
    """Seen to fail with the weights of the whole left out where it fits at once, and then had to be cut."""
    draw = np.random.default_rng(3)
    base = pictures(EFFECTIVE)
    data = Batch(base.x, base.y, draw.uniform(0.1, 5.0, EFFECTIVE).astype(np.float32))
    ends = []
    for fails in (lambda call: call == 1, lambda call: False):
        loss = FaultyLoss(fails)
        loss.reduction = "mean_with_sample_weight"
        model = compiled(conv_net(), optimizer=keras.optimizers.SGD(0.1), loss=loss)
        engine = train(model, data)
        ends.append((numbers(model.weights), engine.cuts[0]))
    (rolled_back, cut), (calm, whole) = ends
    assert (cut, whole) == ([8, 8], [EFFECTIVE])
    assert relative_l2(rolled_back, calm) < 1e-6
