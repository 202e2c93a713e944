import keras
import numpy as np
import pytest
from flows import echo_net, small_net, two_inputs, two_outputs
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.epoch import sample_seed
from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError, ModelError

DRAW = np.random.default_rng(3)
X = DRAW.integers(0, 256, (12, 12, 10, 3), dtype=np.uint8)
Y = np.arange(12) % 3
W = np.arange(12) / 4
HOT = np.eye(3)[Y]
SPARSE = "sparse_categorical_crossentropy"


def three():
    return small_net(3)


def sparse():
    return small_net(3, SPARSE)


def matched(model, source, datagen=None, *, role="training", **options):
    return open_pictures(datagen or ImageDataGenerator(), source, DataOptions(model, seed=1, subset=role, flow=options))


def with_loss(model, loss):
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize(
    ("model", "source", "y", "weights"),
    [
        (sparse, (X, Y), Y, None),
        (sparse, (X, Y[:, None]), Y[:, None], None),
        (sparse, (X, Y.tolist()), Y, None),
        (sparse, (X, Y, W), Y, W),
        (three, (X, HOT), HOT, None),
        (three, (X, HOT.tolist(), W.tolist()), HOT, W),
        (lambda: small_net(1, "binary_crossentropy"), (X, Y % 2), Y % 2, None),
        (lambda: small_net(1, "mse"), (X, W), W, None),
        (lambda: small_net(3, "mse"), (X, HOT), HOT, None),
        (lambda: small_net(7, None), (X,), None, None),
        (lambda: small_net(7, None), X, None, None),
        (lambda: small_net(7, lambda true, pred: keras.ops.mean(pred)), (X, W), W, None),
        (echo_net, (X, X / 2), X / 2, None),
        (echo_net, X, X, None),
    ],
)
def test_arrays_come_as_they_are(model, source, y, weights):
    flow, notes = matched(model(), source)
    batch = flow.read([3, 0, 5], epoch=0)
    assert np.array_equal(batch.x, X[[3, 0, 5]])
    assert batch.x.dtype == np.float32
    assert (batch.y is None) == (y is None)
    assert y is None or np.array_equal(batch.y, y[[3, 0, 5]])
    assert weights is None or np.array_equal(batch.sample_weight, weights[[3, 0, 5]])
    assert batch.nbytes == 3 * flow.sample_bytes
    assert notes == (() if y is not X else notes)


def test_without_targets_a_picture_to_picture_model_gets_the_transformed_pictures():
    flow, notes = matched(echo_net(), X, ImageDataGenerator(rotation_range=30, rescale=1 / 255))
    batch = flow.read([4, 2], epoch=1)
    assert np.array_equal(batch.x, batch.y)
    assert batch.x is not batch.y
    assert flow.class_mode == "input"
    assert notes == ("y=x: the model's output has the shape of its input, and it is compiled with mse",)


def test_a_picture_is_the_one_keras_makes_of_the_array():
    datagen = ImageDataGenerator(rotation_range=20, zoom_range=0.3, horizontal_flip=True, rescale=1 / 255)
    batch = matched(small_net(3, SPARSE), (X, Y), datagen)[0].read([7], epoch=2)
    np.random.seed(sample_seed(1, 2, 7))
    x, y = datagen.flow(X, Y)._get_batches_of_transformed_samples([7])
    assert np.array_equal(batch.x, x)
    assert np.array_equal(batch.y, y)


def test_an_array_of_bytes_is_not_copied_into_one_of_floats():
    # seen to fail with Keras' own flow of the whole array
    flow, _ = matched(small_net(3, SPARSE), (X, Y))
    assert np.shares_memory(flow._flow.x, X)


@pytest.mark.parametrize("x", [[X, W], [X, [W]], (X, W)])
def test_further_inputs_of_a_list_are_handed_over_beside_the_pictures(x):
    model = keras.Model(
        inputs := [keras.Input((12, 10, 3)), keras.Input((1,))],
        keras.layers.Dense(3)(
            keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(inputs[0]), inputs[1]])
        ),
    )
    batch = matched(with_loss(model, SPARSE), (x, Y))[0].read([2, 1], 0)
    assert isinstance(batch.x, list)
    assert np.array_equal(batch.x[0], X[[2, 1]])
    assert np.array_equal(batch.x[1], W[[2, 1]])


