"""Which losses may be cut is tried out, not guessed."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import compiled, conv_net, pictures

from autobatch.backend.base import BatchTotals, CutCheck
from autobatch.backend.tensorflow import cut_check
from autobatch.backend.tensorflow.cut_check import is_known
from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.backend.tensorflow.forward import TensorFlowForwardEngine
from autobatch.data.batch import Batch
from autobatch.errors import OutOfMemoryError

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


def tried(engine, data):
    """What is found with nothing taken for known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_check, "is_known", lambda *_: False)
        return engine.check_cut(data, 8)


@pytest.mark.parametrize("data", [DATA, WEIGHTED], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_the_check_agrees_that_keras_losses_can_be_cut(reduction, data):
    """Seen to fail with the shares of the parts left out."""
    model = compiled(conv_net(), loss=keras.losses.CategoricalCrossentropy(reduction=reduction))
    engine = TensorFlowEngine(model, data)
    assert is_known(model)
    assert tried(engine, data).why_whole is None


@pytest.mark.parametrize(("loss", "cuttable"), [(mean_each, True), (sum_in_disguise, False), (compares_samples, False)])
def test_a_loss_of_the_users_own_is_tried_out(loss, cuttable):
    """Seen to fail with every loss taken for a mean."""
    model = compiled(conv_net(), loss=loss)
    engine = TensorFlowEngine(model, DATA)
    assert not is_known(model)
    assert (engine.check_cut(DATA, 8).why_whole is None) is cuttable


def test_an_overridden_compute_loss_is_tried_out():
    inputs = keras.Input((12, 12, 3))
    model = compiled(Doubled(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs))))
    engine = TensorFlowEngine(model, DATA)
    assert not is_known(model)
    assert engine.check_cut(DATA, 8) == CutCheck()


def test_trying_out_leaves_the_model_as_it_was():
    model = compiled(conv_net(norm=True, dropout=0.5), loss=mean_each)
    engine = TensorFlowEngine(model, DATA)
    before = [np.array(variable.value) for variable in (*model.variables, *model.metrics_variables)]
    engine.check_cut(DATA, 8)
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
    assert TensorFlowEngine(model, DATA).check_cut(DATA, 8).why_whole is not None


def test_an_activity_regularizer_is_tried_out():
    inputs = keras.Input((12, 12, 3))
    hidden = keras.layers.Dense(6, activity_regularizer="l2")(keras.layers.Flatten()(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(4, "softmax")(hidden)))
    assert not is_known(model)


def test_what_stands_between_layers_is_tried_out():
    inputs = keras.Input((12, 12, 3))
    flat = keras.layers.Flatten()(inputs)
    centred = flat - keras.ops.mean(flat, axis=0, keepdims=True)
    model = compiled(keras.Model(inputs, keras.layers.Dense(4, "softmax")(centred)))
    assert not is_known(model)
    assert "changed the gradient" in TensorFlowEngine(model, DATA).check_cut(DATA, 8).why_whole


