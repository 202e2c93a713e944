import random

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.epoch import sample_seed
from autobatch.data.images.from_folder import DirectorySource
from autobatch.errors import ArgumentError, DataError

EVERYTHING = {
    "rotation_range": 20,
    "width_shift_range": 0.2,
    "height_shift_range": [1, 2],
    "brightness_range": (0.5, 1.5),
    "shear_range": 10.0,
    "zoom_range": 0.3,
    "channel_shift_range": 30.0,
    "horizontal_flip": True,
    "vertical_flip": True,
    "rescale": 1 / 255,
}
SIZE = (12, 10)


def same(one, other):
    return np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)


def stock(datagen, folder, index, seed, **options):
    """The picture that Keras itself makes of one sample after seeding numpy's global state."""
    flow = datagen.flow_from_directory(str(folder), batch_size=1, shuffle=False, **options)
    state = np.random.get_state()
    np.random.seed(seed)
    made = flow._get_batches_of_transformed_samples([index])
    np.random.set_state(state)
    return made


@pytest.mark.parametrize("index", range(6))
def test_a_picture_is_the_one_keras_makes_with_the_same_parameters(write_folder, index):
    folder, datagen = write_folder(3, 3), ImageDataGenerator(**EVERYTHING)
    source = DirectorySource(datagen, folder, seed=5, target_size=SIZE)
    x, y = stock(datagen, folder, index, sample_seed(5, 2, index), target_size=SIZE)
    batch = source.read([index], epoch=2)
    assert np.array_equal(batch.x, x)
    assert np.array_equal(batch.y, y)
    assert batch.x.dtype == x.dtype


def test_a_picture_depends_on_seed_epoch_and_index_alone(write_folder):
    # seen to fail when the parameters are drawn from numpy's global state
    source = DirectorySource(ImageDataGenerator(**EVERYTHING), write_folder(5, 5), seed=1, target_size=SIZE)
    whole = source.read(range(10), epoch=3)
    for indices in ([4], [9, 0, 4], list(range(9, -1, -1)), [2, 2]):
        assert same(source.read(indices, epoch=3), whole.take(indices))
    assert not np.array_equal(source.read(range(10), epoch=4).x, whole.x)


def test_another_seed_gives_other_pictures(write_folder):
    folder, datagen = write_folder(2, 2), ImageDataGenerator(**EVERYTHING)
    one, other = (DirectorySource(datagen, folder, seed=seed, target_size=SIZE).read(range(4), 0) for seed in (1, 2))
    assert not np.array_equal(one.x, other.x)


def test_reading_leaves_the_random_states_alone(write_folder):
    # seen to fail when a transformation is drawn without putting the state back
    def random_crop(picture):
        return picture * np.random.uniform() * random.random()

    for options in (EVERYTHING, EVERYTHING | {"preprocessing_function": random_crop}):
        np.random.seed(3)
        random.seed(3)
        before = np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()
        source = DirectorySource(ImageDataGenerator(**options), write_folder(2, 2, name=f"p{len(options)}"))
        source.read(range(4), epoch=0)
        assert (np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()) == before


def test_a_preprocessing_function_that_draws_is_seeded_too(write_folder):
    # seen to fail when the function is called without its watch
    def noise(picture):
        return picture + np.random.normal(size=picture.shape) + random.random()

    source = DirectorySource(ImageDataGenerator(preprocessing_function=noise), write_folder(20, 20), target_size=SIZE)
    whole = source.read(range(40), epoch=0)
    assert same(source.read(range(39, -1, -1), epoch=0), whole.take(range(39, -1, -1)))
    assert not np.array_equal(source.read([3], epoch=1).x, source.read([3], epoch=0).x)


def test_a_subclass_that_draws_is_seeded_too(write_folder):
    class Mine(ImageDataGenerator):
        def get_random_transform(self, img_shape, seed=None):
            return super().get_random_transform(img_shape, seed) | {"theta": np.random.uniform(0, 90)}

        def apply_transform(self, x, transform_parameters):
            return super().apply_transform(x, transform_parameters) * np.random.uniform(0.5, 1)

    source = DirectorySource(Mine(zoom_range=0.2), write_folder(20, 20), target_size=SIZE)
    whole = source.read(range(40), epoch=0)
    assert same(source.read(range(39, -1, -1), epoch=0), whole.take(range(39, -1, -1)))
    assert not np.array_equal(source.read([3], epoch=1).x, source.read([3], epoch=0).x)


def test_without_augmentation_pictures_are_only_standardised(write_folder):
    folder = write_folder(2, 2)
    plain = ImageDataGenerator(rescale=1 / 255, samplewise_center=True, preprocessing_function=lambda x: x + 1)
    options = EVERYTHING | {"samplewise_center": True, "preprocessing_function": lambda x: x + 1}
    source = DirectorySource(ImageDataGenerator(**options), folder, augment=False, target_size=SIZE)
    x, _ = stock(plain, folder, 1, 0, target_size=SIZE)
    assert np.array_equal(source.read([1], epoch=0).x, x)
    assert same(source.read(range(4), epoch=0), source.read(range(4), epoch=7))


def test_featurewise_statistics_are_the_generators_own(write_folder):
    folder, datagen = write_folder(2, 2), ImageDataGenerator(featurewise_center=True)
    source = DirectorySource(datagen, folder, augment=False, target_size=SIZE)
    datagen.fit(np.full((1, *SIZE, 3), 9.0))
    assert np.array_equal(source.read([0], 0).x, stock(datagen, folder, 0, 0, target_size=SIZE)[0])


