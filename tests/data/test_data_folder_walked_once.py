"""A large folder is walked once; cutting it at another size touches no file."""

import os

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from surroundings import updates

from autobatch.data.batch import Batch
from autobatch.data.epoch import near_equal, permutation
from autobatch.data.images.from_folder import DirectorySource
from autobatch.data.prefetch.source_loader import SourceLoader

CLASSES, FILES = 10, 300


@pytest.fixture
def large_folder(tmp_path):
    for label in range(CLASSES):
        folder = tmp_path / f"class{label}"
        folder.mkdir()
        for number in range(FILES):
            os.close(os.open(folder / f"{number}.png", os.O_CREAT | os.O_WRONLY))
    return tmp_path


@pytest.fixture
def visits(monkeypatch):
    """The folders that are listed, in any way that Python has."""
    seen = []

    def watch(name):
        original = getattr(os, name)

        def watched(path=".", *rest, **options):
            seen.append(os.fspath(path))
            return original(path, *rest, **options)

        monkeypatch.setattr(os, name, watched)

    for name in ("scandir", "listdir", "open", "stat"):
        watch(name)
    return seen


class Unread(DirectorySource):
    """The pictures of a folder, without looking into the files."""

    def read(self, indices, epoch):
        return Batch(np.asarray(indices))


def test_a_folder_is_walked_once_and_recut_without_a_look_at_it(large_folder, visits):
    # seen to fail when the flow is built anew for another size
    source = Unread(ImageDataGenerator(), large_folder, target_size=(8, 8))
    assert len(source) == CLASSES * FILES
    walked = [path for path in visits if path.startswith(str(large_folder / "class"))]
    listed = [path for path in visits if path == str(large_folder)]
    folders = {str(large_folder / f"class{label}") for label in range(CLASSES)}
    assert set(walked) == folders
    assert len([path for path in walked if path in folders]) <= 2 * CLASSES  # once to see that it is a folder
    assert len(listed) <= 4
    visits.clear()
    order = permutation(1, 0, len(source))
    for effective in (512, 48, 1000):
        assert sum(stop - start for start, stop in updates(len(order), effective)) == len(order)
        assert sum(near_equal(effective, 7)) == effective
    with SourceLoader(source, max_bytes=2**20, passes=1) as loader:
        taken = [loader.take(size).x for size in (1, 100, 7, 1000)]
    assert np.concatenate(taken).tolist() == permutation(source.seed, 0, len(source))[:1108].tolist()
    assert [path for path in visits if str(path).startswith(str(large_folder))] == []