class OnlyTraining(keras.Model):
    """Relies on being told that it trains, and couples samples only then."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        assert training
        return keras.ops.std(y - y_pred)


def test_a_loss_that_couples_samples_while_training_is_found():
    """Seen to fail with the check run outside training."""
    inputs = keras.Input((12, 12, 3))
    outputs = keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs))
    model = compiled(OnlyTraining(inputs, outputs), metrics=[])
    assert "changed the gradient" in TensorFlowEngine(model, DATA).check_cut(DATA, 8).why_whole


class Counts(keras.layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros", name="calls")

    def call(self, inputs, training=None):
        if training:
            self.calls.assign_add(1)
        return inputs


@pytest.mark.parametrize("layer", [Counts, lambda: keras.layers.SpectralNormalization(keras.layers.Dense(4))])
def test_state_that_a_call_writes_is_found(layer):
    """Seen to fail with only gradients compared."""
    inputs = keras.Input((12, 12, 3))
    model = compiled(keras.Model(inputs, layer()(keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs)))))
    assert "write state in their calls" in TensorFlowEngine(model, DATA).check_cut(DATA, 8).why_whole


class Noisy(keras.layers.Layer):
    def __init__(self, seeded):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1) if seeded else None

    def call(self, inputs, training=None):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator) if training else inputs


@pytest.mark.parametrize("seeded", [True, False])
def test_random_layers_are_held_still(seeded):
    """Seen to fail with layers that draw from the global generator not held still."""
    inputs = keras.Input((12, 12, 3))
    model = compiled(
        keras.Model(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(Noisy(seeded)(inputs))))
    )
    check = TensorFlowEngine(model, DATA).check_cut(DATA, 8)
    assert check.why_whole is None
    assert ["could not be tried" in note for note in check.notes] == [True] * seeded


def masked_by_hand(y_true, y_pred):
    """As tutorials have it: a mean over what is no padding, of the batch that it sees."""
    left = keras.ops.cast(y_true != 0, "float32")
    return keras.ops.sum(keras.losses.sparse_categorical_crossentropy(y_true, y_pred) * left) / keras.ops.sum(left)


def test_a_mean_over_what_is_no_padding_is_found_though_no_sample_is_padded():
    """Seen to fail with the samples tried only as they are."""
    inputs = keras.Input((5, 3))
    model = compiled(keras.Model(inputs, keras.layers.Dense(4, "softmax")(inputs)), loss=masked_by_hand, metrics=[])
    data = Batch(DATA.x[:, :5, 0], np.random.default_rng(1).integers(1, 4, (8, 5)))
    assert "changed the gradient" in TensorFlowEngine(model, data).check_cut(data, 8).why_whole


LAYERS = {
    name: item
    for name, item in vars(keras.layers).items()
    if isinstance(item, type) and issubclass(item, keras.layers.Layer)
}
# Not layers by themselves: bases, cells, and what wraps another framework or text.
OTHERS = {
    *("Layer", "Wrapper", "RNN", "StackedRNNCells", "GRUCell", "LSTMCell", "SimpleRNNCell", "InputLayer", "Pipeline"),
    *("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "StringLookup", "TextVectorization"),
    *("HashedCrossing", "MaxNumBoundingBoxes"),  # take several inputs of their own kinds
}
of = keras.layers
ARGUMENTS = {
    "Activation": {"activation": "relu"},
    "Bidirectional": {"layer": of.LSTM(2)},
    "CategoryEncoding": {"num_tokens": 20},
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "EinsumDense": {"equation": "ab,bc->ac", "output_shape": 2},
    "Embedding": {"input_dim": 20, "output_dim": 2},
    "GaussianNoise": {"stddev": 1.0},
    "GroupNormalization": {"groups": 2},
    "GroupQueryAttention": {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 2},
    "Hashing": {"num_bins": 5},
    "IntegerLookup": {"vocabulary": list(range(1, 20))},
    "Lambda": {"function": lambda x: x - keras.ops.mean(x, axis=0)},
    "MelSpectrogram": {"fft_length": 4, "sequence_stride": 2, "num_mel_bins": 3},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 2},
    "RandomCrop": {"height": 8, "width": 8},
    "RandomElasticTransform": {},
    "RandomPosterization": {"factor": 4},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "Rescaling": {"scale": 2.0},
    "ReversibleEmbedding": {"input_dim": 20, "output_dim": 2},
    "SpectralNormalization": {"layer": of.Dense(2)},
    "STFTSpectrogram": {"frame_length": 4, "frame_step": 2, "fft_length": 4},
    "TimeDistributed": {"layer": of.Dense(2)},
}
GUESSES = (
    *({}, {"units": 2}, {"filters": 2, "kernel_size": 2}, {"kernel_size": 2}, {"pool_size": 2}, {"output_size": 2}),
    *({"n": 2}, {"rate": 0.5}, {"factor": 0.1}, {"height": 4, "width": 4}, {"target_shape": (-1,)}, {"dims": (1,)}),
    *({"axes": 1}, {"value_range": (0, 1)}),
)
OF_NUMBERS = {"CategoryEncoding", "Embedding", "Hashing", "IntegerLookup", "ReversibleEmbedding"}
SHAPES = ((6,), (6, 4), (8, 8, 3), (6, 6, 6, 2), (3, 6, 6, 2), (3, 4, 4, 4, 2))
# MelSpectrogram counts its decibels from the loudest place in the batch.
COUPLES, WRITES = {"Lambda", "MelSpectrogram"}, {"SpectralNormalization"}


def with_layer(name):
    """A small model around a layer of Keras, in the first form of data and arguments that it takes."""
    pictures = LAYERS[name].__module__.startswith("keras.src.layers.preprocessing.image")
    numbers, failed = name in OF_NUMBERS, []
    for shape in [(8, 8, 3)] if pictures else SHAPES[1:] if "Attention" in name else SHAPES:
        for arguments in [ARGUMENTS[name]] if name in ARGUMENTS else GUESSES:
            for call in CALLS:
                try:
                    layer = LAYERS[name](**arguments)
                    return built_with(layer, shape, call, raw=pictures or numbers, numbers=numbers)
                except Exception as error:  # noqa: BLE001 - whatever it raises, another form may do
                    failed.append(f"{shape} {arguments} {str(error)[:300]}")
    pytest.fail(f"{name} took none of the forms that are tried: give it one in ARGUMENTS.\n" + "\n".join(failed))


CALLS = (
    lambda layer, hidden: layer(hidden),
    lambda layer, hidden: layer([hidden, hidden]),
    lambda layer, hidden: layer(hidden, hidden),
)


def built_with(layer, shape, call, *, raw, numbers):
    draw = np.random.default_rng(1)
    x = draw.integers(1, 20, (6, *shape)) if numbers else draw.random((6, *shape), np.float32)
    inputs = keras.Input(shape, dtype="int32" if numbers else "float32")
    outputs = keras.tree.flatten(call(layer, inputs if raw else of.Dense(shape[-1])(inputs)))[0]
    model = keras.Model(inputs, of.Dense(2)(of.Flatten()(outputs)))
    model.compile("sgd", "mse", run_eagerly=True)
    data = Batch(x, np.ones((6, 2), np.float32))
    model.test_on_batch(data.x[:1], data.y[:1])  # that it takes one sample, too
    return model, data


@pytest.mark.filterwarnings("ignore:Layer 'flatten:UserWarning")
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - OTHERS))
def test_every_layer_of_keras_is_known_only_if_it_may_be_cut(name):
    """Seen to fail with Lambda taken for Keras' own, and with state that layers keep taken for none."""
    model, data = with_layer(name)
    engine = TensorFlowEngine(model, data)
    check = tried(engine, data)
    assert ("gradient" in (check.why_whole or "")) == (name in COUPLES)
    assert ("state" in (check.why_whole or "")) == (name in WRITES)
    assert not check.notes
    assert not (is_known(model) and check.why_whole)


