"""The largest safe size on the device, beside an exhaustive search and the searches of others; and how fast sizes are.

As `finding.py` measures it, on the device, within a limit: trials, seconds and answers of each search, the largest size
that runs, and how far the peaks of these trials are from what is predicted of them (`prediction.py`). Then updates at
"auto", at "largest" and of 32 samples take turns, and `autobatch.probe` itself looks for the largest, as a user asks it
to: in process bytes, of which CUDA's context is a part, and beside its own worker.
`python benchmarks/gpu_check/largest.py --net "ResNet50 at 224" --policy mixed_float16 --xla` is one of the cases.
`python benchmarks/gpu_check/largest.py --stage cpu --quick` shows that the check works, with a CPU.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import prediction
from finding import FINE, QUICK_WITHOUT, SAMPLES, Result, Row, goals_of, row_of, table_of, true_largest
from hard_budget import HardBudget, Recorded
from harness import Cell, Findings, Goal, Table, benchmark, interleaved, ratio, say
from models import AT_224, NETS
from own_search import RESERVES, own_search
from peers import PEERS, OutOfMemoryError, Peer, Situation

from autobatch.memory.moments import Moments
from autobatch.memory.reserve import DEFAULT_RESERVE
from gpu_check import probed
from gpu_check.stage import MIB, Stage
from gpu_check.words import add_stage

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
    """How much is measured.

    Attributes:
        peers: Who searches beside us.
        beyond: How many sizes have to fail above the largest that runs.
        turns: How often each size is timed.
        steps: Steps in one of these turns.
    """

    peers: tuple[Peer, ...]
    beyond: int
    turns: int
    steps: int


def effort_of(stage: str, present: list[Peer], *, quick: bool) -> Effort:
    """What a form of the check measures."""
    if not quick:
        return Effort(tuple(present), 3, 5, 20)
    if stage == "cpu":
        return Effort(tuple(peer for peer in present if peer.name in LOOK_AT), QUICK_BEYOND, 2, 2)
    return Effort(tuple(peer for peer in present if peer.name not in QUICK_WITHOUT), QUICK_BEYOND, 3, 10)


def auto_size(budget: HardBudget) -> int:
    """What `batch_size="auto"` comes to."""
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
    """A size a line, beside the usual one where that fits."""
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
    moments = next((one["moments"] for one in reversed(ran) if one["moments"]), None)
    peaks = [(one["size"], one["peak_bytes"] - result["base_bytes"]) for one in ran]
    return prediction.predictions(prediction.Measured(peaks, Moments.from_list(moments) if moments else None))


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
    """One net, in one precision, compiled by XLA or not."""
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
    tables = [table_of(result), speed_table(sizes, speeds), probed.table_of(events, beside)]
    if made:
        tables.append(Table("Predictions", prediction.COLUMNS, [prediction.row_of(row.net, made)]))
    notes = [f"{row.net}, {args.policy}, {'compiled by XLA' if args.xla else 'without XLA'}."]
    notes += [f"Not in this form: {peer.name}." for peer in PEERS if peer not in effort.peers]
    notes += [f"Not timed, for it does not run here: {name} ({asked[name]})." for name in asked if name not in sizes]
    notes += [f"autobatch.probe itself failed: {failed}"] * bool(failed)
    samples = {"row": result, "sizes": sizes, "speeds": speeds, "predictions": made, "probe": events}
    goals = [*goals_of([result]), *probed.goals_of(events, beside), *prediction_goals(made)]
    return Findings(tables, goals, notes, samples)


def probed_itself(args: argparse.Namespace, row: Row, result: Result) -> tuple[list[dict[str, Any]], str, int | None]:
    """What `autobatch.probe` says of the same net under the same limit, why it failed, and the size to compare with.

    On a CPU the limit of a pool is none of a process, so that a few sizes are tried and nothing is compared.
    """
    case = {"net": row.net, "policy": args.policy, "xla": args.xla}
    if args.stage == "cpu":
        return *probed.probed(Stage("cpu"), **case, most=16, limit=None), None
    largest = int(result["true_largest"])
    events, failed = probed.probed(Stage("gpu"), **case, most=SAMPLES, limit=row.limit_mib * MIB)
    return events, failed, largest


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of this check."""
    add_stage(parser)
    parser.add_argument("--net", choices=(NETS | AT_224), help="the model, by its name in models.py")
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
