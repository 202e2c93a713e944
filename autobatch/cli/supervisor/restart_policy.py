"""What to do when a supervised training has ended: restart it smaller, give up, or pass its status on.

Death by memory is SIGKILL together with a rise of the kernel's count of such kills. Any other end is passed on as it
was: a crash (SIGSEGV) is not called out-of-memory, even though it may have been. No process is seen here.
"""

import signal
from dataclasses import dataclass

from autobatch.cli.outcome import ExitCode
from autobatch.train.checkpoint.saver import TRAINING, VALIDATION, InFlight, next_smaller_micro_batch
from autobatch.train.checkpoint.store import CheckpointState

_SHELL = 128  # a shell says 128 + n for what signal n has ended


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """The exit status of a training (minus the signal that ended it), and the kernel's kills for memory around it."""

    status: int
    kills_before: int | None = None
    kills_after: int | None = None

    @property
    def killed(self) -> bool:
        # as this process reports it, or a shell in between
        return self.status in {-signal.SIGKILL, _SHELL + signal.SIGKILL}

    @property
    def for_memory(self) -> bool | None:
        """Whether the kernel has killed something for memory meanwhile, `None` if it does not tell."""
        if self.kills_before is None or self.kills_after is None:
            return None
        return self.kills_after > self.kills_before


@dataclass(frozen=True, slots=True)
class Trace:
    """What a training has left behind: the micro-batch that was running, and where its last checkpoint stands."""

    running: InFlight | None = None
    state: CheckpointState | None = None

    @property
    def group(self) -> int:
        """Samples of a training that are never cut."""
        said = None if self.state is None else self.state.run.get("batch_statistics")
        return said if isinstance(said, int) else 1

    @property
    def done(self) -> bool:
        return self.state is not None and self.state.finished


@dataclass(frozen=True, slots=True)
class MicroBatchLimits:
    """The largest micro-batches to run, `None` for no limit; validation has sizes of its own."""

    training: int | None = None
    validation: int | None = None

    def of(self, phase: str) -> int | None:
        return self.validation if phase == VALIDATION else self.training

    def below(self, running: InFlight, effective: int | None, group: int = 1) -> "MicroBatchLimits":
        """Limits below what was running; that of the other phase stays."""
        limit = self.of(running.phase)
        # Written down or not, nothing larger than the limit can have run.
        micro = running.micro_batch_size if limit is None else min(running.micro_batch_size, limit)
        if running.phase == VALIDATION:
            return MicroBatchLimits(self.training, next_smaller_micro_batch(micro, None))
        return MicroBatchLimits(next_smaller_micro_batch(micro, effective, group), self.validation)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Restarts so far, the most that are allowed, and the limits of the training that has just ended."""

    restarts: int
    allowed: int
    limits: MicroBatchLimits = MicroBatchLimits()


@dataclass(frozen=True, slots=True)
class Restart:
    """Run it again within these limits; the message says why."""

    limits: MicroBatchLimits
    message: str


@dataclass(frozen=True, slots=True)
class End:
    """End with this status; the message says why, unless the training has said it itself."""

    status: int
    message: str | None = None
    gave_up: bool = False


def what_next(end: TrainingEnd, trace: Trace, attempts: Attempts) -> Restart | End:
    """What to do once a training has ended.

    Example:
        >>> end = TrainingEnd(status=-9, kills_before=1, kills_after=2)
        >>> what_next(end, Trace(InFlight(32)), Attempts(restarts=0, allowed=3)).limits.training
        16
    """
    if not end.killed:
        return _passed_on(end.status)
    if end.for_memory is False:
        return End(
            _SHELL + signal.SIGKILL,
            "the training was ended by SIGKILL. The kernel killed nothing for memory meanwhile, so it was sent by "
            "another process.",
        )
    what = _what_happened(end, trace)
    if _at_the_smallest(trace, attempts.limits):
        return _given_up(f"{what} There is no smaller micro-batch. Free memory, or use a smaller model or pictures.")
    if attempts.restarts >= attempts.allowed:
        times = "once" if attempts.restarts == 1 else f"{attempts.restarts} times"
        return _given_up(f"{what} It was restarted {times}; --restarts allows no more.")
    limits = attempts.limits
    if trace.running is not None and not trace.done:
        effective = None if trace.state is None else trace.state.effective_batch_size
        limits = limits.below(trace.running, effective, trace.group)
    goes_on = _place(trace.state) + _limited(trace, limits)
    return Restart(limits, f"{what} Restart {attempts.restarts + 1} of {attempts.allowed} {goes_on}.")


def _passed_on(status: int) -> End:
    if status >= 0:
        return End(status)
    number = -status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return End(_SHELL + number, f"the training was ended by {name}.")


def _given_up(message: str) -> End:
    return End(ExitCode.DOES_NOT_FIT, message, gave_up=True)


def _at_the_smallest(trace: Trace, limits: MicroBatchLimits) -> bool:
    if trace.done:
        return False
    phase, micro = (TRAINING, None) if trace.running is None else (trace.running.phase, trace.running.micro_batch_size)
    least = trace.group if phase == TRAINING else 1
    return any(size is not None and size <= least for size in (micro, limits.of(phase)))


def _what_happened(end: TrainingEnd, trace: Trace) -> str:
    if end.for_memory:
        return f"the kernel killed the training for memory {_when(trace)}."
    return (
        f"the training was ended by SIGKILL {_when(trace)}. Whether for memory cannot be read here (the kernel shows "
        "no count of its kills), so it is taken for that."
    )


def _when(trace: Trace) -> str:
    if trace.done:
        return "after its last epoch, before the model was saved"
    if trace.running is None:
        return "before its first micro-batch"
    in_validation = " of validation" if trace.running.phase == VALIDATION else ""
    return f"at a micro-batch{in_validation} of {trace.running.micro_batch_size}"


def _place(state: CheckpointState | None) -> str:
    if state is None:
        return "from the beginning (there was no checkpoint yet)"
    if state.finished:
        return "to save the model"
    return f"from epoch {state.epoch + 1}, after update {state.update}"


def _limited(trace: Trace, limits: MicroBatchLimits) -> str:
    said = [f" of at most {limits.training}"] if limits.training is not None else []
    said += [f" of at most {limits.validation} in validation"] if limits.validation is not None else []
    return f", with micro-batches{' and'.join(said)}" if said and not trace.done else ""
