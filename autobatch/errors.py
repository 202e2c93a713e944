"""Everything autobatch raises on purpose, split by what the caller can do about it.

```
AutobatchError
├── ArgumentError (ValueError)          fix the call
├── ModelError (ValueError)             fix the model, or train it with Keras alone
├── DataError (OSError)                 fix the pictures: `.path` names the file or folder
├── OutOfMemoryError (MemoryError)      one micro-batch did not fit; its effects are rolled back: `.size`
├── DoesNotFitError (MemoryError)       not even one sample fits: `.needed_bytes`, `.available_bytes`, `.trials`
├── DeviceError (LookupError)           the device that was asked for is not there: `.device`, `.found`
├── ProbeError (RuntimeError)           the trials gave no answer: `.trials`
│   └── ProbeTimeoutError (TimeoutError)  its deadline passed: `.best_size` is the largest that ran so far
├── MissingExtraError (ImportError)     install the optional package that the message names
├── TooLateError (RuntimeError)         call it before the framework starts
└── UpdateInterruptedError (RuntimeError)  the optimizer stopped half-way: restore the weights from a checkpoint
```

An error that is not about any of these passes through unchanged: the user's own `train_step`, callback or
preprocessing function raises what it raised.
"""

from collections.abc import Sequence
from typing import Any


class AutobatchError(Exception):
    """The root: catch it to catch everything that autobatch itself raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle would hand the message alone to constructors that want more; errors of a trial cross processes.
        return _revived, (type(self), str(self), dict(vars(self)))


class ArgumentError(AutobatchError, ValueError):
    """An argument cannot mean what was given; nothing has been started."""


class ModelError(AutobatchError, ValueError):
    """The model cannot be trained this way; nothing has been started."""


class DataError(AutobatchError, OSError):
    """A file or folder of samples cannot be used.

    Args:
        message: What happened and what to do.
        path: The file or folder at fault.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class OutOfMemoryError(AutobatchError, MemoryError):
    """A micro-batch did not fit; the model is as it was before it.

    Args:
        message: What happened.
        size: Samples in the micro-batch that did not fit.
    """

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class DoesNotFitError(AutobatchError, MemoryError):
    """Not even one sample fits in the budget.

    Args:
        message: What was needed, what there was, and which limit decided.
        needed_bytes: Predicted or measured peak of one sample, `None` if the trial died before it could be read.
        available_bytes: The budget it was compared with.
        trials: The trials that were run, if any (`autobatch.results.trial.Trial`).
    """

    def __init__(
        self, message: str, needed_bytes: int | None, available_bytes: int, trials: Sequence[Any] = ()
    ) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        self.trials = tuple(trials)


class DeviceError(AutobatchError, LookupError):
    """The device that was asked for is not there, or cannot be read.

    Args:
        message: What was asked for, and what there is.
        device: What was asked for, such as `"GPU:1"`.
        found: What there is.
    """

    def __init__(self, message: str, device: str | None = None, found: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.device = device
        self.found = tuple(found)


class ProbeError(AutobatchError, RuntimeError):
    """The trials ended without an answer (crashes, time-outs), so no size is claimed to be safe.

    Args:
        message: What happened and what to try.
        trials: The trials that were run (`autobatch.results.trial.Trial`).
    """

    def __init__(self, message: str, trials: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


class ProbeTimeoutError(ProbeError, TimeoutError):
    """The probe's deadline passed before there was an answer.

    Args:
        message: What happened and what to try.
        trials: The trials that were run.
        best_size: The largest size that ran within the budget so far, in samples; `None` if none did.
    """

    def __init__(self, message: str, trials: Sequence[Any] = (), best_size: int | None = None) -> None:
        super().__init__(message, trials)
        self.best_size = best_size


class MissingExtraError(AutobatchError, ImportError):
    """An optional package is missing; the message is the line that installs it."""


class UpdateInterruptedError(AutobatchError, RuntimeError):
    """The optimizer ran out of memory while it was writing: some weights have moved and some have not."""


class TooLateError(AutobatchError, RuntimeError):
    """It can only be set up before the framework starts, and it has started; nothing has been changed."""


def _revived(kind: type[AutobatchError], message: str, attributes: dict[str, Any]) -> AutobatchError:
    notes = attributes.pop("__notes__", [])
    error = kind(message, **attributes)
    for note in notes:
        error.add_note(note)
    return error
