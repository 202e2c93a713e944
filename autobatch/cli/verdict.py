"""What the end of a supervised training means: go on smaller, give up, or hand its status on. No process is seen here.

Death by memory is SIGKILL together with a rise of the kernel's count of such kills. Anything else is handed on as it
was: a crash (SIGSEGV) is not called out-of-memory, even though it may have been.
"""

import signal
from dataclasses import dataclass

from autobatch.cli.exit_codes import ExitCode
from autobatch.train.checkpoint import Standing
from autobatch.train.restart import micro_below

# A shell says 128 + n where a signal has ended what it ran.
_SHELL = 128


@dataclass(frozen=True, slots=True)
class Death:
    """How a training ended.

    Attributes:
        status: Its exit status; minus the number of a signal that ended it.
        kills_before: The kernel's count of kills for memory when it began, `None` for unknown.
        kills_after: The count when it had ended.
    """

    status: int
    kills_before: int | None = None
    kills_after: int | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What a training has left behind.

    Attributes:
        micro: The micro-batch that was running, `None` if none had run.
        standing: Where its last checkpoint stands, `None` without one.
    """

    micro: int | None = None
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """What has been tried.

    Attributes:
        restarts: Restarts so far.
        allowed: The most there may be.
        ceiling: The largest micro-batch that the training which has just ended was allowed, `None` for no bound.
    """

    restarts: int
    allowed: int
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """Run it again.

    Attributes:
        ceiling: The largest micro-batch from now on, `None` for no bound.
        message: Why, for people.
    """

    ceiling: int | None
    message: str


@dataclass(frozen=True, slots=True)
class End:
    """End as well.

    Attributes:
        status: The exit status to end with.
        message: Why, `None` where the training has said it itself.
        gave_up: Whether memory was the reason.
    """

    status: int
    message: str | None = None
    gave_up: bool = False


def after_death(death: Death, trace: Trace, attempts: Attempts) -> Restart | End:
    """What to do once a training has ended.

    Example:
        >>> killed = Death(status=-9, kills_before=1, kills_after=2)
        >>> after_death(killed, Trace(micro=32), Attempts(restarts=0, allowed=3)).ceiling
        16
    """
    if not was_killed(death):
        return _handed_on(death.status)
    if not _for_memory(death):
        return End(
            _SHELL + signal.SIGKILL,
            "the training was ended by SIGKILL. The kernel has killed nothing for memory meanwhile, so somebody else "
            "has sent it.",
        )
    ceiling = _next_ceiling(trace, attempts)
    what = _what_happened(death, trace)
    if trace.micro == 1 or attempts.ceiling == 1:
        return _given_up(f"{what} There is no smaller micro-batch. Free memory, or take a smaller model or pictures.")
    if attempts.restarts >= attempts.allowed:
        return _given_up(f"{what} It has been restarted {_times(attempts.restarts)}; --restarts allows no more.")
    bound = "" if ceiling is None else f" with micro-batches of at most {ceiling}"
    place = _place(trace.standing)
    return Restart(ceiling, f"{what} Restart {attempts.restarts + 1} of {attempts.allowed} {place}{bound}.")


def was_killed(death: Death) -> bool:
    """Whether SIGKILL ended it, as this process or a shell in between says so."""
    return death.status in {-signal.SIGKILL, _SHELL + signal.SIGKILL}


def _for_memory(death: Death) -> bool:
    if death.kills_before is None or death.kills_after is None:
        return True
    return death.kills_after > death.kills_before


def _handed_on(status: int) -> End:
    if status >= 0:
        return End(status)
    return End(_SHELL - status, f"the training was ended by {_signal_name(-status)}.")


def _given_up(message: str) -> End:
    return End(ExitCode.DOES_NOT_FIT, message, gave_up=True)


def _next_ceiling(trace: Trace, attempts: Attempts) -> int | None:
    """The next rung below what was running; the bound so far if nothing had run."""
    if trace.micro is None:
        return attempts.ceiling
    effective = None if trace.standing is None else trace.standing.effective
    # Written down or not, nothing larger than the bound can have run.
    running = trace.micro if attempts.ceiling is None else min(trace.micro, attempts.ceiling)
    return micro_below(running, effective)


def _what_happened(death: Death, trace: Trace) -> str:
    when = "before its first micro-batch" if trace.micro is None else f"at a micro-batch of {trace.micro}"
    if death.kills_before is None or death.kills_after is None:
        return (
            f"the training was ended by SIGKILL {when}. Whether for memory cannot be read here (the kernel shows no "
            "count of its kills), so it is taken for that."
        )
    return f"the kernel killed the training for memory {when}."


def _place(standing: Standing | None) -> str:
    if standing is None:
        return "from the beginning (there was no checkpoint yet),"
    return f"from epoch {standing.epoch + 1}, after update {standing.update},"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
