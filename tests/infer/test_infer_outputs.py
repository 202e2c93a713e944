"""Predictions are put in a row, one for each sample, whatever the micro-batches they come in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.epoch import rungs
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.errors import DataError, ModelError
from autobatch.infer.predict import OutputRows
from autobatch.testing import FakeEngine
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=8)


def nest(start: int, size: int) -> dict[str, object]:
    numbers = np.arange(start, start + size)
    return {"one": numbers * 1.5, "two": [np.stack([numbers, -numbers], axis=1)]}


@given(SIZES, st.integers(0, 7), st.sampled_from([None, 0, 3]))
def test_rows_are_in_order_and_since_gives_the_last_ones(sizes: list[int], begin: int, more: int | None) -> None:
    """Seen to fail with the parts of an unknown number joined last first."""
    begin = min(begin, len(sizes) - 1)
    total = None if more is None else sum(sizes) + more
    rows = OutputRows(total)
    mark = 0
    for place, size in enumerate(sizes):
        mark = rows.filled if place == begin else mark
        rows.add(nest(rows.filled, size), size)
    last = rows.since(mark)
    whole = nest(0, sum(sizes))
    assert last["one"].tolist() == whole["one"][mark:].tolist()
    result = rows.result()
    assert result["one"].tolist() == whole["one"].tolist()
    assert result["two"][0].tolist() == whole["two"][0].tolist()


def test_what_all_rows_take_is_asked_for_before_it_is_taken() -> None:
    asked: list[int] = []
    rows = OutputRows(1000, asked.append)
    rows.add(nest(0, 2), 2)
    rows.add(nest(2, 2), 2)
    assert asked == [1000 * 3 * 8]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [(np.zeros(()), "not one for each"), (np.zeros((3, 1)), "not one for each"), ([], "not one for each")],
)
def test_outputs_that_are_no_rows_are_refused(outputs: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        OutputRows(10).add(outputs, 2)


@pytest.mark.parametrize("other", [np.zeros((2, 4)), np.zeros((2, 3), np.int32)], ids=["shape", "type"])
def test_outputs_of_another_form_than_before_are_refused(other: np.ndarray) -> None:
    """Seen to fail with numbers cut off to fit."""
    rows = OutputRows(10)
    rows.add(np.zeros((2, 3)), 2)
    with pytest.raises(ModelError, match="differ from sample to sample"):
        rows.add(other, 2)


def test_without_any_sample_there_is_no_result() -> None:
    with pytest.raises(DataError, match="nothing to predict"):
        OutputRows(None).result()


@given(st.integers(1, 40), st.integers(1, 16), st.integers(1, 16), st.sets(st.integers(1, 30)))
def test_every_sample_is_predicted_once_whatever_fails(count: int, step: int, micro: int, fails: set[int]) -> None:
    """Calls that run out of memory are redone. Seen to fail with what was handed in not put back."""
    engine = FakeEngine(lambda call, size: call in fails and size > 1)
    runner = MicroBatchRunner(controller_without_sensors(min(micro, step), rungs(step, step), lambda *_: None))
    rows = OutputRows(count)
    with SourceLoader(ArraySource(np.arange(count)), shuffle=False, passes=1, workers=1) as loader:
        feed = Feed(loader)
        while size := loader.window(step):
            runner.predict(engine, feed, size, rows.add)
    assert rows.result().tolist() == list(range(count))
    assert sum(part.size for part in engine.predicted) == count
