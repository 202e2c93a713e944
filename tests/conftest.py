"""What holds for every test."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # machines that run tests are slow at times
settings.load_profile("patient")


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
