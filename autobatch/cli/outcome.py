"""How a command ended: the exit status, which says what a caller can do about it, and the object for `--json`."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Self

import autobatch
from autobatch import errors
from autobatch._text import format_count
from autobatch.cli.command import Terminal, as_typed
from autobatch.cli.wording import message_of


class ExitCode(IntEnum):
    """An exit status of `autobatch`, with its `outcome` in JSON and its `meaning` in `--help`."""

    outcome: str
    meaning: str

    def __new__(cls, value: int, outcome: str, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_, code.outcome, code.meaning = value, outcome, meaning
        return code

    OK = 0, "found", "success; for probe: a safe size was found"
    USAGE = 2, "usage", "an argument, the settings, the model or the data cannot be used as given"
    DOES_NOT_FIT = (
        3,
        "does_not_fit",
        "not even one sample fits in memory, or memory killed the training more often than --restarts allows",
    )
    DEVICE = 4, "device_missing", "the requested device is not available"
    INCONCLUSIVE = 5, "inconclusive", "the trials gave no answer"
    FOREIGN = 6, "foreign_error", "the model, the generator or a callback raised an error of its own"
    HALF_UPDATED = (
        7,
        "inconclusive",
        "the optimizer stopped half-way through an update; restore the weights from a checkpoint",
    )
    TIMEOUT = 124, "timeout", "the deadline of --timeout passed; the best size so far is printed"
    INTERRUPTED = 130, "interrupted", "interrupted; for probe: the best size so far is printed"


_OF_ERRORS: dict[type[errors.AutobatchError], ExitCode] = {
    errors.ArgumentError: ExitCode.USAGE,
    errors.ModelError: ExitCode.USAGE,
    errors.DataError: ExitCode.USAGE,
    errors.DeviceError: ExitCode.DEVICE,
    errors.DoesNotFitError: ExitCode.DOES_NOT_FIT,
    errors.MissingExtraError: ExitCode.USAGE,
    errors.OutOfMemoryError: ExitCode.DOES_NOT_FIT,
    errors.ProbeError: ExitCode.INCONCLUSIVE,
    errors.ProbeTimeoutError: ExitCode.TIMEOUT,
    errors.TooLateError: ExitCode.USAGE,
    errors.UpdateInterruptedError: ExitCode.HALF_UPDATED,
}


def exit_code(error: BaseException) -> ExitCode:
    """The status for an error; what autobatch didn't raise on purpose is `FOREIGN`."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    known = (_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)
    return next(known, ExitCode.FOREIGN)


def exit_code_table() -> str:
    return "\n".join(["exit codes:", *(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)])


def probe_object(
    terminal: Terminal,
    code: ExitCode,
    *,
    environment: Mapping[str, Any] | None = None,
    result: Any = None,
    trials: Sequence[Any] = (),
    error: BaseException | None = None,
    following: str | None = None,
) -> dict[str, Any]:
    """The object of a probe, however it ended: with a result, or with the trials so far and an error."""
    from autobatch.train.jsonl_log import SCHEMA_VERSION

    trials = trials if result is None else result.trials
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "probe",
        "autobatch": autobatch.__version__,
        "started_at": terminal.started_at.isoformat(timespec="seconds"),
        "command": as_typed(terminal.words),
        "outcome": code.outcome,
        "exit_code": int(code),
        "environment": dict(environment or {}),
        "result": None if result is None else result.to_dict(),
        "trials": [trial.to_dict() for trial in trials],
        "best_so_far": best_so_far(trials),
        "error": None if error is None else describe(error, code),
        "next": following,
    }


def failure_object(code: ExitCode, error: Mapping[str, str], status: int | None = None) -> dict[str, Any]:
    """The object of a command without a result: its status (that of the code by default), and the error."""
    from autobatch.train.jsonl_log import SCHEMA_VERSION

    status = int(code) if status is None else status
    return {"schema_version": SCHEMA_VERSION, "outcome": code.outcome, "exit_code": status, "error": dict(error)}


def describe(error: BaseException, code: ExitCode) -> dict[str, str]:
    """An error's kind and message; an error without a message has its outcome for one."""
    return {"kind": type(error).__name__, "message": message_of(error) or code.outcome}


def best_so_far(trials: Sequence[Any]) -> int | None:
    """The largest size that ran within the budget, `None` if none did."""
    return max((trial.size for trial in trials if trial.outcome.name == "RAN"), default=None)


def best_line(trials: Sequence[Any]) -> str:
    """That size as an argument, with how little it says; nothing if there is none."""
    best = best_so_far(trials)
    if best is None:
        return ""
    count = format_count(len(trials), "trial")
    return f"batch_size={best}  (the largest that ran in {count}; the search was not complete)"
