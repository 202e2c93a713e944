"""The largest safe size on the device, beside an exhaustive search and the searches of others; and how fast sizes are.

As `finding.py` measures it, on the device, within a limit: trials, seconds and answers of each search, the largest size
that runs, and how far the peaks of these trials are from what is predicted of them (`prediction.py`). Then updates at
"auto", at "largest" and of 32 samples take turns, and `autobatch.probe` itself looks for the largest, as a user asks it
to: in process bytes, of which CUDA's context is a part, and beside its own worker.
`python benchmarks/gpu_check/largest.py --net "ResNet50 at 224" --policy mixed_float16 --xla` is one of the cases.
`python benchmarks/gpu_check/largest.py --stage cpu --quick` shows that the check works, with a CPU.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import prediction
from finding import FINE, QUICK_WITHOUT, SAMPLES, Result, Row, goals_of, row_of, table_of, true_largest
from gpu_check.stage import MIB, PROBE, Actor, Stage, add_stage
from harness import Cell, Findings, Goal, Table, benchmark, interleaved, ratio, say
from support.hard_budget import HardBudget, Recorded
from support.models import AT_224, NETS
from support.searches import PEERS, RESERVES, OutOfMemoryError, Peer, Situation, own_search

from autobatch.memory.budget import DEFAULT_RESERVE
from autobatch.memory.peak_model import AllocationProfile

_PATIENCE_S = 240.0

Events = Sequence[Mapping[str, Any]]


def probed(stage: Stage, **case: Any) -> tuple[list[dict[str, Any]], str]:
    """What a probe says in a process of its own, and the end of what it prints where it failed."""
    with Actor([sys.executable, "-u", str(PROBE), json.dumps(stage.part(case="net", **case))]) as one:
        one.ends(_PATIENCE_S)
        status = one.status
    if status is None:
        return one.events, f"it had no answer after {_PATIENCE_S:.0f} s, and was ended"
    return one.events, "" if status == 0 else f"it ended with status {status}. {one.stderr[-500:]}"


def probe_table(events: Events, true_largest: int | None) -> Table:
    resource = "device" if any("device" in event["peaks"] for event in _of(events, "tried")) else "host"
    rows: list[list[Cell]] = [
        [event["size"], event["outcome"].lower().replace("_", " "), _mib(event["peaks"].get(resource)), None, None]
        for event in _of(events, "tried")
    ]
    found = next(_of(events, "found"), None)
    if found is not None:
        share = None if true_largest is None else f"{found['size'] / true_largest:.0%}"
        budget = _mib(found["budgets"].get(resource))
        rows.append([found["size"], "is the answer", budget, round(_seconds(events) or 0.0, 1), share])
    columns = ("samples", "ended", "peak or budget, MiB", "seconds in all", "of the largest")
    return Table("autobatch.probe itself", columns, rows)


def probe_goals(events: Events, true_largest: int | None) -> list[Goal]:
    """What was aimed at.

    Example:
        >>> tried = {"kind": "tried", "size": 8, "outcome": "RAN", "peaks": {}}
        >>> found = {"kind": "found", "size": 8, "ran_out": 0, "budgets": {}}
        >>> [goal.met for goal in probe_goals([tried, found], 9)], [goal.met for goal in probe_goals([tried, found], 7)]
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


POLICIES = ("float32", "mixed_float16")
USUAL = 32
# A GPU is lent by the minute, so its nets are given less than it holds.
LIMITS_MIB = {"gpu": 16_384, "cpu": 300}
USUAL_NETS = {"gpu": "MobileNetV2 at 224", "cpu": "tiny conv net"}
# On a CPU each size that runs out is ten seconds for nothing: this one runs out of nothing.
LOOK_AT = ("ultralytics' algorithm",)
QUICK_BEYOND = 1

