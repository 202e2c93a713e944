"""A place where trials run in no time: a model of which every sample takes the same, on a clock of its own."""

from collections.abc import Callable
from typing import Any, Self

from autobatch.probing.trials.ipc import NEVER, Deadline, Reply
from autobatch.probing.trials.measure import WORST
from autobatch.results.trial import Outcome, Where

MIB = 2**20


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class FakeExecutor:
    """Answers as a worker does whose steps need `fixed_bytes + per_sample_bytes * size`.

    Args:
        clock: What trials take is added to it, and so is the start.
        fixed_bytes: What a step needs whatever its size.
        per_sample_bytes: What each sample adds.
        trial_s: Seconds of one trial.
        start_s: Seconds of the start.
        worst: What a peak may come to with many more updates, as a part of it; 0 for unknown.
        device: The same two for a device, `None` where trials tell nothing of one.
        outside: From the bytes in use on the device to those that the process holds there beside them, as the driver
            tells; `None` where it doesn't.

    Attributes:
        began: When each trial began.
        open: Whether it has been opened and not closed.
        where: Where its trials run: in the caller, if it has been told why.
    """

    where: Where = "worker"
    held: dict[str, int] = {}  # noqa: RUF012 - never changed
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        fixed_bytes: int = 100 * MIB,
        per_sample_bytes: int = 10 * MIB,
        trial_s: float = 2.0,
        start_s: float = 5.0,
        worst: float = 0.0,
        device: tuple[int, int] | None = None,
        outside: Callable[[int], int] | None = None,
    ) -> None:
        self._clock, self._trial_s, self._start_s = clock or Clock(), trial_s, start_s
        self._fixed_bytes, self._per_sample_bytes = fixed_bytes, per_sample_bytes
        self._worst, self._device, self._outside = worst, device, outside
        self._deadline: Deadline = NEVER
        self.began: list[float] = []
        self.open = False

    def __call__(self, *_: Any, deadline: Deadline, caller_reason: str | None = None, **__: Any) -> Self:
        self.where = "worker" if caller_reason is None else "caller"
        self.open, self._deadline = True, deadline
        self._clock.now_s += deadline.at_most(self._start_s)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def renew(self) -> None:
        """A start of its own."""
        self.began.append(self._clock.now_s)
        self._clock.now_s += self._deadline.at_most(self._start_s)

    def trial(self, size: int, options: Any, *, timeout_s: float, fresh: bool = False) -> Reply:
        """One trial, broken off at the deadline."""
        self.began.append(self._clock.now_s)
        takes_s = self._deadline.at_most(min(timeout_s, self._trial_s))
        self._clock.now_s += takes_s
        if takes_s < self._trial_s:
            return Reply(Outcome.TIMED_OUT, wall_s=takes_s)
        peak = self._fixed_bytes + self._per_sample_bytes * size
        seconds = [0.01 + 0.001 * size] * 3
        peaks = {"host": peak} | ({WORST: int(self._worst * peak)} if self._worst else {})
        if self._device is not None:
            peaks["device"] = self._device[0] + self._device[1] * size
        in_use = peaks.get("device", 0)
        own = None if self._outside is None else in_use + self._outside(in_use)
        payload = {"seconds": seconds, "peaks": peaks, "start_peaks": {}, "held": {}, "own_device_bytes": own}
        return Reply(Outcome.RAN, payload, wall_s=takes_s)
