import functools

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.model_spec import kind_of, losses_of, name_of
from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError, DataError, ModelError

L = keras.layers


def classifier(units=2, loss="categorical_crossentropy", shape=(12, 10, 3)):
    inputs = keras.Input(shape)
    outputs = L.Dense(units)(L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss)
    return model


def autoencoder(loss="mse", shape=(12, 10, 3), channels=3):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, L.Conv2D(channels, 1)(inputs))
    model.compile("sgd", loss)
    return model


def matched(model, folder, datagen=None, **options):
    subset = options.pop("role", "training")
    return open_pictures(
        datagen or ImageDataGenerator(), folder, DataOptions(model, seed=1, subset=subset, flow=options)
    )


class MyLoss(keras.losses.SparseCategoricalCrossentropy):
    pass


def home_made(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred)


@pytest.mark.parametrize(
    ("loss", "units", "counts", "mode"),
    [
        ("categorical_crossentropy", 3, (1, 1, 1), "categorical"),
        ("kl_divergence", 3, (1, 1, 1), "categorical"),
        (keras.losses.CategoricalCrossentropy(from_logits=True), 3, (1, 1, 1), "categorical"),
        (keras.losses.CategoricalFocalCrossentropy(), 3, (1, 1, 1), "categorical"),
        (keras.losses.categorical_hinge, 2, (1, 1), "categorical"),
        ("sparse_categorical_crossentropy", 3, (1, 1, 1), "sparse"),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), 2, (1, 1), "sparse"),
        (MyLoss(), 2, (1, 1), "sparse"),
        (keras.losses.sparse_categorical_crossentropy, 2, (1, 1), "sparse"),
        ("binary_crossentropy", 1, (1, 1), "binary"),
        ("hinge", 1, (1, 1), "binary"),
        (keras.losses.BinaryFocalCrossentropy(), 1, (1, 1), "binary"),
        ("binary_crossentropy", 3, (1, 1, 1), "categorical"),
        ("mse", 1, (1, 1), "binary"),
        ("mse", 3, (1, 1, 1), "categorical"),
        (home_made, 1, (1, 1), "binary"),
        (home_made, 2, (1, 1), "categorical"),
        (functools.partial(home_made), 2, (1, 1), "categorical"),
        (None, 2, (1, 1), "categorical"),
        (["sparse_categorical_crossentropy"], 2, (1, 1), "sparse"),
    ],
)
def test_the_class_mode_follows_from_loss_and_output(write_folder, loss, units, counts, mode):
    source, notes = matched(classifier(units, loss), write_folder(*counts))
    assert source.class_mode == mode
    assert any(note.startswith(f"class_mode={mode!r}: ") for note in notes)


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy", keras.losses.MeanAbsoluteError(), None, home_made])
def test_an_output_like_the_input_is_compared_with_the_input(write_folder, loss):
    assert matched(autoencoder(loss), write_folder(3))[0].class_mode == "input"


@pytest.mark.parametrize(
    ("shape", "size", "color", "reasons"),
    [
        (
            (12, 10, 3),
            (12, 10),
            "rgb",
            ["target_size=(12, 10): the model's input", "color_mode='rgb': the model takes 3"],
        ),
        ((8, 8, 1), (8, 8), "grayscale", ["target_size=(8, 8)", "color_mode='grayscale': the model takes 1 channel"]),
        ((8, 9, 4), (8, 9), "rgba", ["target_size=(8, 9)", "color_mode='rgba': the model takes 4 channels"]),
        ((None, None, 3), (256, 256), "rgb", ["target_size=(256, 256): Keras' default", "color_mode='rgb'"]),
        ((None, 10, 1), (256, 10), "grayscale", ["target_size=(256, 10): Keras' default", "color_mode='grayscale'"]),
    ],
)
def test_size_and_colours_follow_from_the_input(write_folder, shape, size, color, reasons):
    source, notes = matched(classifier(shape=shape), write_folder(1, 1))
    assert source.sample_shape == (*size, {"grayscale": 1, "rgb": 3, "rgba": 4}[color])
    for reason in reasons:
        assert any(note.startswith(reason) for note in notes)


def test_channels_first_is_read_as_such(write_folder):
    inputs = keras.Input((1, 12, 10))
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(inputs)))
    model.compile("sgd", "mse")
    source, _ = matched(model, write_folder(1, 1), ImageDataGenerator(data_format="channels_first"))
    assert source.sample_shape == (1, 12, 10)


