import threading
from collections import Counter

import keras
import numpy as np
import pytest

from autobatch.data.adapters.py_dataset import PyDatasetStream
from autobatch.data.epoch import permutation
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.errors import DataError


class Squares(keras.utils.PyDataset):
    """Seven batches of three; notes what is called."""

    def __init__(self, number=7, bad=None, **kwargs):
        super().__init__(**kwargs)
        self.number, self.bad, self.calls, self.threads = number, bad, [], set()

    @property
    def num_batches(self):
        return self.number

    def __getitem__(self, index):
        self.threads.add(threading.current_thread().name)
        if index == self.bad:
            raise LookupError(f"batch {index}")
        self.calls.append(index)
        return np.arange(3) + 3 * index, np.full(3, index)

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def whole_pass(stream, epoch=0):
    return [int(batch.y[0]) for batch in stream.open(epoch)]


@pytest.mark.parametrize("workers", [1, 4])
def test_each_batch_is_read_once_a_pass_in_the_order_of_seed_and_epoch(workers):
    """Seen to fail with an index read twice, and with the batch that was read last handed over first."""
    dataset = Squares(workers=workers)
    stream = PyDatasetStream(dataset, seed=5)
    for epoch in (0, 1):
        dataset.calls.clear()
        order = permutation(5, epoch, 7).tolist()
        assert whole_pass(stream, epoch) == order
        assert Counter(dataset.calls) == Counter(range(7))
    assert whole_pass(stream, 0) != whole_pass(stream, 1)


def test_several_workers_are_threads_that_end():
    """Seen to fail without the shutdown."""
    dataset = Squares(workers=3)
    reading = PyDatasetStream(dataset).open(0)
    next(reading)
    reading.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("autobatch-py-dataset")]
    assert all(name.startswith("autobatch-py-dataset") for name in dataset.threads)


def test_without_shuffling_the_order_is_its_own():
    assert whole_pass(PyDatasetStream(Squares(), shuffle=False), 3) == list(range(7))


def test_an_infinite_one_comes_in_order_without_end():
    stream = PyDatasetStream(Squares(None))
    assert (stream.batches, stream.infinite) == (None, True)
    with StreamLoader(stream) as loader:
        assert loader.take(60).x.tolist() == list(range(60))


@pytest.mark.parametrize("workers", [1, 4])
def test_epochs_begin_and_end_where_keras_has_them(workers):
    """Seen to fail with `on_epoch_end` called once the pass has been read ahead."""
    dataset = Squares(3, workers=workers)
    with StreamLoader(PyDatasetStream(dataset, shuffle=False), passes=2) as loader:
        while size := loader.window(4):
            dataset.calls.append("take")
            loader.take(size)
            loader.ended  # noqa: B018 - the training asks after each update
    ours, theirs = (
        [call for call in calls if isinstance(call, str)] for calls in (dataset.calls, keras_calls(workers))
    )
    assert ours == ["begin", "take", "take", "take", "end"] * 2
    assert theirs == ["end", "begin", "end", "begin", "end"]
    indices = [call for call in dataset.calls if isinstance(call, int)]
    assert sorted(indices[:3]) == sorted(indices[3:]) == [0, 1, 2]


def keras_calls(workers):
    """What `fit` calls: it ends an epoch before the first, too."""
    dataset = Squares(3, workers=workers)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(dataset, epochs=2, shuffle=False, verbose=0)
    return dataset.calls


def test_a_dataset_may_change_its_length_between_passes():
    """Seen to fail with the number of batches kept from the first pass."""
    dataset = Squares(2)
    stream = PyDatasetStream(dataset)
    assert len(whole_pass(stream)) == 2
    dataset.number = 5
    assert sorted(whole_pass(stream, 1)) == list(range(5))


@pytest.mark.parametrize("workers", [1, 4])
def test_its_error_comes_unchanged_and_in_its_place(workers):
    with StreamLoader(PyDatasetStream(Squares(bad=4, workers=workers), shuffle=False)) as loader:
        assert loader.take(12).x.tolist() == list(range(12))
        with pytest.raises(LookupError, match="batch 4"):
            loader.take(1)


def test_a_first_look_reads_one_batch():
    dataset = Squares()
    stream = PyDatasetStream(dataset)
    assert stream.few().x.tolist() == [0, 1, 2]
    assert dataset.calls == [0]
    assert stream.sample_bytes == 16


def test_one_without_batches_says_so():
    with pytest.raises(DataError, match="Squares has no samples"):
        PyDatasetStream(Squares(0)).few()


def test_what_is_no_batch_is_named():
    class Scalars(Squares):
        def __getitem__(self, index):
            return index

    with pytest.raises(DataError, match=r"What came from Scalars\.__getitem__ is no batch"):
        PyDatasetStream(Scalars()).few()


def test_it_says_what_holds():
    assert "put in a new order by the seed" in PyDatasetStream(Squares()).notes[0]
    assert "come in order;" in PyDatasetStream(Squares(), shuffle=False).notes[0]
    notes = PyDatasetStream(Squares(workers=2, use_multiprocessing=True)).notes
    assert "use_multiprocessing has no effect: Squares is read by 2 thread(s)" in notes[2]


def test_first_looks_read_it_once():
    """Seen to fail with batch 0 read for each of them."""
    dataset = Squares()
    stream = PyDatasetStream(dataset)
    assert stream.few() is stream.few()
    assert stream.sample_bytes == 16
    assert dataset.calls == [0]
    assert any(note.startswith("One batch is read beforehand") for note in stream.notes)
    assert stream.samples is None


class EndsBadly(Squares):
    """Raises at the end of a pass."""

    def __init__(self, bad_pass):
        super().__init__()
        self.left = bad_pass

    def on_epoch_end(self):
        if not self.left:
            raise LookupError("the end")
        self.left -= 1


def train_two_passes(stream, effective):
    """Asks for no more after the last pass, as a training does."""
    with StreamLoader(stream, passes=2) as loader:
        for _ in range(2):
            ended = False
            while not ended:
                loader.take(loader.window(effective))
                ended = loader.ended


@pytest.mark.parametrize("bad_pass", [0, 1])
def test_what_the_end_of_a_pass_raises_is_raised_of_the_last_one_too(bad_pass):
    """Seen to fail for the last pass without the look when the loader is left."""
    with pytest.raises(LookupError, match="the end"):
        train_two_passes(PyDatasetStream(EndsBadly(bad_pass)), 4)


def test_an_error_of_the_training_is_not_replaced_by_that_of_an_end():
    """Seen to fail with the failure raised however the loader is left."""

    def training():
        with StreamLoader(PyDatasetStream(EndsBadly(0)), passes=1) as loader:
            loader.take(21)
            loader.ended / 0

    with pytest.raises(ZeroDivisionError):
        training()


def test_what_an_end_has_raised_already_is_not_raised_again():
    """Seen to fail without the memory of what was raised."""
    with StreamLoader(PyDatasetStream(EndsBadly(0)), passes=2) as loader:
        loader.take(21)
        with pytest.raises(LookupError, match="the end"):
            loader.window(4)


def test_what_nobody_asked_for_may_fail():
    """Seen to fail with every failure raised when the loader is left."""
    with StreamLoader(PyDatasetStream(Squares(bad=4), shuffle=False), passes=1) as loader:
        assert loader.take(12).size == 12