class Sampled(keras.layers.Layer):
    """As in a variational autoencoder: it draws whether it trains or not."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)


def test_what_draws_at_all_times_is_not_taken_for_coupling():
    """Seen to fail with the same seeds drawn from again."""
    inputs = keras.Input((12, 12, 3))
    flat = keras.layers.Flatten()(Sampled()(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(4, "softmax")(flat)))
    check = TensorFlowEngine(model, DATA).check_cut(DATA, 8)
    assert check.why_whole is None
    assert "random numbers of its own" in check.notes[0]


def missing_left_out(y_true, y_pred):
    """A mean over the targets that there are, of the batch that it sees: below -8 stands for none."""
    there = keras.ops.cast(y_true > -8, "float32")
    return keras.ops.sum(there * (y_true - y_pred) ** 2) / keras.ops.sum(there)


def test_the_samples_that_are_tried_are_the_most_different():
    """Seen to fail with the first ones tried."""
    inputs = keras.Input((12, 12, 3))
    outputs = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    model = compiled(keras.Model(inputs, outputs), loss=missing_left_out, metrics=[])
    targets = DATA.y.copy()
    targets[-2:, 1:] = -9
    data = Batch(DATA.x, targets)
    assert "changed the gradient" in TensorFlowEngine(model, data).check_cut(data, 4).why_whole


class TwoViews(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            first = self.compute_loss(x, y, self(x, training=True))
            other = self.compute_loss(x, y, self(keras.ops.where(x == 2, 0, x), training=True))
            loss = self.optimizer.scale_loss(first + other)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": first}


def test_a_count_that_is_wrong_shows():
    """One loss with two masks in a step. Seen to fail with the whole divided by the count, too."""
    ids = keras.Input((5,), dtype="int32")
    outputs = keras.layers.Dense(1)(keras.layers.Embedding(9, 3, mask_zero=True)(ids))
    model = TwoViews(ids, outputs)
    model.compile("sgd", "mse")
    x = np.where(np.arange(5) < np.array([5, 5, 5, 4, 1, 1, 2, 1])[:, None], 3, 0)
    x[:3, 1:4] = 2
    data = Batch(x, np.random.default_rng(1).normal(size=(8, 5, 1)).astype(np.float32))
    assert "changed the gradient" in TensorFlowEngine(model, data).check_cut(data, 8).why_whole


def test_memory_that_runs_out_while_counting_is_told_as_such(monkeypatch):
    """Seen to fail with the framework's error let through."""
    ids = keras.Input((5,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Embedding(9, 3, mask_zero=True)(ids)))
    model.compile("sgd", "mse")
    data = Batch(np.ones((8, 5), int), np.ones((8, 5, 1), np.float32))
    engine = TensorFlowEngine(model, data)

    def fails(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8] by allocator cpu")

    monkeypatch.setattr(engine.divisors, "_counts", fails)
    with pytest.raises(OutOfMemoryError):
        engine.totals(data[:4], data[4:])


