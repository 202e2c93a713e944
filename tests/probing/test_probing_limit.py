"""A probe that pretends that there is less memory: for all its readings, and with a cache."""

from functools import cache

import pytest
from nets import compiled, conv_net, pictures
from trials import FakeExecutor

from autobatch.backend import current_backend
from autobatch.errors import ArgumentError, DoesNotFitError
from autobatch.probing.cache import Cache
from autobatch.probing.probe import probe
from autobatch.probing.recall import with_search
from autobatch.probing.request import ProbeRequest
from autobatch.probing.search import verdict
from autobatch.probing.step_budgets import StepBudgets
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.results.trial import Outcome, Trial
from autobatch.testing import memory_reading

GIB = 2**30
SAMPLES = pictures(4)


@cache
def model():
    """One for all: nothing is run on it."""
    return compiled(conv_net())


def read():
    return memory_reading(host_total_bytes=16 * GIB, host_available_bytes=12 * GIB, rss_bytes=GIB // 2)


def look(limit_gib, kept=None, mode="largest"):
    limit = None if limit_gib is None else int(limit_gib * GIB)
    question = ProbeRequest(mode, cap=4096, limit_bytes=limit, effective_batch_size=4096 if mode == "micro" else None)
    return find_batch_size(model(), SAMPLES, question, cache=kept, seams=TunerSeams(read, FakeExecutor()))


LIMITS = (None, 16.0, 8.0, 4.0, 1.5)


@pytest.mark.parametrize("mode", ["largest", "auto", "micro"])
@pytest.mark.parametrize("then", LIMITS)
@pytest.mark.parametrize("first", LIMITS)
def test_an_answer_under_a_limit_is_the_same_with_earlier_trials_at_hand(first, then, mode, tmp_path):
    """As large, at least, up to what is not worth a new probe.

    Seen to fail with a search called done because trials far above the answer say little of what is in between, and
    with earlier trials judged by what a larger machine has.
    """
    kept = Cache(tmp_path)
    look(first, kept, mode)
    found, fresh = look(then, kept, mode), look(then, None, mode)
    assert verdict(found.proof.peaks or found.peaks, found.budgets) is Outcome.RAN
    assert first != then or found.from_cache
    apart = 1.25 if mode == "auto" else 1.1  # where speeds level off, no size near it is better than another
    assert found.max_batch_size >= fresh.max_batch_size / apart
    # What a batch is cut into lies up to a factor of two apart: what fits by little is shown to by having run alone.
    assert found.max_batch_size <= fresh.max_batch_size * (2 if mode == "micro" else apart)
    # What TensorFlow's pool keeps here is counted as free until others are asked.
    assert found.budgets["host"] == pytest.approx(fresh.budgets["host"], abs=current_backend().idle_pool_bytes() + 1)
    assert found.limits == fresh.limits


@pytest.mark.parametrize("mode", ["largest", "auto", "micro"])
def test_answers_under_several_limits_are_kept_beside_each_other(mode, tmp_path):
    """Seen to fail with one search kept at a time: the machine's own answer was measured anew after each limit."""
    kept, limits = Cache(tmp_path), (None, 4.0, 1.5)
    first = [look(limit, kept, mode).batch_size for limit in limits]
    again = [look(limit, kept, mode) for limit in limits * 2]
    assert [found.from_cache for found in again] == [True] * 6
    assert [found.batch_size for found in again] == first * 2


def test_a_few_searches_are_kept():
    stored = None
    for size in range(1, 30):
        stored = with_search(stored, [Trial(size, Outcome.RAN), Trial(size + 1, Outcome.TIMED_OUT)])
    assert [[trial["size"] for trial in search["trials"]] for search in stored["searches"]] == [
        [size] for size in range(29, 21, -1)
    ]


def test_a_smaller_limit_is_answered_by_the_trials_of_a_larger_one_or_measured(tmp_path):
    kept = Cache(tmp_path)
    whole, small = look(None, kept), look(1.5, kept)
    assert small.max_batch_size < whole.max_batch_size
    assert max(small.peaks.values()) <= 1.5 * GIB


@pytest.mark.parametrize("limit_gib", [8.0, 4.0, 1.5])
def test_an_answer_under_a_limit_stays_below_it_and_says_so(limit_gib):
    """Seen to fail with the readings between trials taken of the real machine."""
    found = look(limit_gib)
    assert found.limits == {"host": f"host, as if it had {limit_gib:.1f} GiB"}
    assert f"As if the host had {limit_gib:.1f} GiB." in found.notes
    assert found.reserves["host"] == max(int(0.08 * limit_gib * GIB), 128 * 2**20)
    assert (
        max(found.peaks.values()) + GIB // 2 + found.reserves["host"]
        <= limit_gib * GIB + current_backend().idle_pool_bytes()
    )


def test_a_limit_above_what_there_is_changes_nothing_and_says_so():
    plain, limited = look(None), look(64.0)
    assert (plain.trials, plain.budgets, plain.limits) == (limited.trials, limited.budgets, limited.limits)
    assert any("changes nothing" in note for note in limited.notes)


def test_every_reading_is_taken_under_the_limit():
    """Seen to fail with the limit on the first reading alone, when others leave more than at first."""
    question = ProbeRequest("largest", cap=64, limit_bytes=4 * GIB)
    budgets = StepBudgets(question, read)
    before = dict(budgets.now)
    assert budgets.renew({})["host"] <= before["host"] <= 4 * GIB - GIB // 2
    budgets.now = {"host": 2**50}
    assert budgets.renew({})["host"] <= 4 * GIB - GIB // 2


def test_a_process_that_is_over_the_limit_already_has_nothing_left():
    """Seen to fail with what it is over left out: what it holds and will use again would count as free."""
    budgets = StepBudgets(ProbeRequest("largest", cap=64, limit_bytes=GIB // 4), read)
    idle = current_backend().idle_pool_bytes()
    assert budgets.now["host"] == GIB // 4 - GIB // 2 - 128 * 2**20 + idle
    with pytest.raises(DoesNotFitError, match=r"as if it had 256 MiB.*larger limit="):
        look(0.25)


@pytest.mark.parametrize("limit", [0, -5, 2.5, "8GiB", True])
def test_a_limit_is_a_number_of_bytes(limit):
    with pytest.raises(ArgumentError, match="limit="):
        probe(None, None, limit=limit)
