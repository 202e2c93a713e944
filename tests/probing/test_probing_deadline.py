"""The deadline of a whole probe: nothing begins after it, and what is there when it passes is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import compiled, conv_net, pictures
from trials import Clock, FakeExecutor

from autobatch.errors import ArgumentError, ProbeTimeoutError
from autobatch.probing.cache import Cache
from autobatch.probing.probe import probe
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials.ipc import NEVER, Deadline
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.results.trial import Outcome
from autobatch.testing import memory_reading

GIB = 2**30
SAMPLES = pictures(4)
MODEL = compiled(conv_net())  # nothing is run on it
QUESTION = ProbeRequest("micro", cap=256, effective_batch_size=256)


def probed(timeout_s=None, on_trial=None, question=QUESTION, cache=None):
    """The answer, or the error, of a probe on a clock of its own; with its site and the moment that it ended."""
    clock = Clock()
    executor = FakeExecutor(clock, worst=1.25)
    seams = TunerSeams(
        lambda: memory_reading(host_total_bytes=4 * GIB, host_available_bytes=2 * GIB),
        executor,
        Deadline.after(timeout_s, clock),
    )
    try:
        found = find_batch_size(MODEL, SAMPLES, question, on_trial=on_trial, cache=cache, seams=seams)
    except ProbeTimeoutError as error:
        found = error
    return found, executor, clock.now_s


WHOLE, UNHURRIED, ENDED_AT = probed()
LASTS_S = ENDED_AT - Clock().now_s


def test_the_scene_has_several_trials():
    sizes = [trial.size for trial in WHOLE.trials]
    assert sizes.count(WHOLE.max_batch_size) == 2  # the answer runs once more, in a fresh process
    assert len(UNHURRIED.began) > len(sizes) >= 4


# Shortly before, at and shortly after each begins or ends.
MOMENTS_S = sorted({began - Clock().now_s + by_s for began in (*UNHURRIED.began, ENDED_AT) for by_s in (-0.5, 0, 0.5)})


@pytest.mark.parametrize("timeout_s", [moment for moment in MOMENTS_S if 0 <= moment < LASTS_S])
def test_whenever_the_deadline_passes_nothing_begins_after_it_and_all_is_told(timeout_s):
    """Seen to fail with the deadline left to the worker alone, and with a trial broken off counted against its size."""
    error, executor, ended_at = probed(timeout_s)
    assert isinstance(error, ProbeTimeoutError)
    assert not executor.open
    deadline = Clock().now_s + timeout_s
    assert all(moment < deadline for moment in executor.began)
    assert ended_at <= deadline
    done = [trial for trial in error.trials if trial.outcome is not Outcome.TIMED_OUT]
    assert [trial.size for trial in done] == [trial.size for trial in WHOLE.trials[: len(done)]]
    assert len(error.trials) - len(done) <= 1
    assert error.best_size == max((trial.size for trial in done if trial.outcome is Outcome.RAN), default=None)
    assert f"{timeout_s:g} s" in str(error)


def test_a_deadline_that_passes_when_the_answer_is_complete_is_no_error():
    """Seen to fail with the time asked for once more after the last trial."""
    found, _, ended_at = probed(LASTS_S)
    assert ended_at == ENDED_AT
    assert (found.batch_size, found.trials) == (WHOLE.batch_size, WHOLE.trials)


def test_an_answer_from_the_cache_needs_no_time(tmp_path):
    probed(cache=Cache(tmp_path))
    found, executor, _ = probed(0.0, cache=Cache(tmp_path))
    assert found.from_cache
    assert executor.began == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_between_trials_passes_and_closes_the_site(error):
    """Seen to fail with the site closed after a good end alone."""
    seen = []

    def interrupt(trial):
        seen.append(trial)
        if len(seen) == 2:
            raise error

    executor = FakeExecutor()
    seams = TunerSeams(memory_reading, executor)
    with pytest.raises(error):
        find_batch_size(MODEL, SAMPLES, QUESTION, on_trial=interrupt, seams=seams)
    assert not executor.open
    assert len(executor.began) == len(seen) == 2


@given(st.none() | st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_nothing_may_take_longer_than_what_is_left(timeout_s, gone_s, wants_s):
    clock = Clock()
    deadline = Deadline.after(timeout_s, clock)
    clock.now_s += gone_s
    granted_s = deadline.at_most(wants_s)
    assert 0 <= granted_s <= wants_s
    assert timeout_s is None or granted_s == 0 or granted_s <= deadline.left_s
    assert deadline.passed <= (timeout_s is not None)


def test_without_a_deadline_there_is_always_time():
    assert not NEVER.passed
    assert NEVER.at_most(7.0) == 7.0


@pytest.mark.parametrize("timeout_s", [0, -1.0, "soon", True])
def test_a_timeout_is_a_number_of_seconds(timeout_s):
    with pytest.raises(ArgumentError, match="timeout_s"):
        probe(None, None, timeout_s=timeout_s)