EXTRA = DRAW.normal(size=(12, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("names", "x"),
    [
        (False, [X, EXTRA]),
        (True, {"picture": X, "extra": EXTRA}),
        (True, {"extra": EXTRA, "picture": X}),
        (False, {"extra": EXTRA, "picture": X}),
    ],
)
def test_a_model_of_several_inputs_trains_on_them(names, x):
    model = with_loss(two_inputs(names=names), "mse")
    batch = matched(model, (x, HOT[:, :2]), ImageDataGenerator(rotation_range=9))[0].read(range(6), 0)
    assert type(batch.x) is type(x)
    model.run_eagerly = True  # no graph is built for one step
    assert np.isfinite(model.train_on_batch(batch.x, batch.y))


@pytest.mark.parametrize("y", [[W, HOT[:, :2]], (W, HOT[:, :2])])
def test_a_model_of_several_outputs_trains_on_a_list_of_targets(y):
    model = two_outputs()
    flow, _ = matched(model, (X, y, [W, W]))
    batch = flow.read(range(6), 0)
    assert [part.shape for part in batch.y] == [(6,), (6, 2)]
    assert batch.nbytes == 6 * flow.sample_bytes
    model.run_eagerly = True  # no graph is built for one step
    assert np.all(np.isfinite(model.train_on_batch(batch.x, batch.y, sample_weight=batch.sample_weight)))


def test_a_model_of_named_outputs_trains_on_a_dict_of_targets():
    inputs = keras.Input((12, 10, 3))
    flat = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, {"a": keras.layers.Dense(1)(flat), "b": keras.layers.Dense(2)(flat)})
    model.compile("sgd", {"a": "mse", "b": "mse"})
    batch = matched(model, (X, {"a": W, "b": HOT[:, :2]}))[0].read([1, 2], 0)
    assert sorted(batch.y) == ["a", "b"]
    model.run_eagerly = True  # no graph is built for one step
    assert np.all(np.isfinite(model.train_on_batch(batch.x, batch.y)))


@pytest.mark.parametrize(("role", "rows"), [("training", range(3, 12)), ("validation", range(3))])
def test_the_subset_follows_from_the_split_and_weights_are_cut_with_it(role, rows):
    """Seen to fail with Keras' own subset, which leaves the weights uncut."""
    flow, notes = matched(small_net(3, SPARSE), (X, Y, W), ImageDataGenerator(validation_split=0.25), role=role)
    batch = flow.read(range(len(flow)), 0)
    assert np.array_equal(batch.x, X[rows])
    assert np.array_equal(batch.y, Y[rows])
    assert np.array_equal(batch.sample_weight, W[rows])
    assert notes == (
        f"subset={role!r}: the generator's validation_split=0.25 leaves it {len(rows) / 12:.0%} of the samples",
    )


def test_the_split_is_the_one_keras_makes():
    datagen = ImageDataGenerator(validation_split=0.3)
    for part in ("training", "validation"):
        flow, _ = matched(small_net(3, SPARSE), (X, Y), datagen, role=part)
        made = datagen.flow(X, Y, subset=part, shuffle=False, batch_size=12)[0]
        assert np.array_equal(flow.read(range(len(flow)), 0).x, made[0])


def test_quantities_may_differ_between_the_parts_and_classes_may_if_that_is_wanted():
    datagen = ImageDataGenerator(validation_split=0.25)
    assert len(matched(small_net(1, "mse"), (X, W), datagen)[0]) == 9
    assert len(matched(small_net(3, SPARSE), (X, np.sort(Y)), datagen, ignore_class_split=True)[0]) == 9
    assert len(matched(small_net(3, SPARSE), (X, np.sort(Y)), datagen, subset=None)[0]) == 12


def test_pictures_are_saved_where_it_is_wanted(tmp_path):
    flow, _ = matched(small_net(3, SPARSE), (X, Y), save_to_dir=tmp_path, save_prefix="seen")
    flow.read([2, 3], 0)
    assert sorted(file.name[:7] for file in tmp_path.iterdir()) == ["seen_2_", "seen_3_"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"featurewise_center": True}, "featurewise_center"),
        ({"featurewise_std_normalization": True, "featurewise_center": True}, "featurewise_std_normalization"),
        ({"zca_whitening": True, "featurewise_center": True}, "zca_whitening"),
    ],
)
def test_a_generator_that_was_not_fitted_is_said(options, names):
    datagen = ImageDataGenerator(**options)
    flow, notes = matched(small_net(3, SPARSE), (X, Y), datagen)
    assert names in notes[-1]
    assert "was not fitted; call datagen.fit(pictures) before" in notes[-1]
    with pytest.warns(UserWarning, match="hasn't been fit"):
        flow.read([0], 0)
    datagen.fit(X)
    assert matched(small_net(3, SPARSE), (X, Y), datagen)[1] == ()


def test_what_keras_warns_of_becomes_a_note():
    x = np.zeros((4, 12, 10, 2))
    _, notes = matched(small_net(3, SPARSE, (12, 10, 2)), (x, np.arange(4) % 3))
    assert "expected either 1, 3, or 4 channels" in notes[0]


def test_channels_first_is_the_generators_choice():
    inputs = keras.Input((3, 12, 10))
    model = with_loss(keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))), SPARSE)
    flow, _ = matched(model, (X.transpose(0, 3, 1, 2), Y), ImageDataGenerator(data_format="channels_first"))
    assert flow.sample_shape == (3, 12, 10)


def masks(output, loss):
    inputs = keras.Input((12, 10, 3))
    return with_loss(keras.Model(inputs, keras.layers.Conv2D(output, 1)(inputs)), loss)


