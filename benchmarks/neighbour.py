"""What becomes of a training when a neighbour takes half of its memory and gives it back, at several rates and seeds.

Both are in one control group with a hard limit that the training fills to about 80 %; the kernel kills inside it. Needs
root and memory control groups. Beside autobatch the same training is run by plain Keras at the same size.
`python benchmarks/neighbour.py --seeds 5 --json results.json --picture docs/neighbour.svg` prints a table, keeps what
happened, and draws the first run at 150 MiB/s (it needs matplotlib: `pip install 'keras-autobatch[benchmarks]'`).
"""

import argparse
import json
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from groups import kills, memory_group
from neighbour_scene import MIB, Played, play

NET, LIMIT_MIB = "MobileNetV2", 2400
RATES = (50, 150, 300)


def one(folder: Path, trainer: str, allocator: str, rate: int, seed: int, limit_mib: int = LIMIT_MIB) -> dict[str, Any]:
    """One run, and what is to be told of it; the neighbour takes half of the limit."""
    with memory_group(limit_mib * MIB) as group:
        played = play(
            folder,
            group=group,
            net=NET,
            trainer=trainer,
            seed=seed,
            rate_mib_s=rate,
            amount_mib=limit_mib // 2,
            allocator=allocator,
            deadline_s=400,
        )
        killed = kills(group)
    facts = {"trainer": trainer, "allocator": allocator, "rate_mib_s": rate, "seed": seed, "killed": killed}
    facts["limit_mib"] = limit_mib
    facts |= {"trainer_status": played.trainer, "neighbour_status": played.neighbour, "micro_batches": played.micros}
    return facts | {
        "updates_per_s": speeds(played),
        "events": played.events,
        "neighbour": played.usage,
        "group": played.group,
    }


def speeds(played: Played) -> dict[str, float]:
    """Updates per second before the neighbour came, and from then until it had gone."""
    updates = [event["at_s"] for event in played.events if event["kind"] == "update"]
    if not played.usage or len(updates) < 3:
        return {}
    came, left = played.usage[0][0], played.usage[-1][0]
    gaps = [(start, stop - start) for start, stop in pairwise(updates)]
    parts = {
        "before": [gap for at, gap in gaps if at < came],
        "meanwhile": [gap for at, gap in gaps if came <= at < left],
    }
    return {name: 1 / statistics.median(part) for name, part in parts.items() if part}


def told(run: dict[str, Any]) -> str:
    fate = "lives" if run["trainer_status"] == 0 else f"dies ({run['trainer_status']})"
    other = "lives" if run["neighbour_status"] == 0 else f"dies ({run['neighbour_status']})"
    who = f"{run['trainer']}, {run['allocator']}"
    sizes = " ".join(map(str, run["micro_batches"]))
    speed = " -> ".join(f"{value:.2f}" for value in run["updates_per_s"].values())
    return f"{who:<18} {run['rate_mib_s']:>5} {run['seed']:>4}  {fate:<11} {other:<11} {speed:<13} {sizes}"


def stacked(run: dict[str, Any], start: float) -> tuple[list[float], ...]:
    """Seconds, what the training holds then, and what both hold, in GiB."""
    others = run["neighbour"]

    def held_by_the_neighbour(moment: float) -> float:
        return max((pair for pair in others if pair[0] <= moment), default=(0.0, 0))[1] / 2**30

    moments = [moment for moment, _ in run["group"] if moment > start - 2]
    both = [held / 2**30 for moment, held in run["group"] if moment > start - 2]
    ours = [max(0.0, total - held_by_the_neighbour(at)) for at, total in zip(moments, both, strict=True)]
    return [moment - start for moment in moments], ours, both


def draw(run: dict[str, Any], place: Path) -> None:
    """The memory of both over time, and the size of the micro-batches."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "autobatch"
    from matplotlib import pyplot as plt

    start = next(event["at_s"] for event in run["events"] if event["kind"] == "update")
    seen = [event for event in run["events"] if event["kind"] == "seen" and event["phase"] == "training"]
    at = [event["at_s"] - start for event in seen]
    figure, (memory, size) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 4.6), height_ratios=(3, 1.4), layout="constrained"
    )
    limit_gib = run["limit_mib"] / 1024
    memory.axhline(limit_gib, color="#b3261e", linewidth=1.2)
    memory.text(at[0], limit_gib, " limit of the control group", color="#b3261e", va="bottom", fontsize=9)
    moments, ours, both = stacked(run, start)
    memory.fill_between(moments, ours, step="post", color="#1a5fb4", alpha=0.75, linewidth=0, label="the training")
    memory.fill_between(
        moments, ours, both, step="post", color="#e66100", alpha=0.75, linewidth=0, label="its neighbour, on top"
    )
    memory.set(ylabel="GiB of their own", ylim=(0, limit_gib * 1.2))
    memory.legend(loc="upper right", frameon=False, fontsize=9, ncols=2, bbox_to_anchor=(1, 1.02))
    size.step(at, [event["micro"] for event in seen], where="post", color="#1a5fb4")
    size.set_yscale("log", base=2)
    ticks = sorted(set(run["micro_batches"]))
    size.set_yticks(ticks, map(str, ticks))
    size.minorticks_off()
    size.set(xlabel="seconds", ylabel="micro-batch")
    for axes in (memory, size):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES), help="MiB/s")
    parser.add_argument("--limit", type=int, default=LIMIT_MIB, help="of the control group, in MiB")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    runs = []
    print(
        f"{'training':<18} {'MiB/s':>5} {'seed':>4}  {'training':<11} {'neighbour':<11} {'updates/s':<13} micro-batches"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        play(folder, group=None, net=NET, trainer="autobatch", updates=3, deadline_s=400)  # has the probe done
        cases = [("autobatch", "shared", rate, seed) for rate in args.rates for seed in range(args.seeds)]
        cases += [("keras", allocator, rate, 0) for rate in args.rates for allocator in ("default", "shared")]
        for case in cases:
            runs.append(one(folder, *case, args.limit))
            print(told(runs[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(runs, indent=1), encoding="utf-8")
    if args.picture:
        ours = [run for run in runs if run["trainer"] == "autobatch"]
        draw(next((run for run in ours if run["rate_mib_s"] == 150), ours[0]), args.picture)


if __name__ == "__main__":
    main()
