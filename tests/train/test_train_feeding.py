"""Everything that people feed Keras with: each sample once a pass, in order, however it is cut; the same weights."""

import functools
from collections import Counter
from itertools import chain, cycle, islice

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled, numbers, relative_l2
from PIL import Image

import autobatch
from autobatch.data.epoch import rungs
from autobatch.data.open import DataOptions, open_data
from autobatch.testing import FakeEngine
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.validation import Validation, open_validation

pytestmark = pytest.mark.usefixtures("probed_once")
SAMPLES, EFFECTIVE, OWN, EPOCHS = 20, 8, 3, 2
LABELS = np.arange(SAMPLES) // 10


def scaled():
    return ImageDataGenerator(rescale=1 / 255)


class World:
    """20 pictures of one shade each: picture n has the shade 10 n, and the first 10 are of class 0."""

    def __init__(self, root):
        self.root = root
        shades = np.arange(SAMPLES).reshape(-1, 1, 1, 1) * 10
        self.raw = np.broadcast_to(shades, (SAMPLES, 8, 8, 3)).astype(np.float32)
        self.x, self.y = self.raw / 255, np.eye(2, dtype=np.float32)[LABELS]
        self.names = [f"{'ab'[label]}/{number:02}.png" for number, label in enumerate(LABELS)]
        for name, picture in zip(self.names, self.raw, strict=True):
            (root / name).parent.mkdir(exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(root / name)

    def flow(self):
        return scaled().flow_from_directory(self.root, target_size=(8, 8), batch_size=5, shuffle=False)

    def table(self):
        return pytest.importorskip("pandas").DataFrame({"file": self.names, "kind": [name[0] for name in self.names]})

    def batches(self):
        return [(self.x[start : start + OWN], self.y[start : start + OWN]) for start in range(0, SAMPLES, OWN)]

    def numbers(self, batches):
        """Which samples those are, in order; their pictures and labels are what they should be."""
        batches = list(batches)
        numbers = [round(float(picture.mean()) * 25.5) for batch in batches for picture in batch.x]
        assert np.allclose(np.concatenate([batch.x for batch in batches]), self.x[numbers], atol=1e-6)
        assert np.array_equal(np.concatenate([batch.y for batch in batches]), self.y[numbers])
        weights = [batch.sample_weight for batch in batches if batch.sample_weight is not None]
        assert not weights or np.concatenate(weights).tolist() == [1] * len(numbers)
        return numbers

    def dataset(self):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((self.x, self.y))


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches[index]


TABLE = {"x_col": "file", "y_col": "kind"}
ROWS = {
    "generator + directory": lambda w: (scaled(), w.root, {}),
    "generator + arrays": lambda w: (scaled(), (w.raw, w.y), {}),
    "generator + arrays with weights": lambda w: (scaled(), (w.raw, w.y, np.ones(SAMPLES, np.float32)), {}),
    "generator + dataframe": lambda w: (scaled(), w.table(), {**TABLE, "directory": str(w.root)}),
    "a flow already built": lambda w: (w.flow(), None, {}),
    "arrays": lambda w: ((w.x, w.y), None, {}),
    "arrays, one after the other": lambda w: (w.x, w.y, {}),
    "PyDataset": lambda w: (Batches(w.batches()), None, {}),
    "tf.data, batched": lambda w: (w.dataset().batch(OWN), None, {}),
    "tf.data, not batched": lambda w: (w.dataset(), None, {}),
    "Python generator": lambda w: (cycle(w.batches()), None, {}),
    "several sources": lambda w: (autobatch.mix([(w.x[:7], w.y[:7]), (w.x[7:], w.y[7:])]), None, {}),
    "several sources, one a stream": lambda w: (
        autobatch.mix([(w.x[:7], w.y[:7]), Batches([(w.x[7:], w.y[7:])])], weights=[7, 13], samples=SAMPLES), None, {}
    ),
}  # fmt: skip
ENDLESS = {"Python generator"}
MIXED = {name for name in ROWS if name.startswith("several")}


class Noting(FakeEngine):
    """Notes the totals of each micro-batch; from the third on, only so many samples fit."""

    def __init__(self, fits=SAMPLES):
        super().__init__(lambda call, size: call > 2 and size > fits)
        self.sizes = []

    def accumulate(self, batch, whole):
        logs = super().accumulate(batch, whole)
        self.sizes.append((batch.size, whole.size))
        return logs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("feeding"))


@pytest.fixture(scope="module")
def untrained():
    """A model beside an engine that trains nothing."""
    return net()


