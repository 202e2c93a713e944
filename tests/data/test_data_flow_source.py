import re
import threading
import time

import numpy as np
import pytest
from flows import arrays_of, frame_of
from keras.src.legacy.preprocessing.image import DataFrameIterator, ImageDataGenerator

from autobatch.data.batch import leaves
from autobatch.data.epoch import sample_seed
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.from_folder import DirectorySource
from autobatch.errors import ArgumentError, DataError

EVERYTHING = {
    "rotation_range": 20,
    "width_shift_range": 0.2,
    "brightness_range": (0.5, 1.5),
    "shear_range": 10.0,
    "zoom_range": 0.3,
    "channel_shift_range": 30.0,
    "horizontal_flip": True,
    "rescale": 1 / 255,
}
SIZE = (12, 10)
KINDS = ("folder", "dataframe", "arrays")


def flow_of(kind, datagen, folder, **options):
    """The same pictures, one-hot labels and order from each kind of data."""
    if kind == "folder":
        return datagen.flow_from_directory(folder, target_size=SIZE, **options)
    if kind == "dataframe":
        return datagen.flow_from_dataframe(frame_of(folder), str(folder), target_size=SIZE, **options)
    x, numbers = arrays_of(folder)
    return datagen.flow(x, np.eye(numbers.max() + 1, dtype=np.float32)[numbers], **options)


def alike(one, other):
    arrays, others = list(leaves(one)), list(leaves(other))
    return len(arrays) == len(others) and all(map(np.array_equal, arrays, others))


def parts(batch):
    return batch.x, batch.y, batch.sample_weight


@pytest.fixture
def folder(write_folder):
    return write_folder(4, 3, 3)


def test_folder_dataframe_and_arrays_give_the_same_samples(folder):
    # seen to fail when arrays are rescaled in their own number type
    read = [
        FlowSource(flow_of(kind, ImageDataGenerator(**EVERYTHING), folder), seed=3, augment=False) for kind in KINDS
    ]
    batches = [source.read(range(10), epoch=0) for source in read]
    for batch in batches[1:]:
        assert np.array_equal(batch.x, batches[0].x)
        assert np.array_equal(batch.y, batches[0].y)
    assert {batch.x.dtype for batch in batches} == {np.dtype("float32")}


def test_folder_dataframe_and_arrays_are_augmented_alike(folder):
    read = [FlowSource(flow_of(kind, ImageDataGenerator(**EVERYTHING), folder), seed=3) for kind in KINDS]
    batches = [source.read([7, 2], epoch=1) for source in read]
    assert all(np.array_equal(batch.x, batches[0].x) for batch in batches)
    assert not np.array_equal(batches[0].x, read[0].read([7, 2], epoch=2).x)


