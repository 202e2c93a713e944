"""What a run was begun with: told apart where it decides what is trained on, and nowhere else."""

import json
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autobatch.data.adapters.arrays import ArraySource
from autobatch.train.checkpoint.resume import batch_size_facts, first_difference, run_facts


def facts(paths=("data/a/1.png", "data/b/2.png"), classes=None, directory="data", class_weight=None, **options):
    pictures = SimpleNamespace(filepaths=list(paths), class_indices=classes or {"a": 0, "b": 1})
    return run_facts(pictures, directory, class_weight, **options)


def test_a_folder_that_was_moved_holds_the_same_pictures():
    moved = facts(("/mnt/x/a/1.png", "/mnt/x/b/2.png"), directory="/mnt/x/")
    assert moved == facts()


def test_other_names_another_order_and_other_classes_are_other_pictures():
    """Seen to fail with the count of the files instead of their names."""
    others = [
        facts(("data/a/1.png", "data/b/3.png")),
        facts(("data/b/2.png", "data/a/1.png")),
        facts(("data/a/1.pngb/2.png",)),
        facts(classes={"b": 0, "a": 1}),
    ]
    assert all(other["pictures"] != facts()["pictures"] for other in others)


def test_facts_survive_json():
    here = facts(class_weight={0: 1, 1: 2.5}, shuffle=True, steps_per_epoch=None)
    assert json.loads(json.dumps(here)) == here
    assert here["class_weight"] == {"0": 1.0, "1": 2.5}


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12), data=st.data())
def test_sizes_come_back_from_their_pairs_and_every_difference_is_found(sizes, data):
    epochs = len(sizes)
    told = json.loads(json.dumps(batch_size_facts(sizes.__getitem__, epochs)))
    assert first_difference(told["batch_size"], sizes.__getitem__, epochs) is None
    assert told["epochs"] == epochs
    place = data.draw(st.integers(0, epochs - 1))
    other = [*sizes[:place], 5, *sizes[place + 1 :]]
    assert first_difference(told["batch_size"], other.__getitem__, epochs) == place


def test_arrays_are_known_by_what_is_in_them():
    """Seen to fail for text with the bytes of the objects, which are their addresses."""
    words = np.array(["one", "two", "three"], dtype=object)
    numbers = np.arange(3.0)

    def told(x):
        return run_facts(ArraySource(x), None, None)["pictures"]

    assert told(numbers) == told(numbers.copy())
    assert told(numbers) != told(numbers + 1)
    assert told(words) == told(np.array(["".join(list(word)) for word in words], dtype=object))
    assert told(words) != told(words[::-1])
