import os

import numpy as np
import pytest
from flows import arrays_of, echo_net, frame_of, small_net, two_inputs, two_outputs
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.images.from_flow import open_flow
from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError, ModelError

SPARSE = "sparse_categorical_crossentropy"
SIZE = (12, 10)


@pytest.fixture
def folder(write_folder):
    return write_folder(4, 3, 3)


def from_folder(folder, datagen=None, **options):
    return (datagen or ImageDataGenerator()).flow_from_directory(folder, **{"target_size": SIZE} | options)


def from_frame(folder, datagen=None, **options):
    datagen = datagen or ImageDataGenerator()
    return datagen.flow_from_dataframe(frame_of(folder), str(folder), **{"target_size": SIZE} | options)


def from_arrays(folder, datagen=None, **options):
    x, y = arrays_of(folder)
    return (datagen or ImageDataGenerator()).flow(x, np.eye(3)[y], **options)


FLOWS = [from_folder, from_frame, from_arrays]


@pytest.mark.parametrize("make", FLOWS)
def test_the_batch_size_is_replaced_and_that_is_said(folder, make):
    source, notes = open_flow(make(folder, batch_size=4), DataOptions(small_net(3)))
    assert notes == ("batch_size=4 of the flow is replaced",)
    assert len(source) == 10
    assert source.shuffles


@pytest.mark.parametrize("make", FLOWS)
def test_order_and_seed_are_the_flows_own(folder, make):
    source, notes = open_flow(make(folder, shuffle=False, seed=17), DataOptions(small_net(3)))
    assert not source.shuffles
    assert source.seed == 17
    assert notes[1:] == ("shuffle=False: the flow's own", "seed=17: the flow's own")


def test_a_seed_that_is_given_wins_and_without_any_one_is_drawn(folder):
    flow = from_folder(folder, seed=17)
    source, notes = open_flow(flow, DataOptions(small_net(3), seed=4))
    assert source.seed == 4
    assert not any(note.startswith("seed") for note in notes)
    unseeded = from_folder(folder)
    assert len({open_flow(unseeded, DataOptions(small_net(3)))[0].seed for _ in range(3)}) == 3


def test_it_is_the_folder_that_the_flow_was_made_of(folder):
    datagen, model = ImageDataGenerator(rotation_range=30, rescale=1 / 255), small_net(3)
    built, _ = open_flow(from_folder(folder, datagen), DataOptions(model, seed=2))
    source, _ = open_pictures(datagen, folder, DataOptions(model, seed=2))
    for epoch in range(2):
        assert np.array_equal(built.read(range(10), epoch).x, source.read(range(10), epoch).x)
    plain, _ = open_flow(from_folder(folder, datagen), DataOptions(model, augment=False))
    assert np.array_equal(plain.read([3], 0).x, plain.read([3], 1).x)


@pytest.mark.parametrize("make", FLOWS)
def test_the_flow_stays_as_it_was_and_no_folder_is_walked(folder, make, monkeypatch):
    """Seen to fail when the flow is reset or built anew."""

    def listed(*arguments, **options):
        raise AssertionError("a folder was listed")

    flow, twin = (make(folder, batch_size=3, seed=1) for _ in range(2))
    next(flow), next(twin)
    before, order = dict(vars(flow)), flow.index_array.copy()
    for name in ("walk", "listdir", "scandir"):
        monkeypatch.setattr(os, name, listed)
    source, _ = open_flow(flow, DataOptions(small_net(3)))
    source.read(range(10), epoch=0)
    assert vars(flow).keys() == before.keys()
    assert all(vars(flow)[name] is value for name, value in before.items())
    assert np.array_equal(flow.index_array, order)
    for _ in range(4):
        assert all(map(np.array_equal, next(flow), next(twin)))


def weighted(folder, subset, split=0.4):
    x, y = arrays_of(folder)
    datagen = ImageDataGenerator(validation_split=split)
    return datagen.flow(x, y, sample_weight=np.arange(10.0), subset=subset, ignore_class_split=True, shuffle=False)


