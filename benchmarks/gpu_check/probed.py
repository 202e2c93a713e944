"""`autobatch.probe` itself on the device, beside what an exhaustive search has found there: as a user would ask it."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from harness import Cell, Goal, Table

from gpu_check.stage import HERE, MIB, Actor, Stage

PROBE = HERE / "probing.py"
_PATIENCE_S = 240.0

Events = Sequence[Mapping[str, Any]]


def probed(stage: Stage, **case: Any) -> tuple[list[dict[str, Any]], str]:
    """What a probe says in a process of its own, and the end of what it prints where it failed.

    Args:
        stage: Where.
        case: `net`, `policy`, `xla`, `most` and `limit`, as `probing.py` takes them.
    """
    with Actor([sys.executable, "-u", str(PROBE), json.dumps(stage.part(case="net", **case))]) as one:
        one.ends(_PATIENCE_S)
        status = one.status
    if status is None:
        return one.events, f"it had no answer after {_PATIENCE_S:.0f} s, and was ended"
    return one.events, "" if status == 0 else f"it ended with status {status}. {one.stderr[-500:]}"


def table_of(events: Events, true_largest: int | None) -> Table:
    """Each trial, and what came of them.

    Args:
        events: What the probe said.
        true_largest: The largest size that an exhaustive search within the same limit has run, if there was one.
    """
    resource = "device" if any("device" in event["peaks"] for event in _of(events, "tried")) else "host"
    rows: list[list[Cell]] = [
        [
            event["size"],
            event["outcome"].lower().replace("_", " "),
            _mib(event["peaks"].get(resource)),
            None,
            None,
        ]
        for event in _of(events, "tried")
    ]
    found = next(_of(events, "found"), None)
    if found is not None:
        share = None if true_largest is None else f"{found['size'] / true_largest:.0%}"
        budget = _mib(found["budgets"].get(resource))
        rows.append([found["size"], "is the answer", budget, round(_seconds(events) or 0.0, 1), share])
    columns = ("samples", "ended", "peak or budget, MiB", "seconds in all", "of the largest")
    return Table("autobatch.probe itself", columns, rows)


def goals_of(events: Events, true_largest: int | None) -> list[Goal]:
    """What was aimed at.

    Example:
        >>> tried = {"kind": "tried", "size": 8, "outcome": "RAN", "peaks": {}}
        >>> found = {"kind": "found", "size": 8, "ran_out": 0, "budgets": {}}
        >>> [goal.met for goal in goals_of([tried, found], 9)], [goal.met for goal in goals_of([tried, found], 7)]
        ([True, True, True], [True, True, False])
    """
    found = next(_of(events, "found"), None)
    if found is None:
        return [Goal("autobatch.probe itself has an answer", met=False, measured="it has none")]
    tried, size = len(list(_of(events, "tried"))), found["size"]
    fits = None if true_largest is None else size <= true_largest
    said = f"{size:,} samples" if true_largest is None else f"{size:,} of {true_largest:,} samples"
    return [
        Goal("autobatch.probe itself runs out of nothing", not found["ran_out"], f"{found['ran_out']} of {tried} did"),
        Goal("in at most 4 trials", tried <= 4, str(tried)),
        Goal("and its answer is one that fits", fits, said),
    ]


def _of(events: Events, kind: str) -> Any:
    return (event for event in events if event["kind"] == kind)


def _seconds(events: Events) -> float | None:
    begun, found = next(_of(events, "begun"), None), next(_of(events, "found"), None)
    return None if begun is None or found is None else float(found["at_s"] - begun["at_s"])


def _mib(value: int | None) -> int | None:
    return None if value is None else round(value / MIB)
