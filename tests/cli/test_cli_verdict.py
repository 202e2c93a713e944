"""What the end of a supervised training means: restarted when memory has killed it, and only then."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.cli.verdict import Attempts, Death, End, Restart, Trace, after_death
from autobatch.train.checkpoint import Standing

KILLED = -signal.SIGKILL
STANDING = Standing(epoch=1, update=14, pass_number=1, position=896, effective=64, ceiling=None, seed=7, samples=1000)


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
    verdict = after_death(Death(status, 0, 5), Trace(32, STANDING), Attempts(0, 3))
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
    verdict = after_death(Death(status, before, after), Trace(32, STANDING), Attempts(0, 3))
    assert isinstance(verdict, Restart) == for_memory
    assert ("cannot be read here" in verdict.message) != sure
    if not for_memory:
        assert (verdict.status, verdict.gave_up) == (137, False)
        assert "somebody else" in verdict.message


@pytest.mark.parametrize(
    ("trace", "attempts", "ceiling"),
    [
        (Trace(64, STANDING), Attempts(0, 3), 32),
        (Trace(32, STANDING), Attempts(1, 3, ceiling=32), 22),
        (Trace(22, STANDING), Attempts(2, 3, ceiling=32), 16),
        (Trace(2, STANDING), Attempts(0, 1), 1),
        pytest.param(Trace(64, STANDING), Attempts(1, 3, ceiling=16), 11, id="what is written is from before"),
        pytest.param(Trace(64), Attempts(0, 3), 32, id="no checkpoint"),
        pytest.param(Trace(5), Attempts(0, 3), 3, id="no checkpoint, an odd size"),
        pytest.param(Trace(None, STANDING), Attempts(0, 3), None, id="before its first micro-batch"),
        pytest.param(Trace(None, STANDING), Attempts(1, 3, ceiling=8), 8, id="the same, bounded"),
        pytest.param(Trace(), Attempts(0, 3), None, id="nothing is known"),
    ],
)
def test_it_goes_on_below_the_micro_batch_that_was_running(trace, attempts, ceiling):
    verdict = after_death(Death(KILLED, 0, 1), trace, attempts)
    assert isinstance(verdict, Restart)
    assert verdict.ceiling == ceiling
    assert f"Restart {attempts.restarts + 1} of {attempts.allowed} " in verdict.message


def test_a_restart_says_what_was_killed_where_it_goes_on_and_how_large():
    verdict = after_death(Death(KILLED, 0, 1), Trace(32, STANDING), Attempts(0, 3))
    assert verdict.message == (
        "the kernel killed the training for memory at a micro-batch of 32. "
        "Restart 1 of 3 from epoch 2, after update 14, with micro-batches of at most 22."
    )


@pytest.mark.parametrize(
    ("trace", "attempts", "said"),
    [
        (Trace(1, STANDING), Attempts(0, 3), "no smaller micro-batch"),
        (Trace(None, STANDING), Attempts(1, 3, ceiling=1), "no smaller micro-batch"),
        (Trace(32, STANDING), Attempts(3, 3), "restarted 3 times"),
        (Trace(32, STANDING), Attempts(1, 1), "restarted once"),
        (Trace(32, STANDING), Attempts(0, 0), "--restarts allows no more"),
        (Trace(), Attempts(3, 3), "before its first micro-batch"),
    ],
)
def test_it_gives_up_at_one_sample_and_when_no_restart_is_left(trace, attempts, said):
    """Seen to fail with `>` for `>=` in the comparison with the restarts allowed."""
    verdict = after_death(Death(KILLED, 0, 1), trace, attempts)
    assert isinstance(verdict, End)
    assert (verdict.status, verdict.gave_up) == (3, True)
    assert said in verdict.message


@given(
    micro=st.integers(1, 512),
    effective=st.integers(1, 512),
    allowed=st.integers(0, 40),
    death=st.sampled_from([Death(KILLED, 1, 2), Death(KILLED), Death(137, 0, 1)]),
)
def test_killed_again_and_again_it_ends_and_the_micro_batch_only_falls(micro, effective, allowed, death):
    """Each training runs at the bound that it was given."""
    standing = Standing(0, 0, 0, 0, effective, None, 1, 512)
    attempts, ran = Attempts(0, allowed), [min(micro, effective)]
    while isinstance(verdict := after_death(death, Trace(ran[-1], standing), attempts), Restart):
        attempts = Attempts(attempts.restarts + 1, allowed, verdict.ceiling)
        ran.append(verdict.ceiling)
    assert verdict.gave_up
    assert ran == sorted(set(ran), reverse=True)
    assert ran[-1] == 1 or attempts.restarts == allowed
