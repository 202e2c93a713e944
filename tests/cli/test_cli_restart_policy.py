"""What the end of a supervised training means: restarted when memory has killed it, and only then."""

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.cli.supervisor.restart_policy import (
    Attempts,
    End,
    MicroBatchLimits,
    Restart,
    Trace,
    TrainingEnd,
    what_next,
)
from autobatch.train.checkpoint.saver import VALIDATION, InFlight
from autobatch.train.checkpoint.store import CheckpointState

KILLED = -signal.SIGKILL
STATE = CheckpointState(
    epoch=1,
    update=14,
    pass_number=1,
    position=896,
    effective_batch_size=64,
    max_micro_batch_size=None,
    seed=7,
    samples=1000,
)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (0, 0, None),
        (2, 2, None),
        (3, 3, None),
        (6, 6, None),
        (7, 7, None),
        (130, 130, None),
        (255, 255, None),
        (-signal.SIGSEGV, 139, "SIGSEGV"),
        (-signal.SIGABRT, 134, "SIGABRT"),
        (-signal.SIGBUS, 135, "SIGBUS"),
        (-signal.SIGTERM, 143, "SIGTERM"),
        (-signal.SIGINT, 130, "SIGINT"),
        (-63, 191, "signal 63"),
    ],
)
def test_any_other_end_is_handed_on_and_never_called_out_of_memory(status, code, said):
    """Seen to fail with SIGSEGV taken for out of memory. The kernel's count has risen: for somebody else."""
    verdict = what_next(TrainingEnd(status, 0, 5), Trace(InFlight(32), STATE), Attempts(0, 3))
    assert isinstance(verdict, End)
    assert (verdict.status, verdict.gave_up) == (code, False)
    assert verdict.message is None if said is None else f"ended by {said}." in verdict.message


@pytest.mark.parametrize("status", [KILLED, 137])
@pytest.mark.parametrize(
    ("before", "after", "for_memory", "sure"),
    [
        (4, 5, True, True),
        (4, 4, False, True),
        (4, 3, False, True),
        (None, None, True, False),
        (None, 5, True, False),
        (5, None, True, False),
    ],
)
def test_a_kill_is_for_memory_if_the_kernel_says_so_or_says_nothing(before, after, for_memory, sure, status):
    """Seen to fail with the counts left out."""
    verdict = what_next(TrainingEnd(status, before, after), Trace(InFlight(32), STATE), Attempts(0, 3))
    assert isinstance(verdict, Restart) == for_memory
    assert ("cannot be read here" in verdict.message) != sure
    if not for_memory:
        assert (verdict.status, verdict.gave_up) == (137, False)
        assert "another process" in verdict.message


@pytest.mark.parametrize(
    ("trace", "attempts", "limit"),
    [
        (Trace(InFlight(64), STATE), Attempts(0, 3), 32),
        (Trace(InFlight(32), STATE), Attempts(1, 3, limits=MicroBatchLimits(32)), 22),
        (Trace(InFlight(22), STATE), Attempts(2, 3, limits=MicroBatchLimits(32)), 16),
        (Trace(InFlight(2), STATE), Attempts(0, 1), 1),
        pytest.param(
            Trace(InFlight(64), STATE),
            Attempts(1, 3, limits=MicroBatchLimits(16)),
            11,
            id="written before",
        ),
        pytest.param(Trace(InFlight(64)), Attempts(0, 3), 32, id="no checkpoint"),
        pytest.param(Trace(InFlight(5)), Attempts(0, 3), 3, id="no checkpoint, an odd size"),
        pytest.param(Trace(None, STATE), Attempts(0, 3), None, id="before its first micro-batch"),
        pytest.param(Trace(None, STATE), Attempts(1, 3, limits=MicroBatchLimits(8)), 8, id="the same, bounded"),
        pytest.param(Trace(), Attempts(0, 3), None, id="nothing is known"),
    ],
)
def test_it_goes_on_below_the_micro_batch_that_was_running(trace, attempts, limit):
    verdict = what_next(TrainingEnd(KILLED, 0, 1), trace, attempts)
    assert isinstance(verdict, Restart)
    assert verdict.limits == MicroBatchLimits(limit)
    assert f"Restart {attempts.restarts + 1} of {attempts.allowed} " in verdict.message


def test_a_restart_says_what_was_killed_where_it_goes_on_and_how_large():
    verdict = what_next(TrainingEnd(KILLED, 0, 1), Trace(InFlight(32), STATE), Attempts(0, 3))
    assert verdict.message == (
        "the kernel killed the training for memory at a micro-batch of 32. "
        "Restart 1 of 3 from epoch 2, after update 14, with micro-batches of at most 22."
    )