@pytest.mark.parametrize(
    ("subset", "weights"), [("training", range(4, 10)), ("validation", range(4)), (None, range(10))]
)
def test_weights_belong_to_the_samples_they_were_given_for(folder, subset, weights):
    """Seen to fail with the weights of Keras' flow, which it does not cut."""
    source, notes = open_flow(weighted(folder, subset), DataOptions(small_net(3, SPARSE)))
    assert source.read(range(len(source)), 0).sample_weight.tolist() == list(weights)
    assert any(note.startswith("sample_weight: cut as the arrays are") for note in notes) == (subset == "training")


def test_weights_of_two_halves_cannot_be_told_apart(folder):
    flow = weighted(folder, "training", split=0.5)
    with pytest.raises(ArgumentError, match="10 weights for 5 samples"):
        open_flow(flow, DataOptions(small_net(3, SPARSE)))


def test_several_inputs_and_outputs(folder):
    x, y = arrays_of(folder)
    source, _ = open_flow(ImageDataGenerator().flow([x, np.zeros((10, 4))], y % 2), DataOptions(two_inputs()))
    assert [part.shape for part in source.read([0], 0).x] == [(1, 12, 10, 3), (1, 4)]
    frame = from_frame(folder, class_mode="multi_output", y_col=["price", "number"])
    assert len(open_flow(frame, DataOptions(two_outputs()))[0].read([0], 0).y) == 2


def test_an_unfitted_generator_is_said(folder):
    flow = from_folder(folder, ImageDataGenerator(featurewise_center=True))
    assert "was not fitted" in open_flow(flow, DataOptions(small_net(3)))[1][-1]


class Mine(type(ImageDataGenerator().flow(np.zeros((1, 1, 1, 1))))):
    def __getitem__(self, index):
        return "mine"


@pytest.mark.parametrize(
    ("build", "make", "error", "message"),
    [
        (small_net, lambda folder: [1], ArgumentError, r"Received: flow=\[1\]"),
        (small_net, lambda folder: Mine(np.zeros((1, 1, 1, 1)), None, None), ArgumentError, "Mine makes batches in"),
        (lambda: small_net(3), lambda folder: from_folder(folder, target_size=(9, 9)), ArgumentError, r"\(9, 9, 3\)"),
        (lambda: small_net(3), lambda folder: from_folder(folder, color_mode="grayscale"), ArgumentError, "10, 1"),
        (lambda: small_net(5), from_folder, ModelError, "The folder has 3 classes.*5 outputs"),
        (lambda: small_net(5), from_frame, ModelError, "The dataframe has 3 classes"),
        (lambda: small_net(5), from_arrays, ArgumentError, r"flow's targets of shape \(10, 3\)"),
        (lambda: small_net(3), lambda folder: from_folder(folder, class_mode="sparse"), ArgumentError, "one-hot"),
        (lambda: small_net(3), lambda folder: from_folder(folder, class_mode=None), ArgumentError, "needs targets"),
        (
            lambda: small_net(3),
            lambda folder: ImageDataGenerator().flow(arrays_of(folder)[0]),
            ArgumentError,
            "needs targ",
        ),
        (
            lambda: echo_net(shape=(12, 10, 1)),
            lambda folder: from_folder(folder, class_mode="input"),
            ArgumentError,
            "3",
        ),
        (two_inputs, from_folder, ModelError, "takes 2 inputs"),
        (two_inputs, from_arrays, ArgumentError, "takes 2 inputs. Received: 1 input in the flow"),
        (two_outputs, from_arrays, ArgumentError, "2 outputs"),
    ],
)
def test_a_flow_that_does_not_fit_is_refused(folder, build, make, error, message):
    flow = make(folder)
    model = build()
    with pytest.raises(error, match=message):
        open_flow(flow, DataOptions(model))


def test_a_flow_without_samples_is_refused(tmp_path):
    flow = ImageDataGenerator().flow_from_directory(tmp_path)
    with pytest.raises(ArgumentError, match="a flow of 0 samples"):
        open_flow(flow, DataOptions(small_net(3)))
