import copy
import threading
from collections import Counter
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.adapters.batch_generator import BatchGeneratorStream
from autobatch.data.adapters.mixture import MixSource, Rota, interleaved, mix, shares
from autobatch.data.adapters.mixture_stream import MixStream
from autobatch.data.adapters.py_dataset import PyDatasetStream
from autobatch.data.batch import Batch
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.errors import ArgumentError, DataError

WEIGHTS = st.lists(st.one_of(st.just(0), st.floats(1e-9, 1e9), st.integers(1, 9)), min_size=1, max_size=6).filter(any)


class Part:
    """Samples that say of which part they are, which they are, and in which pass they were read."""

    seed, sample_bytes = 1, 24

    def __init__(self, number, size):
        self.number, self.size = number, size

    def __len__(self):
        return self.size

    def read(self, indices, epoch):
        indices = np.asarray(indices)
        return Batch(np.stack([np.full_like(indices, self.number), indices, np.full_like(indices, epoch)], axis=1))


@given(weights=WEIGHTS, samples=st.integers(1, 10_000))
def test_shares_are_the_exact_proportions_rounded(weights, samples):
    """Seen to fail with each quota rounded by itself."""
    result = shares(weights, samples)
    total = sum(Fraction(weight) for weight in weights)
    assert sum(result) == samples
    for weight, share in zip(weights, result, strict=True):
        assert abs(share - Fraction(weight) * samples / total) < 1
        assert weight or not share


def test_the_largest_remainders_are_rounded_up():
    assert shares((1, 1, 1), 10) == (4, 3, 3)
    assert shares((6, 3, 1), 8) == (5, 2, 1)


def test_no_weight_is_too_large():
    """Seen to fail with quotas calculated as floats."""
    assert shares((1.5e308, 1.5e308), 3) == (2, 1)


