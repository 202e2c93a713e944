import keras
import numpy as np
import pandas as pd
import pytest
from flows import echo_net, frame_of, small_net, two_inputs, two_outputs
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError, DataError, ModelError

SPARSE = "sparse_categorical_crossentropy"


@pytest.fixture
def folder(write_folder):
    return write_folder(4, 3, 3)


def three():
    return small_net(3)


def sparse():
    return small_net(3, SPARSE)


def matched(model, folder, frame=None, datagen=None, *, role="training", **options):
    frame = frame_of(folder) if frame is None else frame
    options = {"directory": folder} | options
    return open_pictures(datagen or ImageDataGenerator(), frame, DataOptions(model, seed=1, subset=role, flow=options))


@pytest.mark.parametrize(
    ("model", "options", "mode", "reason"),
    [
        (three, {}, "categorical", "categorical_crossentropy compares one-hot vectors"),
        (sparse, {}, "sparse", f"{SPARSE} compares class numbers"),
        (lambda: small_net(3, "binary_crossentropy"), {}, "categorical", "3 outputs, compiled with binary"),
        (lambda: small_net(1, "mse"), {"y_col": "price"}, "raw", "column 'price' holds numbers, and mse compares num"),
        (lambda: small_net(1, "mae"), {"y_col": "number"}, "raw", "column 'number' holds numbers"),
        (sparse, {"y_col": "number"}, "raw", f"{SPARSE} compares class numbers"),
        (lambda: small_net(1, None), {"y_col": "price"}, "raw", "holds numbers, and no loss compares"),
        (lambda: small_net(2, "mse"), {"y_col": ["price", "number"]}, "raw", "2 columns of numbers, compiled with mse"),
        (lambda: small_net(1, "mse"), {"y_col": ["price"]}, "raw", "1 columns of numbers"),
        (two_outputs, {"y_col": ["price", "pair"]}, "multi_output", "2 columns for 2 outputs"),
        (echo_net, {}, "input", "the model's output has the shape of its input"),
    ],
)
def test_the_class_mode_follows_from_loss_output_and_columns(folder, model, options, mode, reason):
    frame = frame_of(folder)
    frame["pair"] = [[1.0, 2.0]] * len(frame)
    source, notes = matched(model(), folder, frame, **options)
    assert source.class_mode == mode
    assert any(note.startswith(f"class_mode={mode!r}: ") and reason in note for note in notes)


def test_a_yes_or_no_of_strings_is_binary(write_folder):
    folder = write_folder(2, 2)
    assert matched(small_net(1, "binary_crossentropy"), folder)[0].class_mode == "binary"


def test_without_labels_a_dataframe_of_files_serves_what_needs_none(folder):
    frame = frame_of(folder)[["filename"]]
    assert matched(echo_net(), folder, frame)[0].class_mode == "input"
    source, notes = matched(small_net(2, None), folder, frame)
    assert source.class_mode is None
    assert "class_mode=None: no loss and no targets" in notes


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (three, {}),
        (sparse, {"weight_col": "weight"}),
        (sparse, {"y_col": "number", "weight_col": "weight"}),
        (lambda: small_net(1, "mse"), {"y_col": "price"}),
        (lambda: small_net(2, "mse"), {"y_col": ["price", "number"]}),
        (two_outputs, {"y_col": ["price", "pair"]}),
        (echo_net, {}),
    ],
)
def test_what_was_inferred_trains(folder, model, options):
    frame, model = frame_of(folder), model()
    frame["pair"] = [[1.0, 2.0]] * len(frame)
    batch = matched(model, folder, frame, **options)[0].read(range(4), 0)
    assert (batch.sample_weight is not None) == ("weight_col" in options)
    model.run_eagerly = True  # no graph is built for one step
    assert np.all(np.isfinite(model.train_on_batch(batch.x, batch.y, sample_weight=batch.sample_weight)))


