"""What a command came to as one object, whatever it came to: for `--json` and for reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import autobatch
from autobatch._text import format_count
from autobatch.cli.command import as_typed
from autobatch.cli.wording import message_of
from autobatch.errors import (
    ArgumentError,
    AutobatchError,
    DataError,
    DeviceError,
    DoesNotFitError,
    MissingExtraError,
    ModelError,
    OutOfMemoryError,
    ProbeError,
    ProbeTimeoutError,
    TooLateError,
    UpdateInterruptedError,
)


class ExitCode(IntEnum):
    """The statuses of `autobatch`."""

    OK = 0
    USAGE = 2
    DOES_NOT_FIT = 3
    DEVICE = 4
    INCONCLUSIVE = 5
    FOREIGN = 6
    HALF_UPDATED = 7
    TIMEOUT = 124
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; of probe: a safe size is found",
    ExitCode.USAGE: "an argument, the settings, the model or the data cannot be used as given",
    ExitCode.DOES_NOT_FIT: (
        "not even one sample fits in memory, or memory killed the training more often than --restarts allows"
    ),
    ExitCode.DEVICE: "the device that was asked for is not there",
    ExitCode.INCONCLUSIVE: "the trials gave no answer",
    ExitCode.FOREIGN: "the model, the generator or a callback raised an error of its own",
    ExitCode.HALF_UPDATED: "the optimizer stopped half-way through an update; restore the weights from a checkpoint",
    ExitCode.TIMEOUT: "the deadline of --timeout passed; the best size so far is printed",
    ExitCode.INTERRUPTED: "interrupted; of probe: the best size so far is printed",
}

_OF_ERRORS: dict[type[AutobatchError], ExitCode] = {
    ArgumentError: ExitCode.USAGE,
    ModelError: ExitCode.USAGE,
    DataError: ExitCode.USAGE,
    DeviceError: ExitCode.DEVICE,
    DoesNotFitError: ExitCode.DOES_NOT_FIT,
    MissingExtraError: ExitCode.USAGE,
    OutOfMemoryError: ExitCode.DOES_NOT_FIT,
    ProbeError: ExitCode.INCONCLUSIVE,
    ProbeTimeoutError: ExitCode.TIMEOUT,
    TooLateError: ExitCode.USAGE,
    UpdateInterruptedError: ExitCode.HALF_UPDATED,
}


def exit_code(error: BaseException) -> ExitCode:
    """The status for an error; what autobatch didn't raise on purpose is `FOREIGN`."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    known = (_OF_ERRORS[kind] for kind in type(error).__mro__ if kind in _OF_ERRORS)
    return next(known, ExitCode.FOREIGN)


def exit_code_table() -> str:
    """The codes and their meanings, one a line, for `--help`."""
    rows = (f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return "\n".join(["exit codes:", *rows])


OUTCOMES = {
    ExitCode.OK: "found",
    ExitCode.USAGE: "usage",
    ExitCode.DOES_NOT_FIT: "does_not_fit",
    ExitCode.DEVICE: "device_missing",
    ExitCode.INCONCLUSIVE: "inconclusive",
    ExitCode.FOREIGN: "foreign_error",
    ExitCode.HALF_UPDATED: "inconclusive",
    ExitCode.TIMEOUT: "timeout",
    ExitCode.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True)
class Started:
    """How a probe was started.

    Attributes:
        words: The words after `autobatch`.
        at: When, as ISO 8601 has it.
    """

    words: tuple[str, ...]
    at: str

    @classmethod
    def now(cls, words: Sequence[str]) -> "Started":
        """At this moment."""
        from datetime import UTC, datetime

        return cls(tuple(words), datetime.now(UTC).isoformat(timespec="seconds"))


def probe_object(
    started: Started,
    code: ExitCode,
    *,
    environment: Mapping[str, Any] | None = None,
    result: Any = None,
    trials: Sequence[Any] = (),
    error: BaseException | None = None,
    following: str | None = None,
) -> dict[str, Any]:
    """The object of a probe.

    Args:
        started: How it was started.
        code: Its exit status.
        environment: What it ran on.
        result: The `ProbeResult`, `None` without one.
        trials: Those that ran, where there is no result.
        error: What ended it, `None` where it found a size.
        following: What to type next, `None` where there is nothing to train.
    """
    from autobatch.train.run_log import SCHEMA_VERSION

    trials = trials if result is None else result.trials
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "probe",
        "autobatch": autobatch.__version__,
        "started_at": started.at,
        "command": as_typed(started.words),
        "outcome": OUTCOMES[code],
        "exit_code": int(code),
        "environment": dict(environment or {}),
        "result": None if result is None else result.to_dict(),
        "trials": [trial.to_dict() for trial in trials],
        "best_so_far": best_so_far(trials),
        "error": None if error is None else described(error, OUTCOMES[code]),
        "next": following,
    }


def error_object(error: BaseException, code: ExitCode) -> dict[str, Any]:
    """The object of any other command that has failed."""
    return failure(OUTCOMES[code], code, described(error, OUTCOMES[code]))


def failure(outcome: str, status: int, error: Mapping[str, str]) -> dict[str, Any]:
    """The object of a command that has no result.

    Args:
        outcome: One of `OUTCOMES`.
        status: The exit status.
        error: Its `kind` and `message`.
    """
    from autobatch.train.run_log import SCHEMA_VERSION

    return {"schema_version": SCHEMA_VERSION, "outcome": outcome, "exit_code": int(status), "error": dict(error)}


def described(error: BaseException, otherwise: str) -> dict[str, str]:
    """An error's kind and its message, or something else where it has none."""
    return {"kind": type(error).__name__, "message": message_of(error) or otherwise}


def best_so_far(trials: Sequence[Any]) -> int | None:
    """The largest size that ran within the budget, `None` if none did."""
    return max((trial.size for trial in trials if trial.outcome.name == "RAN"), default=None)


def best_line(trials: Sequence[Any]) -> str:
    """That size as an argument, and how little it says; nothing if there is none."""
    best = best_so_far(trials)
    if best is None:
        return ""
    count = format_count(len(trials), "trial")
    return f"batch_size={best}  (the largest that ran in {count}; the search was not complete)"
