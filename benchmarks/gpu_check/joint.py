"""The host's memory and the GPU's decide together: a probe in which each of them binds, and a training at its answer.

The GPU binds where MobileNetV2 gets a few GiB of it. The host binds where a net that takes little looks at pictures
that take much, in a control group with a hard limit: whatever takes more there is killed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from gpu_check import stage as stages
from gpu_check.stage import MIB, PROBE, Actor, Stage
from groups import kills, memory_group
from harness import Cell, Findings, Goal, Table, benchmark, say

QUESTION = "Do the host's memory and the GPU's decide together, whichever of them binds?"
DEVICE_BYTES = 3072 * MIB
_PATIENCE_S = 200.0


def binds(events: Sequence[Mapping[str, Any]], resource: str) -> tuple[bool | None, str]:
    """Whether a probe ended because of a resource; not where it ran out of sizes before.

    Example:
        >>> found = {"kind": "found", "binding": "host", "size": 8, "reasons": ["16 (host), over the budget of 1 GiB"]}
        >>> binds([found], "host"), binds([found], "device")[0], binds([found | {"reasons": []}], "host")[0]
        ((True, '8 samples, by the host'), False, None)
    """
    found = next((event for event in events if event["kind"] == "found"), None)
    if found is None:
        return False, "there was no answer"
    if not any("over the budget" in reason for reason in found["reasons"]):
        return None, f"{found['size']} samples, and nothing that was tried is over a budget"
    return found["binding"] == resource, f"{found['size']} samples, by the {found['binding']}"


def trains(events: Sequence[Mapping[str, Any]], status: int | None, killed: int) -> tuple[bool, str]:
    trained = next((event["updates"] for event in events if event["kind"] == "trained"), 0)
    return bool(trained) and status == 0 and not killed, f"{trained} updates, status {status}, {killed} killed"


def probed(stage: Stage, case: str, most: int, limit: int | None) -> Actor:
    part = stage.part(case=case, most=most, limit=limit, trains=True)
    with Actor([sys.executable, "-u", str(PROBE), json.dumps(part)]) as one:
        one.ends(_PATIENCE_S)
        ended = one
    if ended.status != 0:
        say(ended.stderr[-500:])
    return ended


def measure(args: argparse.Namespace) -> Findings:
    runs: dict[str, tuple[Actor, int]] = {}
    with stages.opened(args.stage, 1800) as stage:
        if args.stage == "gpu":
            say("the GPU is to bind")
            runs["device"] = (probed(stage, "largest", 512, DEVICE_BYTES), 0)
            with memory_group(12 * 1024 * MIB) as group:
                say("the host is to bind")
                run = probed(replace(stage, group=group), "host", 4096, None)
                runs["host"] = (run, kills(group))
        elif stage.group is not None:
            run = probed(stage, "host", 512, None)
            runs["host"] = (run, kills(stage.group))
    rows: list[list[Cell]] = []
    goals: list[Goal] = []
    if "device" not in runs:
        goals.append(Goal("the device binds", None, "there is none"))
    for resource, (run, killed) in runs.items():
        goals.append(Goal(f"the {resource} binds", *binds(run.events, resource)))
        goals.append(Goal(f"where the {resource} binds, it trains", *trains(run.events, run.status, killed)))
        rows += [row_of(resource, event) for event in run.of("tried")]
    columns = ("to bind", "samples", "ended", "host, MiB", "GPU, MiB")
    notes = [reason for run, _ in runs.values() for event in run.of("found") for reason in event["reasons"]]
    samples = {name: run.events for name, (run, _) in runs.items()}
    return Findings([Table("Trials", columns, rows)], goals, notes, samples)


def row_of(resource: str, trial: Mapping[str, Any]) -> list[Cell]:
    peaks = [trial["peaks"].get(name) for name in ("host", "device")]
    mib = [None if peak is None else round(peak / MIB) for peak in peaks]
    return [resource, trial["size"], trial["outcome"].lower().replace("_", " "), *mib]


if __name__ == "__main__":
    benchmark("gpu_check/joint", "Joint limits", QUESTION, measure, stages.options)