def test_masks_are_targets():
    assert matched(masks(1, "binary_crossentropy"), (X, X[..., :1]))[0].class_mode == "raw"
    assert matched(masks(5, SPARSE), (X, X[..., 0] % 5))[0].class_mode == "raw"
    assert matched(masks(5, SPARSE), (X, X[..., :1] % 5))[0].class_mode == "raw"


@pytest.mark.parametrize(
    ("build", "source", "options", "error", "message"),
    [
        (small_net, (X[..., 0], HOT), {}, ArgumentError, r"no pictures in x.*\(12, 12, 10\)"),
        (small_net, ([EXTRA, X], HOT), {}, ArgumentError, "no pictures in x.*come first"),
        (small_net, ({"a": EXTRA}, HOT), {}, ArgumentError, "no pictures in x"),
        (small_net, (X[:0], HOT[:0]), {}, ArgumentError, "x with 0 rows"),
        (three, (X[:, :9], HOT), {}, ArgumentError, r"\(9, 10, 3\).*model takes \(12, 10, 3\)\. Received: x"),
        (three, (X[..., :1], HOT), {}, ArgumentError, r"\(12, 10, 1\).*model takes \(12, 10, 3\)"),
        (three, (X, HOT[:5]), {}, ArgumentError, r"12 pictures.*y with.*\(5, 3\)\. Expected 12"),
        (three, (X, HOT, W[:5]), {}, ArgumentError, r"Received: sample_weight with.*\(5,\)"),
        (three, (X, 5), {}, ArgumentError, r"Received: y with an array of shape \(\)"),
        (three, (X, Y), {}, ArgumentError, r"Received: y of shape \(12,\).*\(None, 3\), one-hot vectors, or"),
        (lambda: small_net(4), (X, HOT), {}, ArgumentError, r"returns \(None, 4\).*Received: y of shape \(12, 3\)"),
        (sparse, (X, HOT), {}, ArgumentError, r"compares class numbers.*\(12, 3\)"),
        (lambda: small_net(2, SPARSE), (X, Y), {}, ModelError, r"2 outputs.*numbers from 0 to 2\. Expected 0 to 1"),
        (lambda: small_net(2, SPARSE), (X, Y - 1), {}, ModelError, "numbers from -1 to 1"),
        (lambda: small_net(3, "mse"), (X, W), {}, ArgumentError, r"returns \(None, 3\) and is compiled with mse"),
        (lambda: small_net(1, "mse"), (X, HOT), {}, ArgumentError, r"Received: y of shape \(12, 3\)"),
        (three, (X, ["a"] * 12), {}, ArgumentError, "<U1 in y, beginning with.*'a'"),
        (three, X, {}, ArgumentError, r"needs targets\. Received: x alone"),
        (three, (X, HOT, W, W), {}, ArgumentError, "a tuple of 4"),
        (three, [X, HOT], {}, ArgumentError, "reads a folder, a dataframe or arrays.*Received: list"),
        (three, 7, {}, ArgumentError, "Received: int 7"),
        (three, ([X, EXTRA], HOT), {}, ArgumentError, "takes 1 input. Received: 2 inputs in x"),
        (two_inputs, (X, Y), {}, ArgumentError, "takes 2 inputs. Received: 1 input in x.*'picture'"),
        (two_inputs, ([X, EXTRA[:, :3]], Y), {}, ArgumentError, r"shape \(None, 3\) in x. Expected \(None, 4\)"),
        (lambda: two_inputs(names=True), ({"picture": X, "x": EXTRA}, Y), {}, ArgumentError, "'extra' is missing"),
        (two_outputs, (X, W), {}, ArgumentError, r"2 outputs.*Received: y with 1 array\. Expected 2"),
        (three, (X, HOT), {"x_col": "a"}, ArgumentError, "Arrays have no x_col; it is for a dataframe"),
        (three, (X, HOT), {"target_size": (1, 1)}, ArgumentError, "it is for a folder or a dataframe"),
        (three, (X, HOT), {"colour": 1}, ArgumentError, "no option of that name"),
        (three, (X, HOT), {"subset": "training"}, ArgumentError, "validation_split is 0"),
        (three, (X, HOT), {"role": "validation"}, ArgumentError, "validation_split is 0"),
    ],
)  # fmt: skip
def test_a_contradiction_is_an_error_before_anything_is_run(build, source, options, error, message):
    with pytest.raises(error, match=message):
        matched(build(), source, **options)


@pytest.mark.parametrize(
    ("y", "split", "message"),
    [
        (np.sort(Y), 0.25, "other classes than.*1 classes in the first 3 samples and 3 in the rest"),
        (Y, 0.05, r"nothing is left for validation.*validation_split=0\.05"),
    ],
)
def test_a_split_that_cannot_be_meant_is_refused(y, split, message):
    with pytest.raises(ArgumentError, match=message):
        matched(small_net(3, SPARSE), (X, y), ImageDataGenerator(validation_split=split))
