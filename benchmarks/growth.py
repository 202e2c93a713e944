"""How costs grow with the number of files, the batch size and the size of the model.

Each cost is measured at several sizes, in turns; the slope between them, where both axes count factors, says whether it
is flat (0) or linear (1). `python benchmarks/growth.py`.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from harness import Cell, Chart, Findings, Goal, Table, benchmark, say
from support.growth_subjects import (
    BATCH,
    FILES,
    LAYERS,
    MOST,
    PARAMETERS,
    Growth,
    Probed,
    Promise,
    deep_net,
    flow_of,
    folder_of_two,
    numbers,
    over_batch,
    over_files,
    over_model,
    picture_net,
    probed,
    wide_net,
)

QUESTION = "Which costs grow with the files, the batch and the model, and how?"


def over_probes(probes: dict[str, dict[int, Probed]]) -> list[Growth]:
    """The growth of what a probe takes beside the model's own steps."""
    found = []
    for over, rows in probes.items():
        if len(rows) < 2:
            continue
        promise: Promise = "linear" if over in {PARAMETERS, LAYERS} else "flat"
        beside = {size: [one.beside_steps_s] for size, one in rows.items()}
        found.append(Growth("a probe, beside the model's own steps", over, promise, beside))
    return found


def probes_of(folder: Path, args: argparse.Namespace) -> dict[str, dict[int, Probed]]:
    data = numbers(8192)
    files = (10**3, 10**6)
    plans: dict[str, tuple[Iterable[int], Callable[[int], Probed]]] = {
        PARAMETERS: (
            (10**4, 10**6) if args.quick else (10**4, 10**5, 10**6, 10**7, 10**8),
            lambda size: probed(wide_net(size), data, 32),
        ),
        LAYERS: ((4, 32) if args.quick else (4, 16, 64, 128), lambda size: probed(deep_net(size), data, 32)),
        BATCH: (() if args.quick else (1, 16, 256, 4096), lambda size: probed(wide_net(10**4), data, size)),
        FILES: (() if args.quick else files, lambda size: probed(picture_net(), flow_of(folder, size), 32)),
    }
    found: dict[str, dict[int, Probed]] = {}
    for over, (sizes, probe) in plans.items():
        for size in sizes:
            say(f"a probe: {size:,} {over}")
            found.setdefault(over, {})[size] = probe(size)
    return found


def row(growth: Growth) -> list[Cell]:
    points = growth.points
    ends = [
        f"{growth.over}: {points[0][0]:,.0f} to {points[-1][0]:,.0f}",
        *(_short(s) for _, s in (points[0], points[-1])),
    ]
    verdict = "-" if not growth.ours else growth.promise if growth.kept else f"MORE than {growth.promise}"
    return [growth.cost, *ends, round(growth.slope, 2), round(growth.at_the_end, 2), verdict]


def _short(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def probe_row(over: str, size: int, found: Probed) -> list[Cell]:
    parts = (found.total_s, found.start_s, found.compiling_s, found.here_s, found.steps_s)
    return [f"{size:,} {over}", found.trials, found.largest, *(round(part, 2) for part in parts)]


def charts(growths: list[Growth]) -> list[Chart]:
    found = []
    for over in dict.fromkeys(growth.over for growth in growths):
        series = {growth.cost: growth.points for growth in growths if growth.over == over}
        found.append(Chart(f"Costs over {over}", over, "seconds", series, log_x=True, log_y=True))
    return found


def goals(growths: list[Growth]) -> list[Goal]:
    found = []
    for promise, limit in MOST.items():
        ours = [growth for growth in growths if growth.ours and growth.promise == promise]
        worst = max(ours, key=lambda one: (not one.kept, one.slope))
        text = f"a slope of at most {limit} where a cost should be {promise}"
        measured = f"at most {worst.slope:.2f}, {worst.at_the_end:.2f} at the end: {worst.cost} over {worst.over}"
        found.append(Goal(text, all(growth.kept for growth in ours), measured))
    return found


def measure(args: argparse.Namespace) -> Findings:
    turns = 5 if args.quick else 11
    files = (10**3, 10**4, 10**5, 10**6)
    batches = (1, 16, 256, 4096) if args.quick else tuple(4**power for power in range(7))
    parameters = (10**4, 10**6) if args.quick else (10**4, 10**5, 10**6, 10**7, 10**8)
    layers = (4, 32) if args.quick else (4, 16, 64, 128)
    starts = 1 if args.quick else 2
    over_model(LAYERS, deep_net, (2,), 1)  # what TensorFlow does once
    with tempfile.TemporaryDirectory() as name:
        folder = folder_of_two(Path(name) / "pictures")
        growths = over_files(folder, files, turns) + over_batch(batches, turns)
        growths += over_model(PARAMETERS, wide_net, parameters, starts)
        growths += over_model(LAYERS, deep_net, layers, starts)
        probes = probes_of(folder, args)
    growths += over_probes(probes)
    columns = ("cost", "from and to", "at the least", "at the most", "slope", "at the end", "grows")
    slopes = Table("Slopes: 0 is flat, 1 is linear", columns, [row(growth) for growth in growths])
    heads = (
        "a probe of",
        "trials",
        "largest",
        "s",
        "starting workers",
        "compiling",
        "choosing",
        "the model's own steps",
    )
    lines = [probe_row(over, size, one) for over, rows in probes.items() for size, one in rows.items()]
    notes = [
        "Times are medians. At the end: over the last factor of ten, where a square would be 2.",
        "The limits of the slopes were set after first runs had shown what sorting and the processor's caches add.",
        "The folder's index is as long as said and names two pictures over and over; walking a real one is Keras' own.",
    ]
    samples = {
        "growth": [{"cost": one.cost, "over": one.over, "seconds": one.samples} for one in growths],
        "probes": [
            {"over": over, "size": size, **{name: getattr(one, name) for name in Probed.__slots__}}
            for over, rows in probes.items()
            for size, one in rows.items()
        ],
    }
    return Findings(
        [slopes, Table("Where a probe's seconds go", heads, lines)], goals(growths), notes, samples, charts(growths)
    )


if __name__ == "__main__":
    benchmark("growth", "Growth", QUESTION, measure)
