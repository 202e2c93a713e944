"""What a probe came to as one object, whatever it came to: for `--json` and for reports."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import autobatch
from autobatch.cli.exit_codes import ExitCode

SCHEMA_VERSION = 1
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
        return cls(tuple(words), datetime.now(UTC).isoformat(timespec="seconds"))


def probe_object(
    started: Started,
    code: ExitCode,
    *,
    environment: Mapping[str, Any] | None = None,
    result: Any = None,
    trials: Sequence[Any] = (),
    error: BaseException | None = None,
) -> dict[str, Any]:
    """The object of a probe.

    Args:
        started: How it was started.
        code: Its exit status.
        environment: What it ran on.
        result: The `ProbeResult`, `None` without one.
        trials: Those that ran, where there is no result.
        error: What ended it, `None` where it found a size.
    """
    trials = trials if result is None else result.trials
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "probe",
        "autobatch": autobatch.__version__,
        "started_at": started.at,
        "command": shlex.join(["autobatch", *started.words]),
        "outcome": OUTCOMES[code],
        "exit_code": int(code),
        "environment": dict(environment or {}),
        "result": None if result is None else result.to_dict(),
        "trials": [trial.to_dict() for trial in trials],
        "best_so_far": best_so_far(trials) if result is None else result.batch_size,
        "error": None if error is None else {"kind": type(error).__name__, "message": str(error) or OUTCOMES[code]},
    }


def best_so_far(trials: Sequence[Any]) -> int | None:
    """The largest size that ran within the budget, `None` if none did."""
    return max((trial.size for trial in trials if trial.outcome.name == "RAN"), default=None)


def best_line(trials: Sequence[Any]) -> str:
    """That size as an argument, and how little it says; nothing if there is none."""
    best = best_so_far(trials)
    if best is None:
        return ""
    count = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    return f"batch_size={best}  (the largest that ran in {count}; the search was not complete)"
