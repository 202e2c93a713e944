"""Effective batches that change with the epoch, and the place in the samples that a run with several of them is at."""

import math
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.errors import ArgumentError
from autobatch.train.schedule import Position, parse_schedule, position_after

STEPS = [(0, 64), (5, 128), (10, 256)]
SAMPLES = st.integers(1, 60)
EFFECTIVE = st.integers(1, 80)
UPDATES = st.integers(1, 40)


@st.composite
def pairs(draw):
    """Epochs that rise from 0, each with a size."""
    later = sorted(draw(st.sets(st.integers(1, 50), max_size=6)))
    return [(epoch, draw(EFFECTIVE)) for epoch in [0, *later]]


@pytest.mark.parametrize("given_as", [STEPS, tuple(STEPS), [list(pair) for pair in STEPS]])
def test_a_size_holds_from_its_epoch_to_the_next(given_as):
    schedule = parse_schedule(given_as)
    assert [schedule.at(epoch) for epoch in (0, 4, 5, 9, 10, 1000)] == [64, 64, 128, 128, 256, 256]


@given(pairs(), st.integers(0, 60))
def test_pairs_mean_what_a_search_through_them_finds(steps, epoch):
    expected = [size for start, size in steps if start <= epoch][-1]
    assert parse_schedule(steps).at(epoch) == expected


@given(pairs(), st.integers(1, 60), st.integers(0, 59))
def test_the_largest_is_the_largest_of_the_epochs_that_are_run(steps, epochs, first):
    schedule = parse_schedule(steps)
    sizes = schedule.sizes(epochs, first)
    assert sizes == tuple(schedule.at(epoch) for epoch in range(first, epochs))
    assert schedule.largest(epochs, first) == max(sizes, default=schedule.at(first))


def test_a_change_of_the_list_afterwards_changes_nothing():
    """Seen to fail with the user's own list looked into later."""
    steps = [(0, 8), (2, 16)]
    schedule = parse_schedule(steps)
    steps[:] = [(0, 1), (2, 1)]
    assert schedule.sizes(3) == (8, 8, 16)


def test_a_function_is_asked_once_for_each_epoch():
    """What was proven is what is run. Seen to fail without the answers kept."""
    asked = []
    schedule = parse_schedule(lambda epoch: asked.append(epoch) or len(asked))
    assert schedule.largest(3) == 3
    assert schedule.sizes(3) == (1, 2, 3)
    assert asked == [0, 1, 2]


def test_sizes_are_plain_numbers():
    sizes = [*parse_schedule([(np.int64(0), np.int32(8))]).sizes(1), *parse_schedule(lambda _: np.uint8(4)).sizes(1)]
    assert sizes == [8, 4]
    assert {type(size) for size in sizes} == {int}


@pytest.mark.parametrize("batch_size", ["auto", "largest", 32, np.int64(32), None, 0, 1.5, {0: 64}, True])
def test_what_is_no_schedule_is_left_to_others(batch_size):
    assert parse_schedule(batch_size) is None


@pytest.mark.parametrize(
    "batch_size",
    [
        [],
        (),
        [64],
        (0, 64),
        [(0,)],
        [(0, 64, 1)],
        ["ab"],
        [(1, 64)],
        [(0, 64), (0, 128)],
        [(0, 64), (5, 128), (3, 256)],
        [(0, 0)],
        [(0, -1)],
        [(0, 64.0)],
        [(0, True)],
        [(False, 64)],
        [(0, 64), (1.5, 128)],
        [(0, 64), (-1, 128)],
        [(0, None)],
        [(None, 64)],
        [(0, "64")],
    ],
    ids=repr,
)
def test_pairs_that_make_no_schedule_are_refused_with_what_was_given(batch_size):
    with pytest.raises(ArgumentError) as caught:
        parse_schedule(batch_size)
    assert f"Received: batch_size={batch_size!r}. Expected pairs" in str(caught.value)


@pytest.mark.parametrize("size", [0, -4, 2.5, 64.0, None, "64", True, [64], np.float32(8), np.array([8])], ids=repr)
def test_an_answer_that_is_no_size_is_named_with_its_epoch(size):
    schedule = parse_schedule(lambda epoch: size if epoch == 7 else 8)
    assert schedule.largest(7) == 8
    with pytest.raises(ArgumentError) as caught:
        schedule.largest(9)
    assert f"Received: batch_size(7)={size!r}. Expected a whole number" in str(caught.value)


def test_an_error_of_the_function_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        parse_schedule(lambda epoch: 1 // epoch).at(0)


def walked(epochs, samples, start=(0, 0)):
    """Update by update, as the loop takes samples."""
    number, taken = start
    for effective, steps in epochs:
        for _ in count() if steps is None else range(steps):
            taken += min(effective, samples - taken)
            if taken == samples:
                number, taken = number + 1, 0
                break
    return number, taken


# Mostly several updates a pass and several epochs, so that an epoch often begins within a pass.
EPOCHS = st.lists(st.tuples(st.integers(1, 12), st.none() | st.integers(1, 6)), max_size=8)


@given(EPOCHS, SAMPLES)
def test_a_position_is_where_walking_update_by_update_ends(epochs, samples):
    """Seen to fail with an epoch that goes on with the next pass, and with one that takes a new pass always."""
    assert position_after(epochs, samples) == walked(epochs, samples)


@given(EPOCHS, EPOCHS, SAMPLES)
def test_a_run_that_stops_and_goes_on_comes_to_the_same_place(before, after, samples):
    there = position_after(before, samples)
    assert position_after(after, samples, there) == position_after(before + after, samples)


@given(SAMPLES, EFFECTIVE, UPDATES, st.integers(0, 20))
def test_with_one_size_it_is_a_division(samples, effective, steps, epochs):
    """Of the epochs, since a pass has a whole number of them."""
    passes, begun = divmod(epochs, math.ceil(samples / (effective * steps)))
    there = position_after([(effective, steps)] * epochs, samples)
    assert there == (passes, begun * steps * effective)
    assert there.passes == passes + (begun > 0)


@given(st.lists(EFFECTIVE, max_size=8), SAMPLES)
def test_epochs_of_whole_passes_end_with_one(sizes, samples):
    assert position_after([(size, None) for size in sizes], samples) == Position(len(sizes), 0)


@given(EPOCHS, SAMPLES)
def test_a_position_never_stands_at_the_end_of_a_pass(epochs, samples):
    there = position_after(epochs, samples)
    assert 0 <= there.taken < samples
    assert there.passes == there.number + (there.taken != 0)
