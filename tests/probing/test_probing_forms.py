"""A probe takes everything that a training takes, and says what it has used up."""

from itertools import cycle

import keras
import numpy as np
import pytest
from nets import Here, compiled

import autobatch

X = np.random.default_rng(1).random((20, 8, 8, 3), dtype=np.float32)
Y = np.eye(2, dtype=np.float32)[np.arange(20) % 2]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


FORMS = {
    "arrays": (lambda: (X, Y), 20),
    "PyDataset": (Batches, 20),
    "tf.data": (dataset, 20),
    "Python generator": (lambda: cycle([(X[:4], Y[:4])]), 32),
    "several sources": (lambda: autobatch.mix([(X[:5], Y[:5]), (X[5:], Y[5:])]), 20),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_largest_size_is_that_of_all_samples_where_their_number_is_known(form):
    """Seen to fail with the bound of a stream left at the samples of its first batch."""
    make, largest = FORMS[form]
    keras.utils.set_random_seed(1)
    model = compiled(keras.Sequential([keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(2)]))
    result = autobatch.probe(model, make(), batch_size="largest", max_batch_size=32, cache=False)
    assert result.batch_size == largest
    assert any("one batch less" in note for note in result.notes) == (form == "Python generator")