Speeds = Mapping[str, list[float]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    peers: tuple[Peer, ...]  # who searches beside us
    beyond: int  # how many sizes have to fail above the largest that runs
    turns: int  # how often each size is timed
    steps: int  # steps in one of these turns


def effort_of(stage: str, present: list[Peer], *, quick: bool) -> Effort:
    if not quick:
        return Effort(tuple(present), 3, 5, 20)
    if stage == "cpu":
        return Effort(tuple(peer for peer in present if peer.name in LOOK_AT), QUICK_BEYOND, 2, 2)
    return Effort(tuple(peer for peer in present if peer.name not in QUICK_WITHOUT), QUICK_BEYOND, 3, 10)


def auto_size(budget: HardBudget) -> int:
    recorded = Recorded(budget.attempt)

    def attempt(size: int) -> Any:
        tried = recorded.attempt(size)
        if not tried.ran:
            raise OutOfMemoryError
        return tried

    situation = Situation(attempt, lambda size: recorded.attempt(size).peak_bytes, budget.limit_bytes, SAMPLES)
    return own_search(situation, budget, next(iter(RESERVES.values())), "auto")[0]


def speeds_of(budget: HardBudget, sizes: Mapping[str, int], effort: Effort) -> dict[str, list[float]]:
    """Samples a second at each size, in turns."""

    def speed(size: int) -> float:
        tried = budget.attempt(size, effort.steps + 1)  # the first one may compile
        if not tried.ran:
            raise RuntimeError(f"A step of {size} samples, which had run, ended otherwise: {tried.ending}.")
        return size / statistics.median(tried.step_s[1:])

    return interleaved({name: partial(speed, size) for name, size in sizes.items()}, effort.turns)


def speed_table(sizes: Mapping[str, int], speeds: Speeds) -> Table:
    usual = speeds.get(str(USUAL))
    rows: list[list[Cell]] = [
        [
            name,
            sizes[name],
            round(statistics.median(told), 1),
            str(ratio(told, usual)) if usual and told is not usual else None,
        ]
        for name, told in speeds.items()
    ]
    return Table("Speed", ("asked for", "samples", "samples a second", f"over {USUAL}"), rows)


def predicted(result: Result) -> list[dict[str, Any]]:
    """What was predicted of the trials that ran, each from smaller ones."""
    ran = [one for one in result["trials"] if one["ending"] == "ran" and one["peak_bytes"] > result["base_bytes"]]
    profile = next((one["profile"] for one in reversed(ran) if one["profile"]), None)
    peaks = [(one["size"], one["peak_bytes"] - result["base_bytes"]) for one in ran]
    return prediction.predictions(prediction.Measured(peaks, AllocationProfile.from_list(profile) if profile else None))


def prediction_goals(made: list[dict[str, Any]]) -> list[Goal]:
    """What was aimed at of predictions, as their benchmark aims at it."""
    signed, bounded = (prediction.errors(made, what) for what in ("predicted_bytes", "bound_bytes"))
    if not made:
        return [Goal("median error of predictions under 2 %", None, "nothing could be predicted from smaller sizes")]
    middle, most = statistics.median(map(abs, signed)), DEFAULT_RESERVE.fraction
    return [
        Goal("median error of predictions under 2 %", middle < 0.02, f"{middle:.1%} over {len(made)} predictions"),
        Goal(
            f"no bound, which the search goes by, too low by more than the reserve of {most:.0%}",
            min(bounded) >= -most,
            f"{min(bounded):+.1%} at worst",
        ),
    ]


def measure(args: argparse.Namespace) -> Findings:
    present = [peer for peer in PEERS if peer.package is None or find_spec(peer.package)]
    effort = effort_of(args.stage, present, quick=args.quick)
    row = Row(args.net or USUAL_NETS[args.stage], args.limit_mib or LIMITS_MIB[args.stage])
    # XLA compiles each size anew: a hundredth between them has to do.
    largest = partial(true_largest, fine=0 if args.xla else FINE, beyond=effort.beyond)
    budget_of = partial(HardBudget, device=args.stage, policy=args.policy, xla=args.xla)
    result = row_of(row, effort.peers, budget_of, largest)
    with budget_of(row.net, row.limit_mib) as budget:
        asked = {"auto": auto_size(budget), "largest": result["searches"][0]["answer"], str(USUAL): USUAL}
        # At the edge, what ran in one process need not run in another: that costs its own line alone.
        sizes = {name: size for name, size in asked.items() if size and budget.attempt(size).ran}
        say(f"{row.net}: {sizes} of {asked}")
        speeds = speeds_of(budget, sizes, effort)
    made = predicted(result)
    say(f"{row.net}: autobatch.probe itself")
    events, failed, beside = probed_itself(args, row, result)
    tables = [table_of(result), speed_table(sizes, speeds), probe_table(events, beside)]
    if made:
        tables.append(Table("Predictions", prediction.COLUMNS, [prediction.row_of(row.net, made)]))
    notes = [f"{row.net}, {args.policy}, {'compiled by XLA' if args.xla else 'without XLA'}."]
    notes += [f"Not in this form: {peer.name}." for peer in PEERS if peer not in effort.peers]
    notes += [f"Not timed, for it does not run here: {name} ({asked[name]})." for name in asked if name not in sizes]
    notes += [f"autobatch.probe itself failed: {failed}"] * bool(failed)
    samples = {"row": result, "sizes": sizes, "speeds": speeds, "predictions": made, "probe": events}
    goals = [*goals_of([result]), *probe_goals(events, beside), *prediction_goals(made)]
    return Findings(tables, goals, notes, samples)


def probed_itself(args: argparse.Namespace, row: Row, result: Result) -> tuple[list[dict[str, Any]], str, int | None]:
    """What `autobatch.probe` says of the same net under the same limit, why it failed, and the size to compare with.

    On a CPU the limit of a pool is none of a process, so that a few sizes are tried and nothing is compared.
    """
    case = {"net": row.net, "policy": args.policy, "xla": args.xla}
    if args.stage == "cpu":
        return *probed(Stage("cpu"), **case, most=16, limit=None), None
    largest = int(result["true_largest"])
    events, failed = probed(Stage("gpu"), **case, most=SAMPLES, limit=row.limit_mib * MIB)
    return events, failed, largest


def options(parser: argparse.ArgumentParser) -> None:
    add_stage(parser)
    parser.add_argument("--net", choices=(NETS | AT_224), help="the model, by its name in support/models.py")
    parser.add_argument("--policy", choices=POLICIES, default=POLICIES[0], help="what it computes in")
    parser.add_argument("--xla", action="store_true", help="have XLA compile the steps")
    parser.add_argument("--limit-mib", type=int, help="what the steps may take of the device")


if __name__ == "__main__":
    benchmark(
        "gpu_check/largest",
        "The largest size, and speed",
        "Is the largest safe size found on the device, how soon, and what is it worth?",
        measure,
        options,
    )
