"""Out of memory twenty times in a row: a training is as fast afterwards, and as much fits.

Each time an update does not fit, is rolled back, and is done in smaller micro-batches (`cycles_scene.py`), in one
process whose memory on the device is limited. TensorFlow's pool waits ten seconds before it gives up, each time.
`python benchmarks/gpu_check/cycles.py --stage cpu --quick` shows that the check works, with a CPU.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capped import MIB, Device, told_by
from harness import Findings, Goal, Table, benchmark, ratio, say

from gpu_check.words import add_stage

LEAST_SPEED = 0.98
_SCENE = str(Path(__file__).with_name("cycles_scene.py"))
Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        cycles: How often memory runs out.
        turns: How often the speed is taken, before and after.
        updates: Updates in one of these turns.
    """

    cycles: int
    turns: int
    updates: int

    def words(self) -> list[str]:
        """As the scene takes it."""
        return ["--cycles", str(self.cycles), "--turns", str(self.turns), "--updates", str(self.updates)]


FULL, QUICK = Effort(20, 10, 10), Effort(3, 5, 5)
# A CPU's speed, with whatever else it does, says nothing of a GPU's.
LOOK = Effort(2, 2, 2)
PLACES: dict[Device, tuple[str, int]] = {"gpu": ("MobileNetV2 at 224", 4096), "cpu": ("tiny conv net", 300)}


def verdict(told: Told, cycles: int, device: Device) -> list[Goal]:
    """What was aimed at.

    Args:
        told: What the scene has told.
        cycles: How often memory was to run out.
        device: Where; the speed counts on a GPU alone.
    """
    before, after = told["before"], told["after"]
    ran_out = sum(bool(one["fell"]) for one in told["cycles"])
    calm = sum(one["calm"] for one in told["cycles"])
    speed = ratio(after["speeds"], before["speeds"])
    held = [one["held"] - before["held"] for one in told["cycles"]]
    return [
        Goal(
            f"memory runs out {cycles} times in a row, and what fits runs after each",
            ran_out == calm == cycles,
            f"{ran_out} ran out, {calm} updates that fit ran after it",
        ),
        Goal(
            "as much fits afterwards, to one step of the sizes that were tried",
            _same_size(told["near"], before["largest"], after["largest"]),
            f"{_size(before['largest'])} before, {_size(after['largest'])} after, of {_sizes(told['near'])}",
        ),
        Goal(
            f"at least {LEAST_SPEED:.0%} as fast afterwards",
            speed.middle >= LEAST_SPEED if device == "gpu" else None,
            f"{speed} of the samples a second before",
        ),
        Goal(
            "nothing more is held between updates",
            max([*held, after["held"] - before["held"]]) <= 0,
            f"{before['held'] / MIB:,.2f} MiB before, {after['held'] / MIB:,.2f} MiB after",
        ),
    ]


def _same_size(sizes: list[int], before: int | None, after: int | None) -> bool | None:
    """Whether the second is at most one place behind the first; where a pool is cut up, the last places are luck."""
    if before is None:
        return None
    return after is not None and sizes.index(after) <= sizes.index(before) + 1


def _size(size: int | None) -> str:
    return "none" if size is None else f"{size:,} samples"


def _sizes(sizes: list[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)


def table_of(told: Told, title: str) -> Table:
    """A cycle a line."""
    rows: list[list[Any]] = [
        [
            number,
            ", ".join(f"{before:,} to {after:,}" for before, after in one["fell"]) or None,
            round(one["seconds"], 1),
            round(one["held"] / MIB, 2),
        ]
        for number, one in enumerate(told["cycles"], 1)
    ]
    return Table(title, ("cycle", "micro-batch", "s", "held after it, MiB"), rows)


def measure(args: argparse.Namespace) -> Findings:
    """Has the scene played, and judges it."""
    usual_net, usual_mib = PLACES[args.stage]
    net, limit_mib = args.net or usual_net, args.limit_mib or usual_mib
    effort = (LOOK if args.stage == "cpu" else QUICK) if args.quick else FULL
    say(f"{net} within {limit_mib} MiB: {effort.cycles} cycles of ten seconds or more")
    told = told_by(_SCENE, ["--net", net, *effort.words()], args.stage, limit_mib, "bfc")
    notes = [
        f"An update is of {told['too_large']:,} samples, for a quarter more than the limit.",
        f"The speed is that of updates of {told['half']:,} samples, for half of it.",
        "The seconds of a cycle are, for the most part, the ten that TensorFlow's pool waits before it gives up.",
    ]
    title = f"{net} within {limit_mib} MiB"
    return Findings([table_of(told, title)], verdict(told, effort.cycles, args.stage), notes, told)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of this check."""
    add_stage(parser)
    parser.add_argument("--net", help="the model to train, by its name in models.py")
    parser.add_argument("--limit-mib", type=int, help="what the training may take of the device")


if __name__ == "__main__":
    benchmark(
        "gpu_check/cycles",
        "Out of memory, again and again",
        "Do twenty out-of-memory errors in a row cost speed or room?",
        measure,
        options,
    )