def test_a_model_that_was_never_called_gets_keras_defaults(write_folder):
    model = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(2)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    source, notes = matched(model, write_folder(1, 1))
    assert source.sample_shape == (256, 256, 3)
    assert source.class_mode == "sparse"
    assert any(note.startswith("color_mode='rgb': Keras' default") for note in notes)


def test_a_sequential_model_with_an_input_is_read(write_folder):
    model = keras.Sequential([keras.Input((6, 7, 1)), L.Flatten(), L.Dense(1)])
    model.compile("sgd", "binary_crossentropy")
    assert matched(model, write_folder(1, 1))[0].sample_shape == (6, 7, 1)


def test_what_is_given_wins_and_is_not_explained(write_folder):
    options = {"target_size": (5, 6), "color_mode": "grayscale", "class_mode": "sparse"}
    source, notes = matched(classifier(2, home_made, (None, None, 1)), write_folder(1, 1), **options)
    assert source.sample_shape == (5, 6, 1)
    assert source.class_mode == "sparse"
    assert notes == ()


@pytest.mark.parametrize(("role", "count"), [("training", 8), ("validation", 2)])
def test_the_subset_follows_from_the_split(write_folder, role, count):
    datagen = ImageDataGenerator(validation_split=0.2)
    source, notes = matched(classifier(), write_folder(5, 5), datagen, role=role)
    assert len(source) == count
    assert any(note.startswith(f"subset={role!r}: the generator's validation_split=0.2") for note in notes)


def test_without_a_split_all_pictures_are_for_training(write_folder):
    source, notes = matched(classifier(), write_folder(5, 5))
    assert len(source) == 10
    assert not any("subset" in note for note in notes)


def test_the_part_of_ones_choice_wins(write_folder):
    datagen = ImageDataGenerator(validation_split=0.2)
    assert len(matched(classifier(), write_folder(5, 5), datagen, subset="validation")[0]) == 2
    assert len(matched(classifier(), write_folder(5, 5, name="b"), datagen, subset=None)[0]) == 10


def test_empty_classes_are_told(write_folder):
    _, notes = matched(classifier(3), write_folder(2, 0, 1))
    assert "no pictures for 1 of 3 classes: class1" in notes


def compiled(model, loss="mse"):
    model.compile("sgd", loss)
    return model


def several_inputs():
    one, two = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    return compiled(keras.Model([one, two], L.Dense(2)(L.Flatten()(L.Add()([one, two])))))


def several_outputs():
    inputs = keras.Input((4, 4, 3))
    flat = L.Flatten()(inputs)
    return compiled(keras.Model(inputs, [L.Dense(2)(flat), L.Dense(3)(flat)]))


def vector_model():
    return compiled(keras.Sequential([keras.Input((784,)), L.Dense(2)]))