@given(size=st.integers(1, 30), given_=st.integers(0, 100), epochs=st.integers(1, 40))
def test_the_samples_of_a_part_take_turns_evenly(size, given_, epochs):
    """Seen to fail with each epoch begun at the first place."""
    rota, total = Rota(size, given_), Counter()
    for epoch in range(epochs):
        turns = np.arange(given_)
        places = rota.places(turns, epoch)
        here = Counter(places.tolist())
        assert {here[place] for place in range(size)} <= {given_ // size, -(-given_ // size)}
        for place, before in zip(places.tolist(), rota.times_before(places, turns, epoch).tolist(), strict=True):
            # The samples of another cycle stand at other places, with the same number of turns behind them.
            assert before == total[place]
            total[place] += 1
        assert max(total[place] for place in range(size)) - min(total[place] for place in range(size)) <= 1


PARTS = st.lists(st.integers(1, 25), min_size=1, max_size=4)


@settings(deadline=None)
@given(sizes=PARTS, data=st.data())
def test_every_epoch_has_the_exact_proportions(sizes, data):
    """Seen to fail with the shares of the first part given to the last, and with another order in each epoch."""
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    samples = data.draw(st.integers(1, 120))
    mixture = MixSource([Part(*part) for part in enumerate(sizes)], weights, samples, seed=data.draw(st.integers(0, 9)))
    assert len(mixture) == samples
    used = {number: Counter() for number in range(len(sizes))}
    for epoch in range(5):
        read = mixture.read(range(samples), epoch).x.tolist()
        assert Counter(row[0] for row in read) == Counter(dict(enumerate(mixture.given)))
        # A sample that is given twice is another one of its passes: it is augmented afresh.
        assert len({tuple(row) for row in read}) == samples
        for number, index, turn in read:
            assert turn == used[number][index]
            used[number][index] += 1
    for number, size in enumerate(sizes):
        counts = [used[number][index] for index in range(size)]
        assert max(counts) - min(counts) <= 1


@given(sizes=PARTS, epoch=st.integers(0, 50))
def test_without_weights_every_sample_comes_once_an_epoch(sizes, epoch):
    mixture = MixSource([Part(*part) for part in enumerate(sizes)], seed=3)
    read = mixture.read(range(len(mixture)), epoch).x
    assert sorted(map(tuple, read.tolist())) == [
        (number, index, epoch) for number, size in enumerate(sizes) for index in range(size)
    ]


@given(indices=st.lists(st.integers(0, 39), min_size=1, max_size=60), epoch=st.integers(0, 9))
def test_a_sample_is_the_same_whatever_is_read_beside_it(indices, epoch):
    """Seen to fail with what was read of each part left in the order of the parts."""

    def fresh():
        return MixSource([Part(0, 7), Part(1, 50)], (3, 1), 40, seed=5)

    mixture = fresh()
    assert np.array_equal(mixture.read(indices, epoch).x, fresh().read(range(40), epoch).x[indices])


def test_seeds_differ_in_which_samples_are_given():
    first, second = (MixSource([Part(0, 90), Part(1, 9)], (1, 1), 20, seed=seed) for seed in (1, 2))
    assert first.read(range(20), 0).x.tolist() != second.read(range(20), 0).x.tolist()


def test_a_mixture_is_loaded_as_any_source():
    mixture = MixSource([Part(0, 30), Part(1, 50)], (1, 3), 40, seed=5)
    assert mixture.sample_bytes == 24
    with SourceLoader(mixture, passes=2) as loader:
        assert Counter(loader.take(40).x[:, 0].tolist()) == {0: 10, 1: 30}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ((np.zeros((4, 3)), np.zeros(4)), r"\(3,\)"),
        ((np.zeros((4, 2), np.uint8), np.zeros(4)), "uint8"),
        ((np.zeros((4, 2)),), r"x: float32 \(2,\)\. Expected"),
        (({"a": np.zeros((4, 2))}, np.zeros(4)), "{'a'"),
    ],
)
@pytest.mark.parametrize("kind", [MixSource, MixStream])
def test_parts_of_different_forms_are_refused(kind, other, named):
    """Seen to fail without the check."""
    parts = [ArraySource(np.zeros((4, 2)), np.zeros(4)), ArraySource(*other)]
    with pytest.raises(ArgumentError, match=rf"part 0 with x: float32 \(2,\); y: float32 \(\), part 1 with .*{named}"):
        kind(parts, seed=0)


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any))
def test_parts_are_evenly_spread(counts):
    """Seen to fail with one part after the other."""
    order = interleaved(counts)
    assert np.bincount(order, minlength=len(counts)).tolist() == counts
    for part, number in enumerate(counts):
        sofar = np.cumsum(order == part)
        assert np.abs(sofar - np.arange(1, len(order) + 1) * number / len(order)).max() <= len(counts)


def numbered(part, sizes):
    """A generator of batches whose samples count up."""
    start = 0
    for size in sizes:
        yield np.stack([np.full(size, part), np.arange(start, start + size), np.zeros(size, int)], axis=1)
        start += size


