"""What a training is validated on: all that was given and nothing else, in any form, and said where it is not plain."""

import warnings

import keras
import numpy as np
import pytest
from folders import write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled

import autobatch
from autobatch.data.batch import leaves
from autobatch.data.open import DataOptions, open_data
from autobatch.errors import ArgumentError
from autobatch.probing.request import UserRequest
from autobatch.train.validation import ValidationOptions, open_validation

pytestmark = pytest.mark.usefixtures("probed_once")


def net():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    # A few steps take less time than tracing them.
    return compiled(keras.Sequential(layers), metrics=None, run_eagerly=True)


MODEL = net()
X, Y = np.full((10, 8, 8, 3), 255, np.float32), np.eye(2, dtype=np.float32)[np.arange(10) % 2]
WHITE = 255.0


def splitting(**options):
    return ImageDataGenerator(rescale=1 / 255, validation_split=0.4, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("held out") / "pictures", 5, 5)


def opened(data, source, validation_data, **options):
    asked = DataOptions(MODEL, 1, options)
    return open_validation(data, source, validation_data, open_data(data, source, asked), asked)


def first(given):
    return next(leaves(given.data.read([0], 0).x))


@pytest.mark.parametrize("form", ["folder", "pair", "list", "mixture"])
def test_data_for_validation_are_used_whole_whatever_their_generator_splits(form, folder):
    """Seen to fail with the training part of a mixture's generator alone."""
    form_of = {
        "folder": folder,
        "pair": (splitting(), folder),
        "list": [splitting(), folder],
        "mixture": autobatch.mix([(splitting(), folder)]),
    }
    given, _ = opened(splitting(), folder, form_of[form])
    assert given.samples == 10


def test_arrays_beside_a_generator_and_arrays_are_scaled_like_them():
    """Seen to fail with them taken as they are: a loss of 133 beside one of 0.75."""
    given, said = opened(splitting(zoom_range=0.5), (X, Y), (X, Y))
    assert first(given).max() == pytest.approx(1.0)
    assert "go through the generator" in said[0]


def test_arrays_beside_anything_else_are_taken_as_they_are(folder):
    for data, source in [((X, Y), None), (splitting(), folder)]:
        given, said = opened(data, source, (X, Y))
        assert (first(given).max(), said) == (WHITE, ())


def test_what_is_held_back_and_left_alone_is_said(folder):
    part = splitting().flow_from_directory(folder, target_size=(8, 8), subset="training")
    whole = splitting().flow_from_directory(folder, target_size=(8, 8))
    assert "no validation" in opened(part, None, None)[1][0]
    assert opened(whole, None, None) == (None, ())
    assert "no validation" in opened(autobatch.mix([(splitting(), folder), (splitting(), folder)]), None, None)[1][0]
    assert opened(autobatch.mix([(X, Y), (X, Y)]), None, None) == (None, ())


def test_what_holds_of_a_stream_is_said_for_validation_too():
    given, said = opened((X, Y), None, iter([(X, Y)]))
    assert given.samples is None
    assert said
    assert all(note.startswith("validation: ") for note in said)


def test_a_folder_without_a_generator_says_how_to_give_one(folder):
    with pytest.raises(ArgumentError, match=r"Expected \(ImageDataGenerator"):
        opened((X, Y), None, folder)


@pytest.mark.parametrize("fraction", [0.25, np.float32(0.25)])
def test_the_last_part_of_arrays_is_held_back(fraction):
    numbered, options = np.arange(10.0)[:, None], ValidationOptions(fraction=fraction)
    training = options.open_training(numbered, None, DataOptions(MODEL, 1))
    assert training.data.read(range(7), 0).x[:, 0].tolist() == list(range(7))
    held_back, _ = options.open(UserRequest(model=MODEL, data=numbered), training)
    assert held_back.data.read(range(3), 0).x[:, 0].tolist() == [7, 8, 9]


@pytest.mark.parametrize("fraction", [1, 1.5, -0.1, True, "0.2"])
def test_what_is_no_part_is_refused(fraction):
    with pytest.raises(ArgumentError, match="validation_split="):
        ValidationOptions(fraction=fraction)


def test_validation_data_come_before_a_split():
    assert not ValidationOptions((X, Y), 0.2).splits


def test_a_validation_that_runs_dry_says_so():
    """Seen to fail with nothing said: metrics of fewer samples, or of none."""
    batches = iter([(X, Y), (X, Y)])
    with pytest.warns(UserWarning, match="after 1 of 2 steps"):
        autobatch.fit(
            net(), (X, Y), batch_size=10, epochs=2, cache=False, verbose=0,
            validation_data=batches, validation_steps=2, validation_batch_size=8,
        )  # fmt: skip


def test_a_generator_keeps_all_its_batches_when_it_is_refused_for_want_of_an_end():
    """Seen to fail with its first batch drawn before the refusal."""
    batches = iter([(X, Y)] * 3)
    with pytest.raises(ArgumentError, match="validation_steps=None"):
        autobatch.fit(net(), (X, Y), validation_data=batches, cache=False)
    assert len(list(batches)) == 3


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.usefixtures("trials_here")
def test_where_a_generator_ends_the_epoch_ends_as_with_keras():
    """Seen to fail with generators refused for which no number of steps was given."""

    def batches():
        yield X, Y
        yield X[:4], Y[:4]

    theirs, ours = net(), net()
    ours.set_weights(theirs.get_weights())
    expected = theirs.fit(batches(), shuffle=False, verbose=0).history
    history = autobatch.fit(ours, batches(), batch_size=len(X), cache=False, verbose=0)
    assert history.history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert any("the training ends" in note for note in history.autobatch.notes)


def test_a_generator_that_ends_early_ends_the_training_with_a_warning():
    with pytest.warns(UserWarning, match="come to an end"):
        history = autobatch.fit(
            net(), iter([(X, Y)] * 3), batch_size=10, steps_per_epoch=2, epochs=3, cache=False, verbose=0
        )
    assert len(history.history["loss"]) == 2


def test_a_generator_that_ends_with_the_training_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = autobatch.fit(
            net(), iter([(X, Y)] * 4), batch_size=10, steps_per_epoch=2, epochs=2, cache=False, verbose=0
        )
    assert len(history.history["loss"]) == 2


UNFIT = {
    "no targets": X,
    "pictures of another size": (np.zeros((4, 6, 6, 3), np.float32), Y[:4]),
    "names for targets": (X, np.array(["cat"] * 10)),
}


@pytest.mark.parametrize("what", UNFIT)
def test_validation_data_that_do_not_fit_the_model_are_refused_before_anything_runs(what, monkeypatch):
    """Seen to fail with validation looked at after the first epoch."""
    monkeypatch.setattr(
        "autobatch.train.opening.find_batch_size", lambda *given, **options: pytest.fail("a probe was begun")
    )
    with pytest.raises(ArgumentError, match="Received") as caught:
        autobatch.fit(net(), (X, Y), validation_data=UNFIT[what], cache=False, verbose=0)
    assert "validation" in str(caught.value)
