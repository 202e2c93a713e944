"""What the end of a supervised training means: go on smaller, give up, or hand its status on. No process is seen here.

Death by memory is SIGKILL together with a rise of the kernel's count of such kills. Anything else is handed on as it
was: a crash (SIGSEGV) is not called out-of-memory, even though it may have been.
"""

import signal
from dataclasses import dataclass

from autobatch.cli.outcome import ExitCode
from autobatch.train.checkpoint.saver import TRAINING, VALIDATION, InFlight, next_smaller_micro_batch
from autobatch.train.checkpoint.store import CheckpointState

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
        running: The micro-batch that was running, `None` if none was.
        standing: Where its last checkpoint stands, `None` without one.
    """

    running: InFlight | None = None
    standing: CheckpointState | None = None

    @property
    def done(self) -> bool:
        """Whether the training itself had come to its end."""
        return self.standing is not None and self.standing.finished


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest micro-batches there may be, `None` for no bound.

    Attributes:
        training: In training.
        validation: In validation, which has sizes of its own.
    """

    training: int | None = None
    validation: int | None = None

    def of(self, phase: str) -> int | None:
        """The bound of a phase."""
        return self.validation if phase == VALIDATION else self.training

    def lowered(self, running: InFlight, effective: int | None) -> "Bounds":
        """Bounds below what was running; those of the other phase stay."""
        bound = self.of(running.phase)
        # Written down or not, nothing larger than the bound can have run.
        micro = running.micro_batch_size if bound is None else min(running.micro_batch_size, bound)
        if running.phase == VALIDATION:
            return Bounds(self.training, next_smaller_micro_batch(micro, None))
        return Bounds(next_smaller_micro_batch(micro, effective), self.validation)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What has been tried.

    Attributes:
        restarts: Restarts so far.
        allowed: The most there may be.
        bounds: The largest micro-batches that the training which has just ended was allowed.
    """

    restarts: int
    allowed: int
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class Restart:
    """Run it again.

    Attributes:
        bounds: The largest micro-batches from now on.
        message: Why, for people.
    """

    bounds: Bounds
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
        >>> after_death(killed, Trace(Running(32)), Attempts(restarts=0, allowed=3)).bounds.training
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
    what = _what_happened(death, trace)
    if _at_the_smallest(trace, attempts.bounds):
        return _given_up(f"{what} There is no smaller micro-batch. Free memory, or take a smaller model or pictures.")
    if attempts.restarts >= attempts.allowed:
        return _given_up(f"{what} It has been restarted {_times(attempts.restarts)}; --restarts allows no more.")
    bounds = _next_bounds(trace, attempts.bounds)
    goes_on = _place(trace.standing) + _bounded(trace, bounds)
    return Restart(bounds, f"{what} Restart {attempts.restarts + 1} of {attempts.allowed} {goes_on}.")


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


def _next_bounds(trace: Trace, bounds: Bounds) -> Bounds:
    """The next rung below what was running, for the phase that was running; the bounds so far if nothing was."""
    if trace.running is None or trace.done:
        return bounds
    return bounds.lowered(trace.running, None if trace.standing is None else trace.standing.effective_batch_size)


def _at_the_smallest(trace: Trace, bounds: Bounds) -> bool:
    if trace.done:
        return False
    phase, micro = (TRAINING, None) if trace.running is None else (trace.running.phase, trace.running.micro_batch_size)
    return 1 in {micro, bounds.of(phase)}


def _what_happened(death: Death, trace: Trace) -> str:
    when = _when(trace)
    if death.kills_before is None or death.kills_after is None:
        return (
            f"the training was ended by SIGKILL {when}. Whether for memory cannot be read here (the kernel shows no "
            "count of its kills), so it is taken for that."
        )
    return f"the kernel killed the training for memory {when}."


def _when(trace: Trace) -> str:
    if trace.done:
        return "after its last epoch, before the model was saved"
    if trace.running is None:
        return "before its first micro-batch"
    in_validation = " of validation" if trace.running.phase == VALIDATION else ""
    return f"at a micro-batch{in_validation} of {trace.running.micro_batch_size}"


def _place(standing: CheckpointState | None) -> str:
    if standing is None:
        return "from the beginning (there was no checkpoint yet)"
    if standing.finished:
        return "to save the model"
    return f"from epoch {standing.epoch + 1}, after update {standing.update}"


def _bounded(trace: Trace, bounds: Bounds) -> str:
    said = [f" of at most {bounds.training}"] if bounds.training is not None else []
    said += [f" of at most {bounds.validation} in validation"] if bounds.validation is not None else []
    return f", with micro-batches{' and'.join(said)}" if said and not trace.done else ""


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