def test_a_flow_and_the_folder_it_was_made_of_are_the_same_source(folder):
    datagen = ImageDataGenerator(**EVERYTHING)
    flow = FlowSource(flow_of("folder", datagen, folder, batch_size=32), seed=1)
    source = DirectorySource(datagen, folder, seed=1, target_size=SIZE)
    assert alike(parts(flow.read(range(10), 0)), parts(source.read(range(10), 0)))
    assert flow.filepaths == source.filepaths
    assert flow.class_indices == source.class_indices


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_one_keras_makes_with_the_same_parameters(folder, kind):
    flow = flow_of(kind, ImageDataGenerator(**EVERYTHING), folder)
    source = FlowSource(flow, seed=5)
    for index in (0, 9):
        np.random.seed(sample_seed(5, 2, index))
        x, y = flow._get_batches_of_transformed_samples([index])
        batch = source.read([index], epoch=2)
        assert np.array_equal(batch.x, x)
        assert np.array_equal(batch.y, y)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_depends_on_seed_epoch_and_index_alone(folder, kind):
    # seen to fail when the parameters are drawn from numpy's global state
    def noise(picture):
        return picture + np.random.normal(size=picture.shape)

    datagen = ImageDataGenerator(**EVERYTHING, preprocessing_function=noise)
    source = FlowSource(flow_of(kind, datagen, folder), seed=1)
    whole = source.read(range(10), epoch=3)
    for indices in ([4], [9, 0, 4], list(range(9, -1, -1)), [2, 2]):
        assert alike(parts(source.read(indices, epoch=3)), parts(whole.take(indices)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_flow_stays_as_it_was(folder, kind):
    # seen to fail when the flow itself is kept and reset
    flow = flow_of(kind, ImageDataGenerator(**EVERYTHING), folder, batch_size=4, seed=2)
    next(flow)
    before = dict(vars(flow))
    order = flow.index_array.copy()
    state = np.random.get_state()[1].tolist()
    FlowSource(flow, seed=1).read(range(10), epoch=0)
    assert vars(flow).keys() == before.keys()
    assert all(vars(flow)[name] is value for name, value in before.items())
    assert np.array_equal(flow.index_array, order)
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({"class_mode": "categorical"}, [[1, 0, 0], [0, 0, 1]]),
        ({"class_mode": "sparse"}, [0, 2]),
        ({"class_mode": "sparse", "classes": ["class2", "class1", "class0"]}, [2, 0]),
        ({"class_mode": "raw", "y_col": "price"}, [0.5, 2]),
        ({"class_mode": "raw", "y_col": ["number", "price"]}, [[0, 0.5], [2, 2]]),
        ({"class_mode": "multi_output", "y_col": ["number", "price"]}, [[0, 2], [0.5, 2]]),
        ({"class_mode": None}, None),
        ({"class_mode": "raw", "y_col": "price", "weight_col": "weight"}, [0.5, 2]),
        ({"class_mode": "sparse", "weight_col": "weight"}, [0, 2]),
        ({"class_mode": None, "weight_col": "weight"}, None),
        ({"class_mode": "input", "weight_col": "weight"}, "x"),
    ],
)
def test_class_modes_and_weights_of_a_dataframe(folder, options, targets):
    flow = ImageDataGenerator(rotation_range=20).flow_from_dataframe(
        frame_of(folder), str(folder), target_size=SIZE, **options
    )
    source = FlowSource(flow, seed=1)
    batch = source.read([0, 9], epoch=0)
    if targets == "x":
        assert np.array_equal(batch.x, batch.y)
    else:
        assert [part.tolist() for part in leaves(batch.y)] == ([] if targets is None else _as_lists(targets, options))
    weighted = "weight_col" in options and options["class_mode"] is not None
    assert (batch.sample_weight is None) != weighted
    assert not weighted or batch.sample_weight.tolist() == [1, 10]
    assert batch.nbytes == 2 * source.sample_bytes
    assert source.class_mode == options["class_mode"]


def _as_lists(targets, options):
    return targets if options["class_mode"] == "multi_output" else [targets]


def test_binary_labels_of_a_dataframe(write_folder):
    folder = write_folder(2, 2)
    flow = ImageDataGenerator().flow_from_dataframe(frame_of(folder), str(folder), class_mode="binary")
    assert FlowSource(flow).read(range(4), 0).y.tolist() == [0, 0, 1, 1]


def test_several_labels_for_a_picture_of_a_dataframe(write_folder):
    folder = write_folder(2, 2)
    frame = frame_of(folder)
    frame["class"] = [["a", "b"], ["b"], ["c"], ["a"]]
    source = FlowSource(ImageDataGenerator().flow_from_dataframe(frame, str(folder)))
    assert source.read(range(4), 0).y.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert source.class_counts == {"a": 2, "b": 2, "c": 1}


X = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3)).astype(np.float32)
Y, W = np.arange(6), np.arange(6) / 2


@pytest.mark.parametrize(
    ("x", "y", "weights"),
    [
        (X, None, None),
        (X, Y, None),
        (X, Y, W),
        (X, np.stack([Y, Y], 1), W),
        ([X, W], Y, None),
        ([X, [W, np.stack([Y, Y], 1)]], Y, W),
        ([X, W], None, None),
    ],
)
def test_arrays_come_as_keras_hands_them_over(x, y, weights):
    flow = ImageDataGenerator().flow(x, y, sample_weight=weights, shuffle=False, batch_size=2)
    source = FlowSource(flow, seed=1)
    made = flow[1]
    batch = source.read([2, 3], epoch=0)
    assert alike(parts(batch), made)
    assert isinstance(batch.x, list) == isinstance(x, list)
    assert batch.nbytes == 2 * source.sample_bytes
    assert (batch.y is None) == (y is None)


def test_arrays_are_not_changed_by_reading_them():
    x = X.copy()
    FlowSource(ImageDataGenerator(rescale=2.0, samplewise_center=True).flow(x, Y)).read(range(6), 0)
    assert np.array_equal(x, X)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_type_is_the_generators(folder, kind, dtype):
    source = FlowSource(flow_of(kind, ImageDataGenerator(dtype=dtype), folder))
    batch = source.read([0, 1], 0)
    assert batch.x.dtype == np.dtype(dtype)
    assert batch.nbytes == 2 * source.sample_bytes