@settings(deadline=None)
@given(
    weights=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    samples=st.integers(1, 90),
    takes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_streams_are_interleaved_in_exact_proportions_and_lose_nothing(weights, samples, takes):
    """Seen to fail with what is left of a part's batch dropped, and with a part begun anew in each epoch."""
    batches = ([3, 8, 1, 5, 2] for _ in range(2))
    first, second = (BatchGeneratorStream(numbered(part, sizes * 60)) for part, sizes in enumerate(batches))
    stream = MixStream([first, second, Part(2, 11)], weights, samples, seed=1)
    epochs, turn = [[], [], []], 0
    with StreamLoader(stream, passes=3) as loader:
        while size := loader.window(takes[turn % len(takes)]):
            rows = loader.take(size).x.tolist()
            epochs[loader.epoch].extend(rows)
            turn += 1
    for epoch in epochs:
        assert tuple(Counter(row[0] for row in epoch)[part] for part in range(3)) == shares(weights, samples)
    for part in (0, 1):
        theirs = [row[1] for epoch in epochs for row in epoch if row[0] == part]
        assert theirs == list(range(len(theirs)))
    used = Counter(row[1] for epoch in epochs for row in epoch if row[0] == 2)
    assert max(used[index] for index in range(11)) - min(used[index] for index in range(11)) <= 1


def test_the_same_seeds_give_the_same_mixture():
    def run():
        with StreamLoader(MixStream([Part(0, 40), Part(1, 9)], (2, 1), 60, seed=1), passes=2) as loader:
            return [loader.take(60).x.tolist() for _ in range(2)]

    first, second = run(), run()
    assert first == second
    assert first[0] != first[1]


def test_a_part_that_is_over_is_named():
    stream = MixStream([BatchGeneratorStream(numbered(0, [4])), Part(1, 9)], (1, 1), 20, seed=1)
    with StreamLoader(stream) as loader, pytest.raises(DataError, match="part 0 of the mixture have come to an end"):
        loader.take(20)


def test_without_lengths_the_samples_must_be_said():
    parts = [Part(0, 9), BatchGeneratorStream(numbered(1, [4]))]
    with pytest.raises(ArgumentError, match=r"Part 1 of the mixture \(BatchGeneratorStream\).*Expected mix\(parts"):
        MixStream(parts, (1, 1), seed=0)


def test_a_mixture_of_streams_says_what_holds_and_leaves_no_thread():
    """Seen to fail with the parts left open when the loader closes."""

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 50

        def __getitem__(self, index):
            return next(numbered(0, [4]))

    stream = MixStream([PyDatasetStream(Rows(workers=3)), Part(1, 9)], (3, 1), 20, seed=0)
    assert stream.notes[0] == "An epoch of the mixture has 20 samples, 15 : 5 of its parts, evenly spread."
    assert "batches of Rows" in stream.notes[1]
    with StreamLoader(stream) as loader:
        loader.take(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("autobatch-py-dataset")]


def test_what_is_to_be_mixed_is_kept_as_given():
    mixture = mix([("datagen", "folder"), "flow"], [3, 1], samples=40)
    assert mixture.parts == (("datagen", "folder"), "flow")
    assert (mixture.weights, mixture.samples) == ((3, 1), 40)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, r"Received: parts=\[\]"),
        ((["a", "b"], [1]), {}, "1 weights for 2 parts"),
        ((["a", "b"], [1, -1]), {}, "Expected numbers >= 0"),
        ((["a", "b"], [0, 0]), {}, "not all of them 0"),
        ((["a", "b"], [1, float("nan")]), {}, "Expected numbers >= 0"),
        ((["a", "b"], [1, "2"]), {}, "Expected numbers >= 0"),
        ((["a", "b"], [1, 2]), {"samples": 0}, "Received: samples=0"),
        ((["a", "b"],), {"samples": 9}, "samples=9 without weights"),
    ],
)
def test_what_cannot_be_mixed_is_refused(arguments, options, message):
    with pytest.raises(ArgumentError, match=message):
        mix(*arguments, **options)


class Saving(Part):
    """Counts what it writes while it is read."""

    def __init__(self, number, size):
        super().__init__(number, size)
        self.written, self.saves = [], True

    def without_saving(self):
        silent = copy.copy(self)
        silent.saves = False
        return silent

    def read(self, indices, epoch):
        if self.saves:
            self.written.extend(indices)
        return super().read(indices, epoch)


@pytest.mark.parametrize("kind", [MixSource, MixStream])
def test_making_a_mixture_writes_no_pictures(kind):
    """Seen to fail with the parts read as they are to compare their forms."""
    saving = Saving(0, 9)
    kind([saving, Part(1, 4)], seed=0)
    assert saving.written == []


def test_a_mixture_can_be_read_without_saving():
    """Seen to fail without `without_saving`, and with the copy's parts set in the mixture itself."""
    saving = Saving(0, 9)
    mixture = MixSource([saving, MixSource([saving, Part(1, 4)], seed=1)], seed=0)
    silent = mixture.without_saving()
    read = silent.read(range(len(silent)), 3)
    assert saving.written == []
    assert np.array_equal(mixture.read(range(len(mixture)), 3).x, read.x)
    assert len(saving.written) == 18


def test_a_mixture_of_streams_tells_its_samples():
    assert MixStream([Part(0, 9), Part(1, 4)], seed=0).samples == 13
