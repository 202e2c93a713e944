"""`image_backend`: where it is taken, what it means for a picture, and what is said where it cannot be used."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from command_scene import FakeApi, run
from keras.src.legacy.preprocessing.image import ImageDataGenerator

import autobatch
from autobatch.data.adapters.mixture import mix
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.from_folder import DirectorySource
from autobatch.data.images.transform import require_image_backend, why_not_opencv
from autobatch.data.open import DataOptions, open_data
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.errors import ArgumentError

MOVED = {"rotation_range": 20, "shear_range": 5, "zoom_range": 0.2, "horizontal_flip": True}


class Own(ImageDataGenerator):
    """Transforms in a way of its own."""

    def apply_transform(self, x, transform_parameters):
        return x + 1


class Stopping(keras.callbacks.Callback):
    """Ends a training in its second epoch, as Ctrl-C would, and keeps what the first came to."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.logs = dict(logs)


def a_model(side=12):
    model = keras.Sequential([keras.Input((side, side, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def opencv():
    return pytest.importorskip("cv2")


@pytest.mark.parametrize("wrong", ["Scipy", "cv2", None, 1])
def test_another_name_is_refused(wrong):
    with pytest.raises(ArgumentError, match=r"Received: image_backend=.*Expected 'scipy' or 'opencv'"):
        require_image_backend(wrong)


@pytest.mark.parametrize("backend", ["scipy", "opencv"])
def test_a_picture_depends_on_seed_epoch_index_and_backend_alone(write_folder, opencv, backend):
    datagen = ImageDataGenerator(**MOVED)
    source = DirectorySource(datagen, write_folder(20, 20), seed=4, target_size=(12, 10), image_backend=backend)
    whole = source.read(range(40), epoch=0).x
    for workers, size in ((1, 7), (4, 13)):
        with SourceLoader(source, shuffle=False, passes=1, workers=workers, chunk=5) as loader:
            parts = []
            while taken := loader.window(size):
                parts.append(loader.take(taken).x)
        assert np.array_equal(np.concatenate(parts), whole)


def test_the_same_seed_draws_the_same_whatever_transforms(write_folder, opencv):
    datagen, folder = ImageDataGenerator(**MOVED), write_folder(6, 6)
    made = [
        DirectorySource(datagen, folder, seed=4, target_size=(12, 10), image_backend=backend).read(range(12), epoch=1).x
        for backend in ("scipy", "opencv")
    ]
    assert 0 < np.abs(made[0] - made[1]).max() < 0.01


def test_a_method_of_the_users_transforms_by_itself(write_folder, opencv):
    folder = write_folder(3, 3)
    own = DirectorySource(Own(**MOVED), folder, target_size=(12, 10), image_backend="opencv")
    plain = DirectorySource(ImageDataGenerator(), folder, target_size=(12, 10)).read(range(6), epoch=0).x
    assert np.array_equal(own.read(range(6), epoch=0).x, plain + 1)


@pytest.mark.parametrize(
    ("datagen", "channels", "dtype", "why"),
    [
        (Own(), 3, "float32", "Own transforms pictures in a way of its own"),
        (ImageDataGenerator(interpolation_order=3), 3, "float32", "interpolation_order=3"),
        (ImageDataGenerator(fill_mode="wrap"), 3, "float32", "fill_mode='wrap'"),
        (ImageDataGenerator(), 3, "float64", "float64"),
        (ImageDataGenerator(), 2, "float32", "2 channels"),
        (ImageDataGenerator(dtype="float64"), 3, "float32", None),
    ],
)
def test_it_is_known_where_opencv_cannot_be_used(datagen, channels, dtype, why):
    said = why_not_opencv(datagen, channels, dtype)
    assert said is None if why is None else why in said


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"fill_mode": "wrap"}, {"interpolation_order": 0}])
@pytest.mark.parametrize("form", ["folder", "arrays"])
def test_it_is_said_exactly_where_opencv_is_not_used(form, options, write_folder, opencv):
    """Seen to fail with the note resting on the generator's dtype: files are transformed in Keras' own."""
    datagen = ImageDataGenerator(**MOVED, **options)
    x = np.random.default_rng(0).random((4, 12, 12, 3)) * 255
    data = write_folder(2, 2) if form == "folder" else (x, np.zeros((4, 2), np.float32))
    given = {
        backend: open_data(datagen, data, DataOptions(a_model(), 1, image_backend=backend))
        for backend in ("scipy", "opencv")
    }
    made = [given[backend].data.read(range(4), epoch=1).x for backend in given]
    said = any("opencv" in note for note in given["opencv"].notes)
    assert said == np.array_equal(*made)


def opened(data, source=None, backend="opencv"):
    return open_data(data, source, DataOptions(a_model(), 1, image_backend=backend)).data


def test_every_form_that_a_generator_reads_takes_it(write_folder, opencv):
    datagen, folder = ImageDataGenerator(**MOVED), write_folder(4, 4)
    x, y = np.zeros((4, 12, 12, 3), np.float32), np.zeros((4, 2), np.float32)
    for source in (
        opened(datagen, folder),
        opened(datagen, (x, y)),
        opened(datagen.flow(x, y, batch_size=2)),
        opened(FlowSource(datagen.flow(x, y), image_backend="opencv")),
    ):
        assert source.image_backend == "opencv"


def test_a_dataframe_and_a_part_of_a_mixture_take_it(write_folder, opencv):
    folder = Path(write_folder(3, 3))
    files = sorted(str(path) for path in folder.rglob("*.png"))
    frame = pd.DataFrame({"filename": files, "class": [Path(path).parent.name for path in files]})
    datagen = ImageDataGenerator(**MOVED)
    assert opened(datagen, frame).image_backend == "opencv"
    x, y = np.random.default_rng(0).random((4, 12, 12, 3), np.float32), np.zeros((4, 2), np.float32)
    made = [
        opened(mix([(datagen, (x, y)), (x, y)]), backend=backend).read(range(8), epoch=0).x
        for backend in ("scipy", "opencv")
    ]
    assert not np.array_equal(*made)


def test_training_and_validation_get_it_and_a_run_goes_on_with_the_same_one(tmp_path, opencv, trials_here):
    """Seen to fail without the argument handed on by `fit`, by its validation, and without it among the run's facts."""
    x, y = np.random.default_rng(0).random((4, 12, 12, 3), np.float32), np.zeros((4, 2), np.float32)
    # The two may differ by no more than a rounding, which a loss would not show.
    datagen = ImageDataGenerator(**MOVED, preprocessing_function=lambda picture: np.sin(1e6 * picture))
    options = {"epochs": 1, "batch_size": 4, "verbose": 0, "seed": 1, "cache": False}

    flow = datagen.flow(x, y, batch_size=4, shuffle=False)
    model = a_model()
    model.compile("sgd", lambda y, made: keras.ops.mean(made - y, -1), run_eagerly=True)

    def fit(backend, **more):
        keras.utils.set_random_seed(1)
        model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
        begun = {"validation_data": flow, "image_backend": backend, **options, **more}
        return autobatch.fit(model, datagen, (x, y), **begun).history

    by_scipy, stopping, begun = fit("scipy"), Stopping(), {"checkpoint": tmp_path, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        fit("opencv", callbacks=[stopping], **begun)
    assert by_scipy["loss"][0] != stopping.logs["loss"]
    assert by_scipy["val_loss"][0] != stopping.logs["val_loss"]
    with pytest.raises(ArgumentError, match="Received: image_backend='scipy'"):
        fit("scipy", **begun)


def test_the_command_hands_it_on(write_folder, opencv):
    api = FakeApi()
    run(api, "fit", "m:model", str(write_folder(2, 2)), "--image-backend", "opencv")
    assert api.calls[0][2]["image_backend"] == "opencv"


def test_data_that_nothing_transforms_do_not_take_it():
    x, y = np.zeros((4, 12, 12, 3), np.float32), np.zeros((4, 2), np.float32)
    for data in ((x, y), FlowSource(ImageDataGenerator().flow(x, y))):
        with pytest.raises(ArgumentError, match="Received: image_backend='opencv' with"):
            opened(data)
