"""Where trials run: in a worker process if the model can be rebuilt there, else in the caller's.

In the caller's process covered: running out of memory where that raises an exception, and putting everything back bit
for bit. Not covered there: a deadline (a running step cannot be interrupted), and an allocation that ends the process
instead of raising, as on most CPUs. So there, too, nothing is tried that the measured peaks do not allow.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from autobatch._text import MIB, format_bytes
from autobatch.backend import current_backend, settings
from autobatch.data.batch import Batch
from autobatch.data.check import Step
from autobatch.errors import OutOfMemoryError
from autobatch.memory.types import Device
from autobatch.probing.trials.ipc import NEVER, Deadline, Reply
from autobatch.probing.trials.measure import TrialMeasurer
from autobatch.probing.trials.serialize import NotSerializableError, model_json, serialize
from autobatch.probing.trials.worker import SUPPORTED, UNSUPPORTED, Worker
from autobatch.results.trial import Outcome, Where


class InProcessTrials:
    """Runs trials of the caller's model and puts it back after each."""

    where: Where = "caller"

    def __init__(self, model: Any, samples: Batch, step: Step = "train", group: int = 1) -> None:
        self._model = model
        with current_backend().preserved_random_states():
            # What the profiler says of itself would be among the caller's own output.
            self._measurer = TrialMeasurer(model, samples, step, group, records=False)

    def trial(self, size: int, options: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """Runs one size; errors that are not about memory are raised as they are."""
        del timeout_s
        began = time.monotonic()
        with current_backend().preserved(self._model):
            try:
                payload = self._measurer.run(size, options)
            except OutOfMemoryError as error:
                # Without its traceback, whose frames hold what the trial had in memory.
                error.with_traceback(None)
                wall_s = time.monotonic() - began
                return Reply(Outcome.OUT_OF_MEMORY, detail=str(error), wall_s=wall_s, exception=error)
            finally:
                self._measurer.abandon()
        return Reply(Outcome.RAN, payload, wall_s=time.monotonic() - began)


# A crash, too: on a CPU it is a usual form of running out of memory, and would take the caller with it.
_NO_FAULT_OF_THE_MODEL = (Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.KILLED, Outcome.CRASHED)


def find_caller_reason(model: Any, step: Step, caller_reason: str | None) -> str | None:
    """Why trials have to run in this process, as far as it is known before a worker is asked; `None` if they don't."""
    reason = _known_reason(caller_reason)
    if reason is None:
        try:
            model_json(model, step)
        except NotSerializableError as error:
            return str(error).strip().splitlines()[0]
    return reason


def _known_reason(caller_reason: str | None) -> str | None:
    return caller_reason if SUPPORTED else UNSUPPORTED


class Executor:
    """Runs trials of one model, moving into the caller's process when the worker turns out to be unable to.

    Its `notes` say why trials do not run in a worker, if they do not.
    """

    def __init__(
        self,
        model: Any,
        samples: Batch,
        *,
        step: Step = "train",
        group: int = 1,
        open_timeout_s: float,
        caller_reason: str | None = None,
        worker: Worker | None = None,
        deadline: Deadline = NEVER,
    ) -> None:
        self._deadline = deadline
        self._model, self._samples, self._step, self._group = model, samples, step, group
        self._in_caller: InProcessTrials | None = None
        self._worker: Worker | None = None
        self._held: Mapping[str, int] = {}
        self._largest = 0
        self._ran = False
        self.notes: list[str] = []
        if reason := _known_reason(caller_reason):
            self._move_to_caller(reason)
            return
        self._worker = worker or Worker(deadline=deadline)
        try:
            self._open(open_timeout_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> Where:
        """Where the next trial will run."""
        return "worker" if self._in_caller is None else "caller"

    @property
    def held(self) -> Mapping[str, int]:
        """Per resource, bytes that the process of the trials still holds above its baseline: the next can use them."""
        return self._held

    def trial(self, size: int, options: Mapping[str, Any], *, timeout_s: float, fresh: bool = False) -> Reply:
        """Runs one size; `fresh` starts the worker anew if it has run a larger one: so the peak can be measured."""
        if fresh and size < self._largest:
            self.renew()
        answer = self._run(size, options, timeout_s)
        if answer.outcome is Outcome.ERROR and self._in_caller is None and not self._ran:
            if self._deadline.passed:
                return Reply(Outcome.TIMED_OUT, detail=answer.detail, wall_s=answer.wall_s)
            # The model's own error shows itself here, as itself; an error of the worker's alone does not.
            self._move_to_caller(f"the worker failed: {answer.detail}")
            answer = self._run(size, options, timeout_s)
        self._ran = self._ran or answer.outcome is Outcome.RAN
        return answer

    def renew(self) -> None:
        """Starts the worker anew, if there is one, so that the next trial finds what training will: a fresh process."""
        if self._worker is not None:
            self._worker.restart()
            self._largest, self._held = 0, {}

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def _run(self, size: int, options: Mapping[str, Any], timeout_s: float) -> Reply:
        place = self._in_caller or self._worker
        assert place is not None  # noqa: S101 - there always is one of the two
        answer = place.trial(size, options, timeout_s=timeout_s)
        ran = answer.outcome is Outcome.RAN
        self._held = answer.payload["held"] if ran else {}
        # A process that lives on after an error keeps the memory that it had taken, so its marks are void below.
        lives = self._worker is None or self._worker.pid is not None
        self._largest = max(self._largest, size) if lives else 0
        return answer

    def _open(self, timeout_s: float) -> None:
        assert self._worker is not None  # noqa: S101 - made just before
        try:
            payload = serialize(self._model, self._samples, self._worker.folder, self._step)
        except NotSerializableError as error:
            self._move_to_caller(str(error))
            return
        answer = self._worker.open({**payload, "framework": settings(), "group": self._group}, timeout_s)
        if self._deadline.passed:
            return
        if answer.outcome is not Outcome.RAN and answer.outcome not in _NO_FAULT_OF_THE_MODEL:
            self._move_to_caller(f"the worker could not rebuild the model: {answer.detail}")

    def _move_to_caller(self, reason: str) -> None:
        self.close()
        self._worker, self._held, self._largest = None, {}, 0
        self._in_caller = InProcessTrials(self._model, self._samples, self._step, self._group)
        first_line = reason.strip().splitlines()[0]
        self.notes.append(f"Trials run in this process, without a deadline, because {first_line}")


# What a driver keeps for a GPU that has been used, and what a desktop takes and leaves all the time.
_UNNOTICED = 64 * MIB
_BETWEEN_S = 0.02


def wait_until_free(
    read: Callable[[], Device | None],
    before: Device,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Waits until as much of a GPU is free as before; returns a sentence if that does not come to pass.

    Where it cannot be read any more (`None`), nothing can be said.
    """
    began = clock()
    while (device := read()) is not None:
        less = _missing_bytes(before, device)
        waited_s = clock() - began
        if less <= _UNNOTICED:
            return None
        if waited_s >= timeout_s:
            return (
                f"The process of the trials has ended, and {waited_s:.1f} s later GPU:{device.index} has "
                f"{format_bytes(less)} less free than before: others have taken it meanwhile, or it has not come back."
            )
        sleep(_BETWEEN_S)
    return None


def _missing_bytes(before: Device, now: Device) -> int:
    """What is not free any more and is not this process' own either."""
    own_before, own_now = before.used_by_this_process_bytes, now.used_by_this_process_bytes
    grown = 0 if own_before is None or own_now is None else own_now - own_before
    return before.free_bytes - now.free_bytes - grown