@pytest.mark.parametrize(
    ("trace", "attempts", "said"),
    [
        (Trace(InFlight(1), STATE), Attempts(0, 3), "no smaller micro-batch"),
        (Trace(None, STATE), Attempts(1, 3, limits=MicroBatchLimits(1)), "no smaller micro-batch"),
        (Trace(InFlight(32), STATE), Attempts(3, 3), "restarted 3 times"),
        (Trace(InFlight(32), STATE), Attempts(1, 1), "restarted once"),
        (Trace(InFlight(32), STATE), Attempts(0, 0), "--restarts allows no more"),
        (Trace(), Attempts(3, 3), "before its first micro-batch"),
    ],
)
def test_it_gives_up_at_one_sample_and_when_no_restart_is_left(trace, attempts, said):
    """Seen to fail with `>` for `>=` in the comparison with the restarts allowed."""
    verdict = what_next(TrainingEnd(KILLED, 0, 1), trace, attempts)
    assert isinstance(verdict, End)
    assert (verdict.status, verdict.gave_up) == (3, True)
    assert said in verdict.message


@given(
    micro=st.integers(1, 512),
    effective=st.integers(1, 512),
    allowed=st.integers(0, 40),
    end=st.sampled_from([TrainingEnd(KILLED, 1, 2), TrainingEnd(KILLED), TrainingEnd(137, 0, 1)]),
)
def test_killed_again_and_again_it_ends_and_the_micro_batch_only_falls(micro, effective, allowed, end):
    """Each training runs at the bound that it was given."""
    state = CheckpointState(0, 0, 0, 0, effective, None, 1, 512)
    attempts, ran = Attempts(0, allowed), [min(micro, effective)]
    while isinstance(verdict := what_next(end, Trace(InFlight(ran[-1]), state), attempts), Restart):
        attempts = Attempts(attempts.restarts + 1, allowed, verdict.limits)
        ran.append(verdict.limits.training)
    assert verdict.gave_up
    assert ran == sorted(set(ran), reverse=True)
    assert ran[-1] == 1 or attempts.restarts == allowed


@pytest.mark.parametrize(
    ("trace", "limits", "after"),
    [
        (Trace(InFlight(64, VALIDATION), STATE), MicroBatchLimits(), MicroBatchLimits(None, 32)),
        (Trace(InFlight(64, VALIDATION), STATE), MicroBatchLimits(8), MicroBatchLimits(8, 32)),
        (Trace(InFlight(64, VALIDATION), STATE), MicroBatchLimits(1), MicroBatchLimits(1, 32)),
        (Trace(InFlight(64, VALIDATION), STATE), MicroBatchLimits(8, 16), MicroBatchLimits(8, 8)),
        (Trace(InFlight(64), STATE), MicroBatchLimits(None, 1), MicroBatchLimits(32, 1)),
    ],
    ids=str,
)
def test_a_kill_in_one_phase_never_lowers_the_other(trace, limits, after):
    """Seen to fail with the phase left out: a kill in validation made training smaller."""
    verdict = what_next(TrainingEnd(KILLED, 0, 1), trace, Attempts(1, 3, limits))
    assert verdict.limits == after


def test_a_kill_in_validation_is_said_to_be_one():
    verdict = what_next(
        TrainingEnd(KILLED, 0, 1), Trace(InFlight(64, VALIDATION), STATE), Attempts(0, 3, MicroBatchLimits(8))
    )
    assert verdict.message == (
        "the kernel killed the training for memory at a micro-batch of validation of 64. "
        "Restart 1 of 3 from epoch 2, after update 14, with micro-batches of at most 8 and of at most 32 in validation."
    )


def test_validation_that_is_killed_at_one_sample_gives_up():
    verdict = what_next(
        TrainingEnd(KILLED, 0, 1), Trace(InFlight(1, VALIDATION), STATE), Attempts(0, 3, MicroBatchLimits(8))
    )
    assert isinstance(verdict, End)
    assert "no smaller micro-batch" in verdict.message


def test_a_kill_while_the_model_is_saved_lowers_nothing():
    """Nor does it give up at one sample. Seen to fail with a finished training taken for one that runs."""
    done = replace(STATE, finished=True)
    verdict = what_next(TrainingEnd(KILLED, 0, 1), Trace(InFlight(1), done), Attempts(0, 3, MicroBatchLimits(1)))
    assert verdict == Restart(
        MicroBatchLimits(1),
        "the kernel killed the training for memory after its last epoch, before the model was saved. "
        "Restart 1 of 3 to save the model.",
    )


def test_what_was_running_may_be_larger_than_the_effective_batch_of_the_checkpoint():
    """A schedule has raised it since. Seen to fail with the rungs of the stored size: from 128 to 16 at once."""
    stored = replace(STATE, effective_batch_size=16)
    verdict = what_next(TrainingEnd(KILLED, 0, 1), Trace(InFlight(128), stored), Attempts(0, 3))
    assert verdict.limits == MicroBatchLimits(64)


@pytest.mark.parametrize(("micro", "limit"), [(64, 32), (48, 32), (32, 16), (16, None)])
def test_groups_whose_batch_statistics_are_taken_together_are_not_cut(micro, limit):
    """Seen to fail with a restart at 11 samples, which the training refuses."""
    stored = replace(STATE, effective_batch_size=64, run={"batch_statistics": 16})
    verdict = what_next(TrainingEnd(KILLED, 0, 1), Trace(InFlight(micro), stored), Attempts(0, 3))
    if limit is None:
        assert "no smaller micro-batch" in verdict.message
    else:
        assert verdict.limits == MicroBatchLimits(limit)
