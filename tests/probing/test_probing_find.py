"""Earlier trials are judged by today's budget, and a size without a peak of its own proves nothing by itself."""

from itertools import chain, repeat

import pytest
from nets import compiled, conv_net, pictures
from trials import Clock, FakeExecutor

from autobatch.data.epoch import rungs
from autobatch.errors import DoesNotFitError
from autobatch.memory.budget import DEFAULT_RESERVE
from autobatch.probing.cache import Cache
from autobatch.probing.recall import with_search
from autobatch.probing.request import ProbeRequest, cut_to_samples, find_cap
from autobatch.probing.search import MAX_TRIALS, largest, most_efficient
from autobatch.probing.trials.ipc import Reply
from autobatch.probing.tuner import Tuner, TunerSeams, find_batch_size
from autobatch.results.trial import Outcome, Trial
from autobatch.testing import memory_reading

MIB, GIB = 2**20, 2**30
SAMPLES = pictures(4)


def ran(size, gib=None, outcome=Outcome.RAN):
    peaks = {} if gib is None else {"host": int(gib * GIB)}
    return Trial(size, outcome, peaks, 0.1, size / 0.1)


@pytest.mark.parametrize(
    ("budget_gib", "expected"), [(20, 128), (5, 32), (0.5, None)], ids=["all", "the small ones", "none"]
)
def test_a_size_without_a_peak_is_worth_what_a_larger_one_proves(budget_gib, expected):
    """Seen to fail with a missing peak taken for one that fits any budget."""
    trials = [ran(2, 1), ran(32, 3), ran(128, 8), ran(60)]
    budgets = {"host": int(budget_gib * GIB)}
    best = largest(trials, budgets)
    assert (best.size if best else None) == expected
    fast = most_efficient(trials, budgets=budgets)
    assert (fast.size if fast else None) == expected


def looked_up(folder, trials, cap=128, free_gib=10, **question):
    """A finder, and what it makes of trials that an earlier probe has kept."""
    tuner = Tuner(compiled(conv_net()), SAMPLES, ProbeRequest(mode="largest", cap=cap, **question))
    tuner.budgets.now = {"host": int(free_gib * GIB)}
    cache = Cache(folder)
    cache.put(tuner._key(), with_search(None, trials))
    return tuner, tuner.earlier(cache)


def test_what_was_over_the_budget_of_that_day_may_fit_today(tmp_path):
    """Seen to fail with the old outcome kept: no size was proven though all had run."""
    _, found = looked_up(tmp_path, [ran(2, 1), ran(16, 1.5), ran(128, 8, Outcome.OVER_BUDGET)])
    assert (found.batch_size, found.proof.outcome, found.from_cache) == (128, Outcome.RAN, True)


def test_what_fitted_that_day_may_be_over_the_budget_today(tmp_path):
    """Seen to fail with the old outcome kept."""
    trials = [ran(2, 1), ran(16, 2), ran(24, 2.5), ran(25, 2.56), ran(128, 8)]
    _, found = looked_up(tmp_path, trials, free_gib=2.6)
    assert found.batch_size == 25
    assert found.trials[-1].outcome is Outcome.OVER_BUDGET


def test_trials_that_lack_a_resource_are_no_answer(tmp_path):
    """Seen to fail with a peak that was never measured passing any budget."""
    tuner, found = looked_up(tmp_path, [ran(2, 1)], cap=2)
    assert found is not None
    tuner.budgets.now = {"host": 10 * GIB, "device": 10 * GIB}
    assert tuner.earlier(Cache(tmp_path)) is None


def test_a_search_that_ran_out_of_trials_is_no_answer_where_more_may_fit(tmp_path):
    """Seen to fail with the earlier trials counted against those of today's search."""
    trials = [ran(size, 1 + size / 64) for size in range(1, MAX_TRIALS + 1)]
    _, found = looked_up(tmp_path, trials, free_gib=1.395)
    assert found.batch_size == MAX_TRIALS
    _, found = looked_up(tmp_path, trials, free_gib=10)
    assert found is None


