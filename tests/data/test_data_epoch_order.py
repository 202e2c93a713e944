import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.data.epoch import as_indices, fold, index_hashes, permutation, sample_seed, sequential, shuffled

KEYS = st.integers(min_value=-(2**70), max_value=2**70)


def test_the_hash_is_splitmix64():
    # the first output of the published generator for this seed
    assert fold(1234567) == 6457827717110365317


@given(KEYS, KEYS, st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_the_vectorised_hash_equals_the_plain_one(seed, epoch, indices):
    assert index_hashes(seed, epoch, indices, stream=5).tolist() == [fold(5, seed, epoch, index) for index in indices]


@given(KEYS, st.integers(0, 1000), st.integers(0, 300))
def test_a_permutation_has_each_index_once(seed, epoch, count):
    assert sorted(permutation(seed, epoch, count).tolist()) == list(range(count))


@given(KEYS, st.integers(0, 1000))
def test_a_permutation_depends_on_seed_and_epoch_alone(seed, epoch):
    np.random.seed(1)
    first = permutation(seed, epoch, 100)
    np.random.seed(2)
    assert np.array_equal(first, permutation(seed, epoch, 100))


def test_a_permutation_is_the_same_everywhere_and_for_ever():
    assert permutation(1, 0, 10).tolist() == [4, 6, 5, 9, 2, 3, 8, 7, 0, 1]
    assert [sample_seed(1, 0, index) for index in range(3)] == [305494369, 2203577971, 2961905748]


def test_seeds_and_epochs_give_other_permutations():
    orders = {tuple(permutation(seed, epoch, 50)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_every_index_comes_first_about_equally_often():
    first = np.bincount([permutation(3, epoch, 8)[0] for epoch in range(4000)], minlength=8)
    # 500 each is expected with a standard deviation of 21
    assert first.min() > 400
    assert first.max() < 600


@given(KEYS, st.integers(0, 1000), st.integers(0, 10**9))
def test_a_sample_seed_has_32_bits(seed, epoch, index):
    assert 0 <= sample_seed(seed, epoch, index) < 2**32


def test_sample_seeds_are_another_stream_than_the_order():
    seeds = [sample_seed(1, 0, index) for index in range(1000)]
    assert len(set(seeds)) > 995
    assert abs(np.corrcoef(seeds, index_hashes(1, 0, np.arange(1000)).astype(float))[0, 1]) < 0.1


def test_orders_are_functions_of_the_epoch():
    assert np.array_equal(shuffled(4, 9)(2), permutation(4, 2, 9))
    assert sequential(4)(2).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("indices", [[-1], [0, 5], [2**40]])
def test_an_index_that_is_no_sample_is_refused(indices):
    with pytest.raises(IndexError, match="There are 5 samples"):
        as_indices(indices, 5)