class Gate(keras.layers.Layer):
    """Masks what a weight decides on."""

    def build(self, shape):
        self.supports_masking, self.bar = True, self.add_weight(shape=(), initializer="zeros")

    def compute_mask(self, x, mask=None):
        return x[..., 0] > self.bar

    def call(self, x):
        return keras.ops.copy(x)


@pytest.mark.parametrize(("layer", "rows"), [(Gate, [4, 3, 1]), (keras.layers.Masking, [8])])
def test_what_a_part_of_the_model_counts_is_counted_part_by_part(layer, rows):
    """And what the data alone tell in one go. Seen to fail with all of it in one go."""
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(layer()(inputs)))
    model.compile("sgd", "mse")
    x = np.where(np.random.default_rng(0).random((8, 5, 1)) < 0.5, 0, 1) * np.ones(3, np.float32)
    data = Batch(x.astype(np.float32), np.ones((8, 5, 1), np.float32))
    engine, parts, seen = TensorFlowEngine(model, data), (data[:4], data[4:7], data[7:]), []
    expected = engine.totals(data)
    functions = engine.divisors._functions
    for key, count in functions.items():

        def run(*arrays, run=count.run):
            seen.append(len(arrays[0]))
            return run(*arrays)

        functions[key] = replace(count, run=run)
    assert engine.totals(*parts) == expected == BatchTotals(8, (x[..., 0].sum(),))
    assert seen == rows


class Clips(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, self.limit)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("limit", [1e-3, 1e2])
def test_a_step_that_clips_by_itself_is_found_even_where_it_has_nothing_to_clip(limit):
    """Seen to fail with gradients tried only as large as they are."""
    inputs = keras.Input((12, 12, 3))
    model = compiled(Clips(inputs, keras.layers.Dense(4, "softmax")(keras.layers.Flatten()(inputs))))
    model.limit = limit
    check = TensorFlowEngine(model, DATA).check_cut(DATA, 8)
    assert ("by more than a factor" if limit > 1 else "gradient") in check.why_whole


def test_an_evaluation_is_tried_too():
    """Seen to fail with evaluations left untried."""
    model = compiled(conv_net(), metrics=[lambda y_true, y_pred: keras.ops.std(y_pred)])
    engine = TensorFlowForwardEngine(model, DATA, evaluates=True)
    (note,) = engine.check_cut(DATA, 8).notes
    assert note.startswith("These values of the logs")
    assert "weights" not in note
    assert TensorFlowForwardEngine(compiled(conv_net()), DATA, evaluates=True).check_cut(DATA, 8) == CutCheck()