def net():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 3)), Here(), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    # A few steps take less time than tracing them.
    options = {"metrics": None, "run_eagerly": True}
    return compiled(keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")]), **options)


def runner(micro):
    return MicroBatchRunner(controller_without_sensors(micro, rungs(EFFECTIVE, micro), print))


@pytest.mark.parametrize(
    ("micro", "fits"), [(8, 8), (3, 3), (8, 2)], ids=["one micro-batch", "several", "a shrink midway"]
)
@pytest.mark.parametrize("row", ROWS)
def test_each_sample_of_a_pass_is_used_once_and_in_order(row, micro, fits, world, untrained):
    """Seen to fail with the rest of a stream's own batch dropped at the end of an update."""
    engine = Noting(fits)
    data, source, options = ROWS[row](world)
    given = open_data(data, source, DataOptions(untrained, seed=1, flow=options, shuffle=False))
    steps = 3 if row in ENDLESS else None
    plan = TrainingPlan(
        effective_batch_size=EFFECTIVE, epochs=EPOCHS, steps_per_epoch=steps, verbose=0, workers=2, shuffle=False
    )
    run(untrained, engine, given.data, runner(micro), plan)
    seen = world.numbers(chain.from_iterable(engine.updates))
    if row in MIXED:
        assert Counter(seen[:SAMPLES]) == Counter(seen[SAMPLES:]) == Counter(range(SAMPLES))
    else:
        assert seen == list(islice(cycle(range(SAMPLES)), 48 if row in ENDLESS else EPOCHS * SAMPLES))
    assert max(size for size, _ in engine.sizes[2:]) <= fits
    wholes = Counter(dict.fromkeys(range(3), 0))
    for size, whole in engine.sizes:
        wholes[whole] += size
    full = 48 if row in ENDLESS else 32
    assert wholes[EFFECTIVE] == full
    assert wholes[4] == (0 if row in ENDLESS else 8)  # the short update at the end of each pass knows its size


def trained(data, source=None, **options):
    model = net()
    plain = {"max_batch_size": 3, "cache": False, "verbose": 0, "shuffle": False, "seed": 1}
    autobatch.fit(model, data, source, **plain, **options)
    return numbers(model.weights)


@pytest.fixture(scope="module")
def of_arrays(world):
    """The weights that the arrays are trained to, by how."""
    return functools.cache(lambda **how: trained((world.x, world.y), **how))


@pytest.mark.parametrize("row", sorted(set(ROWS) - MIXED - {"arrays"}))
def test_the_same_data_train_to_the_same_weights_whatever_they_are_given_as(row, world, of_arrays):
    """Seen to fail with the labels of one kind in reverse order."""
    # Three updates of a pass, the last of them short, are not what an endless stream can give.
    how = {"batch_size": 5, "steps_per_epoch": 4} if row in ENDLESS else {"batch_size": EFFECTIVE}
    data, source, flow = ROWS[row](world)
    ours = trained(data, source, **how, **flow)
    assert relative_l2(ours, of_arrays(**how)) < 1e-6
    assert relative_l2(ours, numbers(net().weights)) > 1e-3


@pytest.mark.parametrize("row", ROWS)
def test_validation_in_every_form_sees_each_sample_once(row, world, untrained):
    """Seen to fail with the last, short step left out."""
    engine = FakeEngine()
    data, source, flow = ROWS[row](world)
    with_frame = row == "generator + dataframe"
    held_out = source if with_frame or source is None else (data, source)
    held_out = data if held_out is None else held_out
    training = (scaled(), source) if with_frame else ((world.x, world.y), None)
    options = DataOptions(untrained, seed=1, flow=flow if with_frame else {})
    opened, _ = open_validation(*training, held_out, open_data(*training, options), options)
    steps = 4 if row in ENDLESS else None
    reading = {"steps": steps, "workers": 1, "max_bytes": 2**20}
    validation = Validation(opened.data, effective=5, runner=runner(5), **reading)
    validation.run(untrained, engine, keras.callbacks.CallbackList())
    validation.close()
    assert sorted(world.numbers(engine.evaluated)) == list(range(SAMPLES))


class Seeing(keras.Model):
    """Notes what its step is handed, by kind."""

    def __init__(self):
        super().__init__()
        self.dense, self.seen = keras.layers.Dense(1), set()

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        import tensorflow as tf

        self.seen.add(f"tuple of {len(data)}" if isinstance(data, tuple) else "bare")
        x = data[0] if isinstance(data, tuple) else data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(x) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}

    def get_config(self):
        raise NotImplementedError


def tensors(x):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(x).batch(2)


UNLABELLED = {
    "arrays": (lambda x: x, "bare"),
    "tf.data": (tensors, "bare"),
    "tf.data of tuples": (lambda x: tensors((x,)), "tuple of 1"),
    "PyDataset": (lambda x: Batches([x, x]), "tuple of 1"),
}


@pytest.mark.parametrize("kind", UNLABELLED)
def test_a_step_of_the_users_own_is_handed_data_without_targets_as_in_keras(kind):
    """Seen to fail with a tuple for everything: `reconstruction - data` of an autoencoder would not work."""
    make, expected = UNLABELLED[kind]
    model = Seeing()
    model.compile("sgd", run_eagerly=True)
    model.build((None, 3))
    data = make(np.ones((6, 3), np.float32))
    autobatch.fit(model, data, batch_size=2, cache=False, verbose=0)
    assert model.seen == {expected}


STEPS = {"tf.data, batched": 3, "tf.data, not batched": 3, "PyDataset": 3, "arrays": 3, "Python generator": 4}


@pytest.mark.parametrize("row", STEPS)
def test_the_number_of_updates_is_known_in_the_first_epoch_where_it_can_be(row, world, untrained):
    """Seen to fail with the length of a stream known only after its first pass: a bar that says "Unknown"."""
    told = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: told.append(note.params["steps"]))
    data, _, _ = ROWS[row](world)
    given = open_data(data, None, DataOptions(untrained, seed=1, shuffle=False))
    steps = 4 if row in ENDLESS else None
    plan = TrainingPlan(effective_batch_size=EFFECTIVE, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[note])
    run(untrained, FakeEngine(), given.data, runner(EFFECTIVE), plan)
    assert told == [STEPS[row]] * 2