@pytest.mark.parametrize(
    ("mode", "shape", "values"),
    [
        ("categorical", (4, 2), [[1, 0], [1, 0], [0, 1], [0, 1]]),
        ("sparse", (4,), [0, 0, 1, 1]),
        ("binary", (4,), [0, 0, 1, 1]),
        ("input", (4, *SIZE, 3), None),
        (None, None, None),
    ],
)
def test_class_modes(write_folder, mode, shape, values):
    source = DirectorySource(ImageDataGenerator(), write_folder(2, 2), class_mode=mode, target_size=SIZE)
    batch = source.read(range(4), epoch=0)
    assert source.class_mode == mode
    assert (None if batch.y is None else batch.y.shape) == shape
    assert values is None or batch.y.tolist() == values
    assert mode != "input" or np.array_equal(batch.x, batch.y)
    assert batch.nbytes == 4 * source.sample_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"color_mode": "grayscale"},
        {"color_mode": "rgba"},
        {"interpolation": "bilinear"},
        {"keep_aspect_ratio": True},
        {"classes": ["class1", "class0"]},
        {"class_mode": "sparse", "target_size": (7, 9)},
    ],
)
def test_options_keep_their_meaning(write_folder, options):
    folder, datagen = write_folder(2, 2, size=(20, 33)), ImageDataGenerator(**EVERYTHING)
    options = {"target_size": SIZE} | options
    source = DirectorySource(datagen, folder, seed=1, **options)
    x, y = stock(datagen, folder, 3, sample_seed(1, 0, 3), **options)
    batch = source.read([3], epoch=0)
    assert np.array_equal(batch.x, x)
    assert np.array_equal(batch.y, y)
    assert batch.x.shape[1:] == source.sample_shape


def test_channels_first_is_the_generators_choice(write_folder):
    datagen = ImageDataGenerator(data_format="channels_first", zoom_range=0.2)
    source = DirectorySource(datagen, write_folder(2, 2), target_size=SIZE)
    assert source.read([0, 1], 0).x.shape == (2, 3, *SIZE)


def test_subsets_divide_the_folder(write_folder):
    folder, datagen = write_folder(10, 10), ImageDataGenerator(validation_split=0.2)
    training, validation = (DirectorySource(datagen, folder, subset=part) for part in ("training", "validation"))
    assert (len(training), len(validation)) == (16, 4)
    assert not set(training.filepaths) & set(validation.filepaths)


def test_augmented_pictures_are_saved_under_the_same_names_each_time(write_folder, tmp_path):
    saved = tmp_path / "saved"
    saved.mkdir()
    source = DirectorySource(ImageDataGenerator(**EVERYTHING), write_folder(2, 2), save_to_dir=saved, save_prefix="a")
    source.read([0, 2], epoch=0)
    names = sorted(file.name for file in saved.iterdir())
    source.read([2, 0], epoch=0)
    assert len(names) == 2
    assert sorted(file.name for file in saved.iterdir()) == names


def test_what_it_says_of_itself(write_folder):
    source = DirectorySource(ImageDataGenerator(), write_folder(3, 1), seed=9, target_size=SIZE)
    assert len(source) == 4
    assert source.seed == 9
    assert source.labels.tolist() == [0, 0, 0, 1]
    assert source.class_indices == {"class0": 0, "class1": 1}
    assert source.class_counts == {"class0": 3, "class1": 1}
    assert source.filepaths[3].endswith("class1/0000.png")
    assert source.sample_shape == (*SIZE, 3)


def test_keras_prints_nothing_and_may_print_afterwards(write_folder, capsys):
    folder, datagen = write_folder(1, 1), ImageDataGenerator()
    DirectorySource(datagen, folder)
    assert capsys.readouterr() == ("", "")
    datagen.flow_from_directory(str(folder))
    assert "Found 2 images" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a picture", None], ids=["empty", "text", "cut short"])
def test_a_broken_file_is_named(write_folder, content):
    folder = write_folder(2, 2)
    file = folder / "class1" / "0000.png"
    file.write_bytes(file.read_bytes()[:60] if content is None else content)
    source = DirectorySource(ImageDataGenerator(), folder)
    with pytest.raises(DataError, match=r"class1/0000\.png cannot be read as a picture") as caught:
        source.read(range(4), epoch=0)
    assert caught.value.path == str(file)
    assert caught.value.__cause__ is not None


def test_a_file_that_went_away_is_named(write_folder):
    folder = write_folder(2, 2)
    source = DirectorySource(ImageDataGenerator(), folder)
    (folder / "class0" / "0001.png").unlink()
    with pytest.raises(DataError, match=r"class0/0001\.png"):
        source.read([0, 1], epoch=0)


def test_what_the_users_function_raises_passes_unchanged_and_names_the_file(write_folder):
    def broken(picture):
        raise ZeroDivisionError("mine")

    source = DirectorySource(ImageDataGenerator(preprocessing_function=broken), write_folder(1, 1))
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        source.read([1], epoch=0)
    assert "class1/0000.png" in caught.value.__notes__[0]


def test_a_picture_of_the_wrong_shape_is_the_users_function(write_folder):
    source = DirectorySource(ImageDataGenerator(preprocessing_function=lambda x: x[:3]), write_folder(1, 1))
    with pytest.raises(ValueError, match="broadcast") as caught:
        source.read([0, 1], epoch=0)
    assert "class0/0000.png" in caught.value.__notes__[0]


def test_nothing_to_read_and_samples_that_are_none_are_refused(write_folder):
    source = DirectorySource(ImageDataGenerator(), write_folder(1, 1))
    with pytest.raises(ArgumentError, match=r"Received: indices=\[\]"):
        source.read([], epoch=0)
    with pytest.raises(IndexError, match="There are 2 samples"):
        source.read([2], epoch=0)