def test_a_flow_without_a_generator_is_read_as_it_is(folder):
    flow = DataFrameIterator(frame_of(folder), str(folder), None, target_size=SIZE, shuffle=False)
    batch = FlowSource(flow).read([0, 1], 0)
    assert np.array_equal(batch.x, flow[0][0][:2])


@pytest.mark.parametrize("kind", KINDS)
def test_subsets_are_the_flows_own(folder, kind):
    datagen = ImageDataGenerator(validation_split=0.4)
    options = {"ignore_class_split": True} if kind == "arrays" else {}
    flows = [flow_of(kind, datagen, folder, subset=part, **options) for part in ("training", "validation")]
    sources = [FlowSource(flow) for flow in flows]
    assert [len(source) for source in sources] == [flow.n for flow in flows]
    assert sum(len(source) for source in sources) == 10
    assert np.array_equal(sources[1].read([0], 0).x, flows[1]._get_batches_of_transformed_samples([0])[0])


def test_saved_pictures_of_arrays_have_the_same_names_each_time_and_can_be_left_out(tmp_path):
    source = FlowSource(ImageDataGenerator(rotation_range=9).flow(X, Y, save_to_dir=tmp_path, save_prefix="a"))
    source.without_saving().read([0, 2], 0)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        source.read([0, 2], epoch=0)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("kind", "place"), [("folder", "folder"), ("dataframe", "dataframe")])
def test_a_broken_file_is_named(folder, kind, place):
    source = FlowSource(flow_of(kind, ImageDataGenerator(), folder))
    (folder / "class1" / "0000.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=rf"class1/0000\.png cannot be read as a picture.*out of the {place}") as caught:
        source.read(range(10), epoch=0)
    assert caught.value.path == str(folder / "class1" / "0000.png")


@pytest.mark.parametrize(("kind", "named"), [("dataframe", r"from .*class1/0000\.png"), ("arrays", "of the arrays")])
def test_what_the_users_function_raises_passes_unchanged_and_names_the_sample(folder, kind, named):
    def broken(picture):
        raise ZeroDivisionError("mine")

    source = FlowSource(flow_of(kind, ImageDataGenerator(preprocessing_function=broken), folder))
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        source.read([4], epoch=0)
    assert "making sample 4" in caught.value.__notes__[0]
    assert re.search(named, caught.value.__notes__[0])


def test_an_array_that_cannot_be_read_names_the_sample():
    class Failing:
        shape, dtype, ndim = (6, 5, 4, 3), np.dtype("float32"), 4

        def __getitem__(self, index):
            raise OSError("the disk is gone")

    flow = ImageDataGenerator().flow(X, Y)
    flow.x = Failing()
    with pytest.raises(DataError, match="Sample 3 of the arrays cannot be read: the disk is gone"):
        FlowSource(flow).read([3], 0)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_says_whether_the_flow_shuffles(folder, kind, shuffle):
    assert FlowSource(flow_of(kind, ImageDataGenerator(), folder, shuffle=shuffle)).shuffles is shuffle


def test_what_it_says_of_itself(folder):
    frame, arrays = (FlowSource(flow_of(kind, ImageDataGenerator(), folder), seed=9) for kind in KINDS[1:])
    assert (frame.kind, arrays.kind) == ("dataframe", "arrays")
    assert frame.seed == 9
    assert len(frame) == len(arrays) == 10
    assert frame.filepaths[9].endswith("class2/0002.png")
    assert arrays.filepaths is None
    assert frame.class_counts == {"class0": 4, "class1": 3, "class2": 3}
    assert arrays.class_indices == {}
    assert frame.sample_shape == arrays.sample_shape == (*SIZE, 3)


def test_it_is_read_by_several_threads_at_once(folder):
    # seen to fail when all reads share one flow
    def meanwhile(picture):
        time.sleep(0.002)
        return picture

    datagen = ImageDataGenerator(**EVERYTHING, preprocessing_function=meanwhile)
    source = FlowSource(flow_of("arrays", datagen, folder), seed=2)
    whole, wrong = source.read(range(10), 0).x, []
    source.read(range(10), 0)  # from here on the function is known to draw nothing, and no lock is taken

    def read(start):
        for index in range(start, start + 10):
            pair = [index % 10, (index + 1) % 10]
            if not np.array_equal(source.read(pair, 0).x, whole[pair]):
                wrong.append(pair)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("stranger", [[1, 2], object(), None])
def test_anything_else_is_refused(stranger):
    with pytest.raises(ArgumentError, match=r"Received: flow=.*Expected what flow"):
        FlowSource(stranger)
