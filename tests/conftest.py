"""What holds for every test."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # machines that run tests are slow at times
settings.load_profile("patient")


def _have_a_temporary_folder_of_ones_own(worker: str) -> None:
    """Tests look at what is left in the folder for temporary files: those of another process don't belong there."""
    place = Path(tempfile.gettempdir()) / worker
    place.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    _have_a_temporary_folder_of_ones_own(worker)


_THAT_TRAIN = {"backend", "infer", "promises", "train"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with what takes longest come first, so that no process waits for the other at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name not in _THAT_TRAIN))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Takes what the imports made out of the garbage collector's hands.

    Each probe collects garbage, and would go through the half million objects of TensorFlow every time. What a test
    makes is collected as ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def leave_what_stays() -> Iterator[None]:
    """Does the same with what TensorFlow and Keras keep of the tests of a file: every trace, for one."""
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture
def trials_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in this process: a worker imports TensorFlow, for nothing where it doesn't matter where they run."""
    monkeypatch.setattr("autobatch.probing.trials.executor.SUPPORTED", False)