@pytest.mark.parametrize(
    ("batch_size", "most", "cap", "reason"),
    [
        (None, None, 100, "all the samples there are"),
        (32, None, 32, "the effective batch"),
        (500, None, 100, "all the samples there are"),
        (64, 16, 16, "the most that was allowed (max_batch_size=16)"),
    ],
)
def test_the_cap_is_the_least_of_what_makes_sense_and_its_reason_is_said(batch_size, most, cap, reason):
    effective, said = cut_to_samples(batch_size, 100)
    assert find_cap(100, effective, most) == (cap, reason)
    assert bool(said) == (batch_size == 500)


def test_without_room_the_error_has_the_numbers_and_nothing_is_started():
    question = ProbeRequest(mode="largest", cap=4, read_ahead_bytes=2**50)
    with pytest.raises(DoesNotFitError, match="Nothing is left") as caught:
        find_batch_size(compiled(conv_net()), SAMPLES, question)
    assert caught.value.available_bytes == 0


def test_each_trial_is_told_before_it_begins_and_when_it_has_ended():
    told = []
    seams = TunerSeams(
        lambda: memory_reading(host_total_bytes=4 * GIB, host_available_bytes=2 * GIB), FakeExecutor(Clock())
    )
    question = ProbeRequest("largest", cap=256)
    find_batch_size(compiled(conv_net()), SAMPLES, question, on_start=told.append, on_trial=told.append, seams=seams)
    began, ended = told[::2], told[1::2]
    assert began == [trial.size for trial in ended]


def asked(mode, cache=None):
    seams = TunerSeams(
        lambda: memory_reading(host_total_bytes=32 * GIB, host_available_bytes=24 * GIB), FakeExecutor(Clock())
    )
    return find_batch_size(compiled(conv_net()), SAMPLES, ProbeRequest(mode, cap=2048), cache=cache, seams=seams)


def test_memory_that_buys_no_speed_is_not_asked_for():
    """Seen to fail with every size tried that fits: minutes, and all of the memory, for an answer far below."""
    result = asked("auto")
    assert (result.batch_size, result.max_batch_size) == (128, 256)
    assert max(trial.size for trial in result.trials) == 256
    assert "Nothing above 256 was tried: no size can be much faster." in result.reasons
    assert asked("largest").max_batch_size == 2048


def test_an_answer_that_ended_for_its_speed_is_one_the_next_time(tmp_path):
    """Seen to fail with what was never tried counted against it: each probe measured anew."""
    cache = Cache(tmp_path)
    assert not asked("auto", cache).from_cache
    again = asked("auto", cache)
    assert (again.from_cache, again.batch_size) == (True, 128)
    assert not asked("largest", cache).from_cache


class CutSite(FakeExecutor):
    """A worker that takes a part of the memory itself, and trials that may end in another way than expected.

    Args:
        takes_mib: What the worker takes as long as it lasts.
        needs_mib: What sizes need that are none of a line.
        killed: Sizes that are killed if they are tried again.
    """

    def __init__(self, takes_mib=0, needs_mib=None, killed=(), **options):
        super().__init__(Clock(), **options)
        self.takes_bytes, self._needs_mib, self._killed = takes_mib * MIB, needs_mib or {}, set(killed)
        self._tried = set()

    def trial(self, size, *options, **named):
        answer = super().trial(size, *options, **named)
        again = size in self._tried
        self._tried.add(size)
        if again and size in self._killed:
            return Reply(Outcome.KILLED)
        if size in self._needs_mib:
            answer.payload["peaks"] = {"host": self._needs_mib[size] * MIB}
        return answer


def cut(cache, free_mib, *, most=64, neighbour_mib=0, **executor):
    """The micro-batch for 64 samples, of which each takes 10 MiB beside 100 MiB, where so much is free to a step.

    A neighbour takes its part after the first look, and keeps it.
    """
    free_bytes = free_mib * MIB + DEFAULT_RESERVE.bytes_of(4 * GIB)
    others = chain([0], repeat(neighbour_mib * MIB))
    worker = CutSite(**executor)

    def read():
        taken = next(others) + worker.takes_bytes * worker.open
        return memory_reading(host_total_bytes=4 * GIB, host_available_bytes=free_bytes - taken)

    question = ProbeRequest("micro", most, "the most that was allowed", effective_batch_size=64)
    return find_batch_size(compiled(conv_net()), SAMPLES, question, cache=cache, seams=TunerSeams(read, worker))