def test_it_is_the_folder_if_it_names_the_folders_files(folder):
    model, datagen = small_net(3, shape=(6, 6, 1)), ImageDataGenerator(rotation_range=30, rescale=1 / 255)
    frame, frame_notes = matched(model, folder, datagen=datagen)
    directory, notes = open_pictures(datagen, folder, DataOptions(model, seed=1))
    for epoch in range(2):
        one, other = frame.read(range(10), epoch), directory.read(range(10), epoch)
        assert np.array_equal(one.x, other.x)
        assert np.array_equal(one.y, other.y)
    assert frame_notes == notes


def test_columns_of_other_names_and_whole_paths(folder):
    frame = frame_of(folder).rename(columns={"filename": "path", "class": "kind"})
    frame["path"] = [str(folder / name) for name in frame["path"]]
    source, _ = matched(small_net(3), folder, frame, x_col="path", y_col="kind", directory=None)
    assert source.filepaths == frame["path"].tolist()


def test_lost_files_are_left_out_and_named(folder):
    frame = frame_of(folder)
    frame.loc[[1, 5], "filename"] = ["class0/gone.png", "notes.txt"]
    source, notes = matched(small_net(3), folder, frame)
    assert len(source) == 8
    assert "left out 2 of 10 rows, as there is no picture under these names: class0/gone.png, notes.txt" in notes


def test_names_are_not_looked_at_if_that_is_not_wanted(folder):
    frame = frame_of(folder)
    frame.loc[1, "filename"] = "class0/gone.png"
    source, _ = matched(small_net(3), folder, frame, validate_filenames=False)
    assert len(source) == 10
    with pytest.raises(DataError, match=r"gone\.png cannot be read as a picture.*out of the dataframe"):
        source.read([1], 0)


def test_keep_aspect_ratio_is_heeded(tmp_path):
    """Seen to fail with flow_from_dataframe alone, which ignores it."""
    picture = np.zeros((10, 40, 3), np.uint8)
    picture[:, :10] = 255
    for name in ("a", "b"):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    frame = pd.DataFrame({"filename": ["a.png", "b.png"], "class": ["a", "b"]})
    model = small_net(2, shape=(8, 8, 3))
    assert matched(model, tmp_path, frame)[0].read([0], 0).x.max() == 255
    assert matched(model, tmp_path, frame, keep_aspect_ratio=True)[0].read([0], 0).x.max() == 0


@pytest.mark.parametrize(("role", "count"), [("training", 8), ("validation", 2)])
def test_the_subset_follows_from_the_split_and_missing_classes_are_said(folder, role, count):
    source, notes = matched(small_net(3), folder, datagen=ImageDataGenerator(validation_split=0.2), role=role)
    assert len(source) == count
    assert f"subset={role!r}: the generator's validation_split=0.2 leaves it {count}0% of the rows" in notes
    assert ("no pictures for 2 of 3 classes: class1, class2" in notes) == (role == "validation")


def test_the_dataframe_stays_as_it_was(folder):
    frame = frame_of(folder)
    before = frame.copy()
    matched(small_net(3), folder, frame).__getitem__(0).read(range(10), 0)
    pd.testing.assert_frame_equal(frame, before)


def test_an_unfitted_generator_is_said(folder):
    notes = matched(small_net(3), folder, datagen=ImageDataGenerator(featurewise_center=True))[1]
    assert notes[-1].startswith("featurewise_center without effect: the generator was not fitted")


