"""Which losses may be cut is tried out, not guessed."""

import keras
import numpy as np
import pytest
from nets import compiled, conv_net, pictures

from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.backend.tensorflow.loss_check import TOLERANCE, cut_error, has_own_loss
from autobatch.data.batch import Batch

DATA = pictures(8)
WEIGHTED = Batch(DATA.x, DATA.y, np.linspace(0.2, 3, 8).astype(np.float32))


def mean_each(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


def sum_in_disguise(y_true, y_pred):
    return keras.ops.sum((y_true - y_pred) ** 2)


def compares_samples(y_true, y_pred):
    mean = keras.ops.mean(y_pred, axis=0, keepdims=True)
    return keras.ops.mean((y_pred - mean) ** 2, axis=-1) - keras.ops.mean(y_true * y_pred, axis=-1)


class Doubled(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 2 * super().compute_loss(x, y, y_pred, sample_weight, training)


@pytest.mark.parametrize("data", [DATA, WEIGHTED], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_the_check_agrees_that_keras_losses_can_be_cut(reduction, data):
    """Seen to fail with the shares of the parts left out."""
    model = compiled(conv_net(), loss=keras.losses.CategoricalCrossentropy(reduction=reduction))
    engine = TensorFlowEngine(model, data)
    assert not has_own_loss(model)
    assert engine.can_be_cut(data)
    assert cut_error(model, data) < TOLERANCE / 100


@pytest.mark.parametrize(("loss", "cuttable"), [(mean_each, True), (sum_in_disguise, False), (compares_samples, False)])
def test_a_loss_of_the_users_own_is_tried_out(loss, cuttable):
    """Seen to fail with every loss taken for a mean."""
    model = compiled(conv_net(), loss=loss)
    engine = TensorFlowEngine(model, DATA)
    assert has_own_loss(model)
    assert engine.can_be_cut(DATA) is cuttable


def test_an_overridden_compute_loss_is_tried_out():
    inputs = keras.Input((12, 12, 3))
    model = compiled(Doubled(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs))))
    engine = TensorFlowEngine(model, DATA)
    assert has_own_loss(model)
    assert engine.can_be_cut(DATA)


def test_trying_out_leaves_the_model_as_it_was():
    model = compiled(conv_net(norm=True, dropout=0.5), loss=mean_each)
    engine = TensorFlowEngine(model, DATA)
    before = [np.array(variable.value) for variable in (*model.variables, *model.metrics_variables)]
    engine.can_be_cut(DATA)
    after = [np.array(variable.value) for variable in (*model.variables, *model.metrics_variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


class AddsASum(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.sum(inputs**2))
        return inputs


def test_a_layer_that_adds_a_sum_is_found():
    """Seen to fail with only the compiled losses looked at."""
    inputs = keras.Input((12, 12, 3))
    outputs = keras.layers.Dense(4, "softmax")(AddsASum()(keras.layers.Dense(6)(keras.layers.Flatten()(inputs))))
    model = compiled(keras.Model(inputs, outputs))
    assert not TensorFlowEngine(model, DATA).can_be_cut(DATA)


def test_an_activity_regularizer_is_tried_out():
    inputs = keras.Input((12, 12, 3))
    hidden = keras.layers.Dense(6, activity_regularizer="l2")(keras.layers.Flatten()(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(4, "softmax")(hidden)))
    assert has_own_loss(model)
