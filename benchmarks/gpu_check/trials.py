"""Trials on the GPU, seen from outside: how near the told peaks are, and that a worker's memory is gone when it ends.

A probe says when each trial begins and ends; what its worker holds is read here every few milliseconds. Its peaks are
what the worker held more than before its first trial, so that is what they are compared with. TensorFlow's default
allocator (BFC) takes more than it uses, by regions that double: there the told peak may be below what is held.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check import stage as stages
from gpu_check.stage import MIB, PROBE, Actor, Sample, Sampler, Stage
from harness import Cell, Findings, Goal, Table, benchmark, say

QUESTION = "Are the peaks of the trials those that are seen from outside, and is their memory gone afterwards?"
POOL = "CUDA's pool"
ALLOCATORS = {"BFC, growing": {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}, POOL: {"TF_GPU_ALLOCATOR": "cuda_malloc_async"}}
_PATIENCE_S = 200.0
_GONE_S = 1.0
_NEAR_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Seen:
    """A trial, as it was told and as it was seen.

    Attributes:
        seen_bytes: The most that was seen, above the same; `None` where nobody looked, or nothing is told of it.
    """

    size: int  # samples
    where: str  # `"worker"` or `"caller"`
    told_bytes: int | None  # the peak that was told, above what the process held before
    seen_bytes: int | None
    budget_bytes: int | None  # what it was allowed

    @property
    def error(self) -> float | None:
        """How far the told peak is from the seen one, as a part of that."""
        if self.told_bytes is None or not self.seen_bytes:
            return None
        return (self.told_bytes - self.seen_bytes) / self.seen_bytes


def others(sample: Sample, pid: int) -> int:
    return sum(held for one, held in sample.held.items() if one != pid)


def seen_of(events: Sequence[Mapping[str, Any]], samples: Sequence[Sample], pid: int, resource: str) -> list[Seen]:
    """Each trial beside what was seen of the processes of the probe while it ran."""
    begun = [event["at_s"] for event in events if event["kind"] == "trying"]
    ended = [event for event in events if event["kind"] == "tried"]
    found = next((event for event in events if event["kind"] == "found"), {})
    if not begun:
        return []
    before = [others(one, pid) for one in samples if one.at_s <= begun[0]]
    base = before[-1] if before else 0
    rows = []
    for start_s, trial in zip(begun, ended, strict=False):
        within = [others(one, pid) for one in samples if start_s < one.at_s <= trial["at_s"]]
        most = max(within, default=0)
        seen = most - base if most and trial["where"] == "worker" else None
        told, budget = trial["peaks"].get(resource), found.get("budgets", {}).get(resource)
        rows.append(Seen(trial["size"], trial["where"], told, seen, budget))
    return rows


def left_behind(events: Sequence[Mapping[str, Any]], samples: Sequence[Sample], pid: int) -> tuple[bool | None, str]:
    """Whether the worker's memory is gone within a second of the answer; `None` where nobody looked.

    Example:
        >>> found = [{"kind": "found", "at_s": 5.0}]
        >>> left_behind(found, [Sample(4.0, 0, {1: 5, 2: 900}), Sample(5.9, 0, {1: 5})], 1)
        (True, '0 MiB')
        >>> left_behind(found, [Sample(4.0, 0, {1: 5, 2: 900}), Sample(6.2, 0, {1: 5, 2: 1 << 30})], 1)
        (False, '1,024 MiB')
        >>> left_behind(found, [Sample(5.5, 0, {1: 5})], 1)
        (None, 'the worker was never seen to hold any')
    """
    at_s = next((event["at_s"] for event in events if event["kind"] == "found"), None)
    if at_s is None:
        return None, "there was no answer"
    if not any(others(one, pid) for one in samples if one.at_s <= at_s):
        return None, "the worker was never seen to hold any"
    after = [others(one, pid) for one in samples if one.at_s > at_s]
    in_time = [others(one, pid) for one in samples if at_s < one.at_s <= at_s + _GONE_S]
    if not after:
        return None, "nobody looked afterwards"
    left = in_time[-1] if in_time else after[0]
    return left == 0, f"{left / MIB:,.0f} MiB"


def errors(rows: Sequence[Seen]) -> tuple[bool | None, str]:
    """Whether each told peak is within 5 % of what was seen, or nearer than a context may differ by.

    Example:
        >>> errors([Seen(8, "worker", 1000 * MIB, 1010 * MIB, None), Seen(16, "worker", 2000 * MIB, 2500 * MIB, None)])
        (False, '-20.0 % to -1.0 %, 2 trials')
    """
    known = [one for one in rows if one.error is not None]
    if not known:
        return None, "nothing of the trials was seen"
    parts = [one.error or 0.0 for one in known]
    near = [abs(one.error or 0.0) < 0.05 or abs(_gap(one)) < _NEAR_BYTES for one in known]
    return all(near), f"{100 * min(parts):.1f} % to {100 * max(parts):.1f} %, {len(known)} trials"


def within_budget(rows: Sequence[Seen], reserve_bytes: int) -> tuple[bool | None, str]:
    """Whether no trial was seen to take more than it was allowed and what is kept free for such a case."""
    known = [(one.seen_bytes, one.budget_bytes) for one in rows if one.seen_bytes and one.budget_bytes]
    if not known:
        return None, "nothing of the trials was seen"
    over = max(seen - budget for seen, budget in known)
    return over <= reserve_bytes, f"{over / MIB:+,.0f} MiB of the budget, {reserve_bytes / MIB:,.0f} MiB of a reserve"


def probed(stage: Stage, case: str, environ: Mapping[str, str], most: int, limit: int | None) -> dict[str, Any]:
    part = stage.part(case=case, most=most, limit=limit)
    words = [sys.executable, "-u", str(PROBE), json.dumps(part)]
    with Actor(words, os.environ | dict(environ)) as one, Sampler(stage, one.pid) as sampler:
        one.ends(_PATIENCE_S)
        status, pid = one.status, one.pid
    return {"events": one.events, "samples": sampler.samples, "pid": pid, "status": status, "stderr": one.stderr[-500:]}


def goals_of(name: str, run: Mapping[str, Any], rows: Sequence[Seen]) -> list[Goal]:
    found = next((event for event in run["events"] if event["kind"] == "found"), {})
    reserve = next(iter(found.get("reserves", {}).values()), 0)
    gone = left_behind(run["events"], run["samples"], run["pid"])
    goals = [
        Goal(f"{name}: no worker takes more than its budget and the reserve", *within_budget(rows, reserve)),
        Goal(f"{name}: within a second of the answer nothing is left of the trials", *gone),
    ]
    if name == POOL:  # BFC takes regions ahead: what it holds is not what it needs
        goals.append(Goal(f"{name}: told peaks are within 5 % of what is seen", *errors(rows)))
    return goals


def whole_goals(run: Mapping[str, Any]) -> list[Goal]:
    """What was aimed at where the caller holds the whole GPU: trials in itself, and a model as it was."""
    events = run["events"]
    found = next((event for event in events if event["kind"] == "found"), None)
    tried = [event["where"] for event in events if event["kind"] == "tried"]
    apart = max((others(one, run["pid"]) for one in run["samples"]), default=0)
    here = None if found is None else bool(tried) and set(tried) == {"caller"} and apart == 0
    said = f"{tried.count('caller')} of {len(tried)} trials; others held {apart / MIB:,.0f} MiB"
    same = None if found is None else bool(found["same"])
    return [
        Goal("who holds the whole GPU probes in itself", here, said),
        Goal("and the model is as it was", same, "bit for bit" if same else "not" if found else "there was no answer"),
    ]


def measure(args: argparse.Namespace) -> Findings:
    rows: list[list[Cell]] = []
    goals: list[Goal] = []
    notes: list[str] = []
    samples: dict[str, Any] = {}
    with stages.opened(args.stage, 3000) as stage:
        sides = ALLOCATORS if args.stage == "gpu" else {"the host": {}}
        most, limit = (512, None) if args.stage == "gpu" else (16, None)
        for name, environ in sides.items():
            say(f"{name}: a probe, seen from outside")
            run = probed(stage, "largest", environ, most, limit)
            seen = seen_of(run["events"], run["samples"], run["pid"], stage.resource)
            rows += [row_of(name, one) for one in seen]
            goals += goals_of(name, run, seen)
            samples[name] = run["events"]
            notes += [f"{name}: {run['stderr']}"] * (run["status"] != 0)
        if args.stage == "gpu":
            say("a probe by somebody who holds the whole GPU")
            run = probed(stage, "whole", {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, 64, None)
            goals += whole_goals(run)
            samples["whole"] = run["events"]
    columns = ("allocator", "samples", "in", "told, MiB", "seen, MiB", "budget, MiB", "error, %")
    return Findings([Table("Trials", columns, rows)], goals, notes, samples)


def row_of(name: str, one: Seen) -> list[Cell]:
    bytes_of = (one.told_bytes, one.seen_bytes, one.budget_bytes)
    mib = [None if value is None else round(value / MIB) for value in bytes_of]
    return [name, one.size, one.where, *mib, None if one.error is None else round(100 * one.error, 1)]


def _gap(one: Seen) -> int:
    return (one.told_bytes or 0) - (one.seen_bytes or 0)


if __name__ == "__main__":
    benchmark("gpu_check/trials", "Trials on the GPU", QUESTION, measure, stages.options)