def test_keras_prints_nothing(folder, capsys):
    matched(small_net(3), folder)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (small_net, {"x_col": "file"}, ArgumentError, r"no column 'file', the column of file names.*x_col="),
        (small_net, {"y_col": "kind"}, ArgumentError, "no column 'kind', the column of targets"),
        (small_net, {"y_col": ["price", "kind"]}, ArgumentError, "no column 'kind'"),
        (small_net, {"weight_col": "w"}, ArgumentError, "no column 'w', the column of sample weights"),
        (three, {"weight_col": "class"}, ArgumentError, "must be numeric"),
        (three, {"x_col": "number"}, ArgumentError, "must be strings"),
        (three, {"y_col": "number"}, ArgumentError, r"none.*astype\(str\)"),
        (three, {"y_col": "number", "class_mode": "sparse"}, ArgumentError, "compares one-hot|strings"),
        (sparse, {"y_col": "number", "class_mode": "sparse"}, ArgumentError, "must be strings"),
        (lambda: small_net(2, SPARSE), {"y_col": "number"}, ModelError, "numbers from 0 to 2"),
        (lambda: small_net(2), {}, ModelError, "The dataframe has 3 classes.*2 outputs"),
        (lambda: small_net(3, "mse"), {"y_col": "price"}, ArgumentError, r"Received: y_col='price' of shape \(10,\)"),
        (lambda: small_net(1, "mse"), {"class_mode": "raw"}, ArgumentError, "object in y_col='class'"),
        (lambda: small_net(1, "mse"), {"y_col": ["price", "number"]}, ArgumentError, r"of shape \(10, 2\)"),
        (lambda: small_net(1, "mse"), {"y_col": "price", "class_mode": "multi_output"}, ArgumentError, "several col"),
        (three, {"y_col": ["class", "price"], "class_mode": "sparse"}, ArgumentError, "in one column"),
        (three, {"class_mode": "sparse"}, ArgumentError, "compares one-hot vectors"),
        (three, {"class_mode": None}, ArgumentError, "needs targets"),
        (three, {"class_mode": "input"}, ArgumentError, "one can't be the other's"),
        (three, {"class_mode": "no"}, ArgumentError, "A dataframe cannot.*'multi_output'"),
        (two_outputs, {}, ModelError, "2 outputs.*Give class_mode"),
        (two_outputs, {"y_col": ["price", "number", "weight"]}, ArgumentError, "y_col=.*3 arrays. Expected 2"),
        (two_inputs, {}, ModelError, "takes 2 inputs"),
        (three, {"target_size": (9, 9)}, ArgumentError, "takes pictures of 12 x 10"),
        (three, {"color_mode": "rgba"}, ArgumentError, "'rgba' has 4"),
        (three, {"follow_links": True}, ArgumentError, "A dataframe has no follow_links"),
        (three, {"ignore_class_split": True}, ArgumentError, "it is for arrays"),
        (three, {"subset": "training"}, ArgumentError, "validation_split is 0"),
        (three, {"directory": "/nowhere"}, DataError, "no such folder: /nowhere"),
        (three, {"directory": None}, DataError, "No pictures: left out 10 of 10 rows"),
    ],
)  # fmt: skip
def test_a_contradiction_is_an_error_before_anything_is_run(folder, build, options, error, message):
    with pytest.raises(error, match=message):
        matched(build(), folder, **options)


def test_targets_that_are_asked_for_need_their_column(folder):
    frame, model = frame_of(folder)[["filename", "price"]], three()
    with pytest.raises(ArgumentError, match="no column 'class', the column of targets"):
        matched(model, folder, frame, class_mode="categorical")


def test_one_class_is_nothing_to_tell_apart(folder):
    frame = frame_of(folder)
    frame["class"] = "same"
    model = small_net(1)
    with pytest.raises(DataError, match=r"one class only \(same\)"):
        matched(model, folder, frame)


def test_which_column_is_compared_with_which_output_is_said(folder):
    # Keras takes the outputs of a dict in the order of their names, wherever they stand in it
    inputs = keras.Input((12, 10, 3))
    flat = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, {name: keras.layers.Dense(1, kernel_initializer="zeros")(flat) for name in "ba"})
    model.compile("sgd", {"a": "mse", "b": "mae"})
    source, notes = matched(model, folder, y_col=["price", "number"])
    assert notes[-2:] == ("y_col: 'price' is compared with output 'a'", "y_col: 'number' is compared with output 'b'")
    batch = source.read([9], 0)
    losses = model.test_on_batch(batch.x, batch.y, return_dict=True)
    assert (losses["a_loss"], losses["b_loss"]) == (4, 2)