def test_a_batch_that_is_given_is_looked_for_among_what_it_is_cut_into(tmp_path):
    """Seen to fail with all sizes looked at, which also found more to look at whenever a little more was free."""
    cache = Cache(tmp_path)
    first, again = cut(cache, 600), cut(cache, 640)
    assert first.batch_size == first.max_batch_size == 32
    assert {trial.size for trial in first.trials} <= set(rungs(64, 32))
    assert first.reasons[-1].startswith("Nothing above 32 that 64 samples are cut into is safe: 64 samples would peak")
    assert (again.from_cache, again.batch_size) == (True, 32)
    more = cut(cache, 900)
    assert (more.from_cache, more.batch_size) == (False, 64)


def test_what_the_process_of_the_trials_takes_counts_the_next_time_too(tmp_path):
    """Seen to fail with all that is free counted: each training looked anew, and proved as much as the one before.

    And with the reasons told of a budget without it: that the search had just ended.
    """
    cache = Cache(tmp_path)
    first, again = (cut(cache, 1000, takes_mib=400) for _ in range(2))
    assert (again.from_cache, again.batch_size, first.batch_size) == (True, 32, 32)
    assert again.reasons == first.reasons
    assert "over the budget of 600 MiB beside the worker" in again.reasons[-1]


@pytest.mark.parametrize("worker_mib", [0, 400])
def test_what_a_neighbour_has_taken_meanwhile_counts_that_time_only(worker_mib, tmp_path):
    """Seen to fail with all that the budget had lost taken for the worker's: a small answer stayed for good."""
    cache = Cache(tmp_path)
    assert cut(cache, 1600, neighbour_mib=900, takes_mib=worker_mib).batch_size < 64
    found = cut(cache, 1600, takes_mib=worker_mib)
    assert (found.from_cache, found.batch_size) == (False, 64)


def test_a_size_that_is_known_not_to_fit_is_not_asked_for_again(tmp_path):
    """Seen to fail with what was over the budget left out of what is looked at the next time, and not ruled out."""
    cache = Cache(tmp_path)
    first, again = (cut(cache, 790, needs_mib={64: 800}) for _ in range(2))
    assert [trial.outcome for trial in first.trials if trial.size == 64] == [Outcome.OVER_BUDGET]
    assert (again.from_cache, again.batch_size) == (True, 32)


def test_what_a_batch_is_cut_into_is_confirmed_as_any_answer_is(tmp_path):
    """Seen to fail with all sizes looked at, and with a confirmed answer that is looked for anew the next time."""
    cache = Cache(tmp_path)
    found = cut(cache, 450, worst=1.2)
    assert [trial.size for trial in found.trials].count(32) == 2
    assert (found.batch_size, cut(cache, 450, worst=1.2).from_cache) == (32, True)


def test_an_answer_that_does_not_survive_its_confirmation_is_none():
    """Seen to fail with any trial of a size taken for its proof: the size that had been killed was the answer."""
    found = cut(None, 450, worst=1.2, killed=[32])
    assert found.batch_size == found.max_batch_size == 22
    assert "32 samples: Something killed it" in found.reasons[-1]


def test_a_smaller_answer_is_given_where_only_a_size_in_between_is_left():
    """Seen to fail with the size in between taken for the proof of the one below it, which had been killed."""
    found = cut(None, 396, fixed_bytes=240 * MIB, per_sample_bytes=int(2.3 * MIB), worst=1.35, killed=[32])
    assert max(trial.size for trial in found.trials if trial.outcome is Outcome.RAN) > 32
    assert found.batch_size == found.max_batch_size == 22


def test_the_largest_that_was_allowed_is_said_where_it_is_none_of_what_a_batch_is_cut_into():
    found = cut(None, 2000, most=30)
    assert found.batch_size == 22
    said = "22 is the largest size that 64 samples are cut into up to 30, the most that was allowed."
    assert found.reasons[-1] == said
