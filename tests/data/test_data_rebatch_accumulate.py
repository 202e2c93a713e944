import keras
import numpy as np
import pytest
import tensorflow as tf
from flows import small_net
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.data.batch import leaves
from autobatch.data.rebatch import accumulate_batches
from autobatch.errors import ArgumentError, DataError


class Numbers(keras.utils.PyDataset):
    """Batches of consecutive numbers, and how often it was told of epochs."""

    def __init__(self, sizes, **options):
        super().__init__(**options)
        self.batches = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []
        self.begun, self.ended = 0, 0

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index], self.batches[index] * 2

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1


class Endless(Numbers):
    """The same without an end."""

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return super().__getitem__(index % len(self.batches))


def numbered(count, size, **options):
    x = np.arange(count, dtype=np.float32).reshape(count, 1, 1, 1)
    return ImageDataGenerator().flow(x, np.arange(count), batch_size=size, **options)


sizes_of = st.lists(st.integers(1, 5), min_size=1, max_size=12)


@given(sizes=sizes_of, n=st.integers(1, 8))
def test_every_sample_of_an_iterable_comes_once_in_order(sizes, n):
    """Seen to fail when the last incomplete group is dropped."""
    batches = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    groups = list(accumulate_batches(iter(batches), n))
    assert np.concatenate(groups).tolist() == list(range(sum(sizes)))
    assert [len(group) for group in groups] == [sum(sizes[start : start + n]) for start in range(0, len(sizes), n)]


@given(sizes=sizes_of, n=st.integers(1, 8))
def test_every_sample_of_a_dataset_comes_once_in_order(sizes, n):
    groups = accumulate_batches(Numbers(sizes), n)
    assert isinstance(groups, keras.utils.PyDataset)
    assert len(groups) == groups.num_batches == -(-len(sizes) // n)
    drawn = list(groups)
    assert len(drawn) == len(groups)
    assert np.concatenate([x for x, _ in drawn]).tolist() == list(range(sum(sizes)))
    assert np.concatenate([y for _, y in drawn]).tolist() == list(range(0, 2 * sum(sizes), 2))


@settings(deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 9), n=st.integers(1, 6), shuffle=st.booleans())
def test_a_group_of_a_flow_never_spans_two_passes(count, size, n, shuffle):
    """Seen to fail when n batches are drawn whatever the position."""
    groups = accumulate_batches(numbered(count, size, shuffle=shuffle), n)
    for _ in range(3):
        drawn = [next(groups)[1].tolist() for _ in range(len(groups))]
        assert sorted(number for group in drawn for number in group) == list(range(count))
        assert all(len(group) == size * n for group in drawn[:-1])


def test_groups_of_a_flow_are_had_by_number_too():
    groups = accumulate_batches(numbered(10, 2, shuffle=False), 3)
    assert [groups[index][1].tolist() for index in range(len(groups))] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_a_flow_goes_on_from_where_it_stands():
    flow = numbered(10, 2, shuffle=False)
    next(flow)
    groups = accumulate_batches(flow, 3)
    assert [next(groups)[1].tolist() for _ in range(3)] == [[2, 3, 4, 5, 6, 7], [8, 9], [0, 1, 2, 3, 4, 5]]


def nest(start, stop, kind=np.asarray):
    numbers = np.arange(start, stop, dtype=np.float32)
    return ({"a": kind(numbers), "b": [kind(numbers[:, None]), None]}, (kind(numbers * 2),), kind(numbers / 2))


@pytest.mark.parametrize("kind", [np.asarray, tf.constant])
def test_any_nest_of_arrays_is_joined(kind):
    groups = list(accumulate_batches([nest(0, 2, kind), nest(2, 5, kind), nest(5, 6, kind)], 2))
    for group, whole in zip(groups, (nest(0, 5), nest(5, 6)), strict=True):
        assert str(group) == str(whole)
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves(group))


def test_a_tensorflow_dataset_gives_numpy():
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(10), np.arange(10) % 2)).batch(3)
    groups = list(accumulate_batches(dataset, 2))
    assert [x.tolist() for x, _ in groups] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_an_iterable_is_drawn_from_as_it_is_needed():
    def batches():
        for number in range(10):
            drawn.append(number)
            yield np.array([number])

    drawn = []
    groups = accumulate_batches(batches(), 3)
    assert drawn == []
    next(groups)
    assert drawn == [0, 1, 2]


def test_a_dataset_without_end_stays_without_end():
    groups = accumulate_batches(Endless([2, 2]), 3)
    assert groups.num_batches is None
    assert groups[5][0].tolist() == [2, 3, 0, 1, 2, 3]
    with pytest.raises(TypeError, match="no end"):
        len(groups)


def test_the_settings_for_reading_ahead_are_the_datas_own():
    groups = accumulate_batches(Numbers([1], workers=3, max_queue_size=7), 2)
    assert (groups.workers, groups.use_multiprocessing, groups.max_queue_size) == (3, False, 7)


def test_epochs_reach_the_data():
    inner = Numbers([1, 1])
    groups = accumulate_batches(inner, 2)
    groups.on_epoch_begin()
    groups.on_epoch_end()
    assert (inner.begun, inner.ended) == (1, 1)


def test_keras_trains_on_groups_as_on_larger_batches():
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(10, 12, 10, 3)).astype(np.float32), draw.integers(0, 2, 10)
    weights = []
    for data in (
        accumulate_batches(ImageDataGenerator().flow(x, y, batch_size=2, shuffle=False), 3),
        ImageDataGenerator().flow(x, y, batch_size=6, shuffle=False),
    ):
        keras.utils.set_random_seed(1)
        model = small_net(2, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.run_eagerly = True
        history = model.fit(data, epochs=2, shuffle=False, verbose=0)
        weights.append((model.get_weights(), history.history["loss"]))
    assert weights[0][1] == weights[1][1]
    assert all(map(np.array_equal, weights[0][0], weights[1][0]))


def test_a_group_that_is_not_there_is_an_index_error():
    with pytest.raises(IndexError, match="There are 2 batches"):
        accumulate_batches(Numbers([1, 1, 1]), 2)[2]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([(np.zeros(2), None), (np.zeros(2), np.zeros(2))], r"nested differently.*None\) and"),
        ([{"a": np.zeros(2)}, {"a": np.zeros(2), "b": np.zeros(2)}], "nested differently"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"several shapes.*\(2, 3\), \(2, 4\)"),
        ([np.float32(1), np.float32(2)], "several shapes"),
    ],
)
def test_batches_that_differ_in_form_are_refused(batches, message):
    """Seen to fail without the comparison of nests: targets of a later batch were dropped."""
    with pytest.raises(DataError, match=message):
        next(accumulate_batches(batches, 2))


@pytest.mark.parametrize(("data", "n"), [([], 0), ([], 1.5), ([], True), (5, 2), ({"a": 1}, 2), ("ab", 2)])
def test_what_cannot_be_meant_is_refused(data, n):
    with pytest.raises(ArgumentError, match="Received: "):
        accumulate_batches(data, n)