def not_compiled():
    return keras.Sequential([keras.Input((4, 4, 3)), L.Flatten(), L.Dense(2)])


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (not_compiled, {}, ModelError, r"not compiled.*Call model\.compile"),
        (several_inputs, {}, ModelError, "takes 2 inputs"),
        (several_outputs, {}, ModelError, "has 2 outputs.*Give class_mode"),
        (vector_model, {}, ModelError, r"takes no pictures.*\(None, 784\)"),
        (lambda: classifier(shape=(4, 4, 7)), {}, ModelError, "pictures of 7 channels"),
        (lambda: classifier(10), {}, ModelError, "3 classes.*10 outputs"),
        (lambda: classifier(10, "sparse_categorical_crossentropy"), {}, ModelError, "3 classes.*10 outputs"),
        (lambda: classifier(2, "sparse_categorical_crossentropy"), {}, ModelError, "3 classes.*2 outputs"),
        (lambda: classifier(1, "sparse_categorical_crossentropy"), {}, ModelError, "3 classes.*1 output"),
        (lambda: classifier(10, "binary_crossentropy"), {}, ModelError, "3 classes.*10 outputs"),
        (lambda: classifier(1, "binary_crossentropy"), {}, ArgumentError, "3 classes.*1 output"),
        (lambda: classifier(1, "mse"), {"class_mode": "categorical"}, ModelError, "3 classes.*1 output"),
        (lambda: classifier(1, "mse"), {"class_mode": "sparse"}, ModelError, "3 classes.*1 output"),
        (lambda: classifier(3), {"target_size": (99, 10)}, ArgumentError, r"12 x 10.*target_size=\(99, 10\)"),
        (lambda: classifier(3), {"color_mode": "rgba"}, ArgumentError, "3 channels, and 'rgba' has 4"),
        (lambda: classifier(3), {"class_mode": "sparse"}, ArgumentError, "compares one-hot vectors"),
        (lambda: classifier(3), {"class_mode": None}, ArgumentError, "needs targets"),
        (lambda: classifier(3), {"class_mode": "input"}, ArgumentError, r"the model's output is \(3,\)"),
        (
            lambda: classifier(3, "sparse_categorical_crossentropy"),
            {"class_mode": "categorical"},
            ArgumentError,
            "compares class numbers.*Expected 'sparse'",
        ),
        (lambda: classifier(3, "mse"), {"class_mode": "sparse"}, ArgumentError, "one number for each of 3 outputs"),
        (lambda: autoencoder(channels=1), {}, ModelError, "not one vector"),
        (autoencoder, {"class_mode": "sparse"}, ArgumentError, "not one vector.*Expected 'input'"),
        (lambda: autoencoder(channels=1), {"class_mode": "input"}, ArgumentError, "can't be the other's target"),
        (lambda: classifier(3), {"colour": 1}, ArgumentError, "no option of that name.*color_mode"),
        (lambda: classifier(3), {"role": "validation"}, ArgumentError, "validation_split is 0"),
    ],
)
def test_a_contradiction_is_an_error_before_anything_is_run(write_folder, build, options, error, message):
    with pytest.raises(error, match=message):
        matched(build(), write_folder(1, 1, 1), **options)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (several_outputs, {"class_mode": "sparse"}),
        (lambda: classifier(2, "sparse_categorical_crossentropy"), {"class_mode": "binary"}),
        (lambda: classifier(1, "binary_crossentropy"), {"class_mode": "sparse"}),
        (lambda: classifier(2, None), {"class_mode": None}),
        (lambda: classifier(7, home_made), {"class_mode": "sparse"}),
    ],
)
def test_what_keras_can_train_is_not_refused(write_folder, build, options):
    source, _ = matched(build(), write_folder(1, 1), **options)
    assert source.class_mode == options["class_mode"]


def test_a_folder_that_is_not_there_is_the_folders_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        matched(classifier(), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("build", "counts"),
    [
        (lambda: classifier(3), (2, 2, 2)),
        (lambda: classifier(3, "sparse_categorical_crossentropy"), (2, 2, 2)),
        (lambda: classifier(1, "binary_crossentropy"), (2, 2)),
        (lambda: classifier(2, "binary_crossentropy"), (2, 2)),
        (autoencoder, (4,)),
    ],
)
def test_what_was_inferred_trains(write_folder, build, counts):
    model = build()
    source, _ = matched(model, write_folder(*counts), ImageDataGenerator(rescale=1 / 255))
    batch = source.read(range(4), epoch=0)
    model.run_eagerly = True  # no graph is built for one step
    assert np.isfinite(model.train_on_batch(batch.x, batch.y))


def test_every_loss_of_keras_has_a_kind_or_is_known_to_have_none():
    without = {"CTC", "Circle", "Dice", "Tversky", "Loss"}
    classes = {name for name in dir(keras.losses) if isinstance(getattr(keras.losses, name), type)}
    unknown = {name for name in classes - without if kind_of(getattr(keras.losses, name)()) is None}
    assert unknown == set()


@pytest.mark.parametrize(
    ("loss", "kind", "name"),
    [
        ("mse", "regression", "mse"),
        ("bce", "binary", "bce"),
        ("no such loss", None, "no such loss"),
        (keras.losses.kl_divergence, "categorical", "kl_divergence"),
        (MyLoss(), "sparse", "MyLoss"),
        (home_made, None, "home_made"),
    ],
)
def test_losses_are_known_by_name(loss, kind, name):
    assert kind_of(loss) == kind
    assert name_of(loss) == name


def test_losses_are_found_in_lists_and_dicts():
    model = keras.Sequential()
    model.compile(loss={"a": "mse", "b": ["mae", None]})
    assert losses_of(model) == ["mse", "mae"]
