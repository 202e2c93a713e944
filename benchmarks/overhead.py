"""What the machinery costs: time per update of autobatch over plain `model.fit`, at the same size and the same data.

Both train on the same arrays in memory, in turns within one run; the figure is the median of the ratios turn by turn.
And what it costs to take batch statistics over groups of samples: time per update over the same training without.
`python benchmarks/overhead.py --sizes 8 32 --updates 12 --turns 15 --json results.json` keeps the raw samples.
"""

import argparse
import statistics
from typing import Any

from harness import Cell, Findings, Goal, Ratio, Table, benchmark, interleaved, ratio, say, seconds_of
from support.models import NETS, Ours

from autobatch.data.batch import Batch

QUESTION = "How long does an update take, over one of plain Keras at the same size?"
MOST = 1.01
MODELS = ("small conv net", "MobileNetV2")
MOST_GROUPED = 1.10
GROUPED, GROUP, GROUPED_SIZE = "MobileNetV2", 16, 32


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=NETS, default=list(MODELS))
    parser.add_argument("--sizes", type=int, nargs="+", help="samples in an update; 8 and 32, in the short form 8")
    parser.add_argument("--updates", type=int, help="updates in a turn; 12, in the short form 6")
    parser.add_argument("--turns", type=int, help="15, in the short form 5")


def compare(name: str, size: int, updates: int, turns: int) -> dict[str, Any]:
    say(f"{name}, {size} samples an update: {turns} turns of {updates} updates")
    net = NETS[name]
    x, y = net.samples(size * updates)
    ours, theirs = net.build(), net.build()
    for model in (ours, theirs):
        model.compile("adam", net.loss, metrics=["accuracy"])
    train = Ours(ours, Batch(x, y), size, size)
    sides = {
        "autobatch": lambda: seconds_of(train) / updates,
        "keras": lambda: seconds_of(lambda: theirs.fit(x, y, batch_size=size, verbose=0)) / updates,
    }
    interleaved(sides, 1)  # compiles
    return {"model": name, "size": size, "updates": updates, "seconds": interleaved(sides, turns)}


def over_keras(result: dict[str, Any]) -> Ratio:
    return ratio(result["seconds"]["autobatch"], result["seconds"]["keras"])


def row(result: dict[str, Any]) -> list[Cell]:
    keras_ms, ours_ms = (round(statistics.median(result["seconds"][side]) * 1e3, 1) for side in ("keras", "autobatch"))
    return [result["model"], result["size"], keras_ms, ours_ms, _precise(over_keras(result))]


def compare_groups(updates: int, turns: int) -> dict[str, Any]:
    """Seconds of an update with batch statistics of the micro-batch, and of groups."""
    say(f"{GROUPED}, {GROUPED_SIZE} samples an update in groups of {GROUP}: {turns} turns of {updates} updates")
    net = NETS[GROUPED]
    data = Batch(*net.samples(GROUPED_SIZE * updates))
    trainings = {group: Ours(net.compiled(), data, GROUPED_SIZE, GROUPED_SIZE, group) for group in (1, GROUP)}
    sides = {
        str(group): lambda train=train: seconds_of(train) / updates  # type: ignore[misc]
        for group, train in trainings.items()
    }
    interleaved(sides, 1)  # compiles
    return {"model": GROUPED, "size": GROUPED_SIZE, "group": GROUP, "seconds": interleaved(sides, turns)}


def over_ungrouped(result: dict[str, Any]) -> Ratio:
    return ratio(result["seconds"][str(GROUP)], result["seconds"]["1"])


def grouped_table(result: dict[str, Any]) -> Table:
    columns = (
        "model",
        "samples an update",
        "of the micro-batch, ms",
        f"of groups of {GROUP}, ms",
        "groups over micro-batch",
    )
    times = (round(statistics.median(seconds) * 1e3, 1) for seconds in result["seconds"].values())
    row = [result["model"], result["size"], *times, _precise(over_ungrouped(result))]
    return Table("Time of an update by its batch statistics", columns, [row])


def _precise(over: Ratio) -> str:
    return f"{over.middle:.3f} ({over.low:.3f} to {over.high:.3f})"


def goal(results: list[dict[str, Any]]) -> Goal:
    worst = max(results, key=lambda result: over_keras(result).middle)
    over = over_keras(worst)
    measured = f"at most {_precise(over)}, of {worst['model']} at {worst['size']}"
    return Goal(f"at most {MOST} times the time of plain Keras in every row", over.middle <= MOST, measured)


def measure(args: argparse.Namespace) -> Findings:
    sizes = args.sizes or ([8] if args.quick else [8, 32])
    updates, turns = args.updates or (6 if args.quick else 12), args.turns or (5 if args.quick else 15)
    results = [compare(name, size, updates, turns) for name in args.models for size in sizes]
    columns = ("model", "samples an update", "Keras, ms", "autobatch, ms", "autobatch over Keras")
    table = Table("Time of an update, arrays in memory, CPU or GPU as found", columns, [row(one) for one in results])
    notes = [
        "Ours includes the loop, the loader, the readings of memory and the roll-back; the data are arrays in memory.",
        "No weight is written before every gradient exists, so the optimizer does not run beside the backward pass.",
    ]
    groups = compare_groups(updates, turns)
    over = over_ungrouped(groups)
    text = f"statistics over groups cost at most {MOST_GROUPED:.2f} times the update with those of the micro-batch"
    cost = Goal(text, over.middle <= MOST_GROUPED, f"{_precise(over)}, of {GROUPED} at {GROUPED_SIZE}")
    return Findings([table, grouped_table(groups)], [goal(results), cost], notes, [*results, groups])


if __name__ == "__main__":
    benchmark("overhead", "Overhead", QUESTION, measure, options)
