"""What a command came to as one object, whatever it came to: for `--json` and for reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import autobatch
from autobatch.cli.command import as_typed
from autobatch.cli.exit_codes import ExitCode
from autobatch.cli.wording import message_of
from autobatch.memory.units import counted

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
    count = counted(len(trials), "trial")
    return f"batch_size={best}  (the largest that ran in {count}; the search was not complete)"
