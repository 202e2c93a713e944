"""Saved runs as autobatch writes them: a probe's object and a training's lines, to be changed by a test."""

import json
from pathlib import Path
from typing import Any

from autobatch._text import GIB, MIB
from autobatch.memory.peak_model import fit_peak
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial

STARTED_AT = "2026-01-31T12:00:00+00:00"
ENVIRONMENT = {"autobatch": "0.1.0", "python": "3.13.2", "host_total_bytes": 24 * GIB, "gpus": [], "keras": None}


def ran(size: int, *, outcome: Outcome = Outcome.RAN) -> Trial:
    """A trial that ran, a step of it in 2 ms and 1 ms a sample."""
    seconds = 0.002 + 0.001 * size
    return Trial(size, outcome, {"host": (100 + 10 * size) * MIB}, seconds, size / seconds, 2.0)


def result(*, limit: str = "host", trials: tuple[Trial, ...] | None = None, **changes: Any) -> ProbeResult:
    """What a probe of four trials has found."""
    if trials is None:
        failed = Trial(128, Outcome.OUT_OF_MEMORY, wall_s=3.0, detail="OOM when allocating | tensor")
        trials = (ran(2), ran(16), failed, ran(64))
    points = [(trial.size, trial.peaks["host"]) for trial in trials if trial.peaks]
    values: dict[str, Any] = {
        "batch_size": 64,
        "mode": "largest",
        "max_batch_size": 64,
        "efficient_batch_size": 64,
        "trials": trials,
        "models": {"host": fit_peak(points)} if points else {},
        "budgets": {"host": GIB},
        "limits": {"host": limit},
        "reserves": {"host": 100 * MIB},
        "reasons": ("64 is the largest size that ran.",),
        "notes": ("No GPU is counted.",),
    }
    return ProbeResult(**values | changes)


def probe_object(found: ProbeResult | None = None, **changes: Any) -> dict[str, Any]:
    """What `autobatch probe --json` prints."""
    found = found or result()
    return {
        "schema_version": 2,
        "kind": "probe",
        "autobatch": "0.1.0",
        "started_at": STARTED_AT,
        "command": "autobatch probe m:model pictures",
        "outcome": "found",
        "exit_code": 0,
        "environment": ENVIRONMENT,
        "result": found.to_dict(),
        "trials": [trial.to_dict() for trial in found.trials],
        "best_so_far": 64,
        "error": None,
    } | changes


def observation(at_s: float, micro: int = 8, **changes: Any) -> dict[str, Any]:
    """A reading, as a line of the log."""
    return {
        "event": "observation",
        "at_s": at_s,
        "epoch": 0,
        "update": 1,
        "phase": "training",
        "micro_batch_size": micro,
        "headroom_bytes": 5 * MIB,
        "rss_bytes": 700 * MIB,
        "available_bytes": 900 * MIB,
        "budget_bytes": 800 * MIB,
        "limit": "host",
        "devices": [],
    } | changes


def fit_lines() -> list[dict[str, Any]]:
    """What `fit(..., log_dir=...)` writes, a training that shrinks once."""
    head = {"schema_version": 2, "kind": "fit", "autobatch": "0.1.0", "started_at": STARTED_AT}
    decision = {"epoch": 0, "update": 1, "phase": "training", "before": 8, "after": 4, "reason": "others | took it"}
    return [
        {"event": "run", "at_s": 0.0, **head, "command": "python train.py", "environment": ENVIRONMENT},
        *({"event": "trial", "at_s": 1.0, **trial.to_dict()} for trial in result().trials),
        {"event": "probe", "at_s": 4.0, "result": result().to_dict()},
        {
            "event": "begin",
            "at_s": 4.1,
            "effective_batch_size": 8,
            "micro_batch_size": 8,
            "accumulation_steps": 1,
            "seed": 3,
            "notes": ["a"],
        },
        observation(4.2),
        {
            "event": "decision",
            "at_s": 4.3,
            **decision,
            "headroom_bytes": -MIB,
            "returned_bytes": None,
            "held_bytes": None,
        },
        observation(5.0, 4, devices=[{"used_by_this_process_bytes": 3}, {"used_by_this_process_bytes": None}]),
        {"event": "note", "at_s": 5.1, "text": "b"},
        {"event": "epoch", "at_s": 6.0, "epoch": 0, "logs": {"loss": 0.5, "accuracy": None}},
        {"event": "end", "at_s": 6.1, "outcome": "done", "error": None},
    ]


def write_probe(path: Path, **changes: Any) -> Path:
    """Saves a probe."""
    path.write_text(json.dumps(probe_object(**changes)))
    return path


def write_fit(path: Path, lines: list[dict[str, Any]] | None = None) -> Path:
    """Saves a training."""
    path.write_text("".join(json.dumps(line) + "\n" for line in (fit_lines() if lines is None else lines)))
    return path
