import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.images.from_folder import DirectorySource
from autobatch.errors import ArgumentError, DataError


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match=r"There is no such folder: .*nowhere") as caught:
        DirectorySource(ImageDataGenerator(), tmp_path / "nowhere")
    assert caught.value.path == str(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="This is a file, not a folder"):
        DirectorySource(ImageDataGenerator(), tmp_path / "file")


def test_an_empty_folder_names_the_endings_that_count(tmp_path):
    with pytest.raises(DataError, match=r"has no subfolders\. .*\.png, \.jpg, \.jpeg, \.bmp, \.ppm, \.tif, \.tiff"):
        DirectorySource(ImageDataGenerator(), tmp_path)


def test_pictures_outside_of_class_folders_are_counted(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="1 pictures lie in it directly"):
        DirectorySource(ImageDataGenerator(), tmp_path)


def test_class_folders_without_pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").touch()
    with pytest.raises(DataError, match="its 2 subfolders hold none"):
        DirectorySource(ImageDataGenerator(), tmp_path)


@pytest.mark.parametrize("mode", ["categorical", "sparse", "binary"])
@pytest.mark.parametrize("counts", [(3,), (3, 0)], ids=["one folder", "one filled"])
def test_one_class_cannot_be_told_apart(write_folder, mode, counts):
    with pytest.raises(DataError, match=r"pictures of one class only \(class0\)"):
        DirectorySource(ImageDataGenerator(), write_folder(*counts), class_mode=mode)


@pytest.mark.parametrize("mode", ["input", None])
def test_one_class_is_enough_without_classes(write_folder, mode):
    assert len(DirectorySource(ImageDataGenerator(), write_folder(3), class_mode=mode)) == 3


def test_three_classes_are_not_binary(write_folder):
    with pytest.raises(ArgumentError, match="has 3 classes, and a binary target"):
        DirectorySource(ImageDataGenerator(), write_folder(1, 1, 1), class_mode="binary")


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_subset_needs_a_split(write_folder, part):
    with pytest.raises(ArgumentError, match=f"validation_split is 0. Received: subset='{part}'"):
        DirectorySource(ImageDataGenerator(), write_folder(1, 1), subset=part)


def test_a_split_that_leaves_nothing_is_said(write_folder):
    with pytest.raises(DataError, match=r"No pictures in .* for the validation part"):
        DirectorySource(ImageDataGenerator(validation_split=0.1), write_folder(3, 3), subset="validation")


def test_a_class_that_is_not_there(write_folder):
    with pytest.raises(DataError, match=r"no subfolder for 1 of the 2 classes.*cats"):
        DirectorySource(ImageDataGenerator(), write_folder(1, 1), classes=["class0", "cats"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"traget_size": (4, 4)}, "Did you mean 'target_size'"),
        ({"colour_mode": "rgb"}, "Did you mean 'color_mode'"),
        ({"batch_size": 3}, "no option of that name.*Received: batch_size=3"),
        ({"color_mode": "bgr"}, "Received: color_mode='bgr'. Expected one of 'grayscale'"),
        ({"class_mode": "one_hot"}, "Received: class_mode='one_hot'"),
        ({"subset": "test"}, "Received: subset='test'"),
        ({"target_size": 5}, "Received: target_size=5"),
        ({"target_size": (5, 0)}, r"Received: target_size=\(5, 0\)"),
        ({"target_size": (5, 5, 3)}, r"Received: target_size=\(5, 5, 3\)"),
    ],
)
def test_an_option_that_means_nothing(write_folder, options, message):
    with pytest.raises(ArgumentError, match=message):
        DirectorySource(ImageDataGenerator(), write_folder(1, 1), **options)


def test_something_else_than_a_generator(write_folder):
    with pytest.raises(ArgumentError, match=r"Received: datagen=None. Expected an ImageDataGenerator"):
        DirectorySource(None, write_folder(1, 1))
