"""A real out-of-memory is rolled back: the weights are those of a training that never ran out, bit for bit.

The training of `tests/support/rollback_scene.py` in a process whose memory on the device is limited, once with each of
TensorFlow's allocators; `cuda_malloc_async` keeps to no limit, so there the rest of the GPU is taken.
`python benchmarks/gpu_check/rollback.py --stage cpu` shows the same on a CPU.
"""

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check.stage import add_stage
from harness import Findings, Goal, Table, benchmark, say
from rollback_scene import LIMIT_MIB, SAMPLES, play
from support.hard_budget import Allocator

ALLOCATORS: tuple[Allocator, ...] = ("bfc", "cuda_malloc_async")
Played = Mapping[str, Any]


def verdict(played: Mapping[str, Played]) -> list[Goal]:
    """What was aimed at, over what was played with each allocator."""

    def goal(text: str, met: Mapping[str, bool], said: Mapping[str, str]) -> Goal:
        measured = "; ".join(f"{name}: {words}" for name, words in said.items())
        return Goal(text, all(met.values()) if met else None, measured or "nothing was played")

    trained = {name: sum(map(sum, one["cuts"])) for name, one in played.items()}
    fell = {name: [f"{before} to {after}" for before, after in one["decisions"]] for name, one in played.items()}
    off = {name: one["differences"] for name, one in played.items()}
    return [
        goal(
            "memory really runs out on the device, and the micro-batch falls",
            {name: bool(one) for name, one in fell.items()},
            {name: ", ".join(one) or "nothing ran out" for name, one in fell.items()},
        ),
        goal(
            "weights, averages, seeds, metrics and optimizer are those of the undisturbed training, bit for bit",
            # Without anything that ran out, or with other cuts, being equal would tell nothing.
            {name: bool(fell[name]) and one["same_cuts"] and not off[name] for name, one in played.items()},
            {name: _said_of(one) for name, one in played.items()},
        ),
        goal(
            "the training goes on: each sample is trained once",
            {name: trained[name] == SAMPLES and math.isfinite(one["loss"]) for name, one in played.items()},
            {name: f"{trained[name]} of {SAMPLES} samples, loss {one['loss']:.4f}" for name, one in played.items()},
        ),
    ]


def _said_of(one: Played) -> str:
    if not one["same_cuts"]:
        return "not comparable: the undisturbed training was cut otherwise"
    return f"{len(one['differences'])} differ" + "".join(f", {name}" for name in one["differences"][:3])


def table_of(played: Mapping[str, Played]) -> Table:
    rows: list[list[Any]] = [
        [name, ", ".join(_cut_of(cut) for cut in one["cuts"]), len(one["messages"]), _first_of(one["messages"])]
        for name, one in played.items()
    ]
    return Table("Rolled back", ("allocator", "micro-batches of each update", "ran out", "in its words"), rows)


def _cut_of(cut: list[int]) -> str:
    return " + ".join(map(str, cut))


def _first_of(messages: list[str]) -> str | None:
    lines = messages[0].splitlines() if messages else []
    return next((line for line in lines if "llocat" in line or "memory" in line), lines[0] if lines else None)


def measure(args: argparse.Namespace) -> Findings:
    played: dict[str, Played] = {}
    for allocator in ALLOCATORS[:1] if args.stage == "cpu" else ALLOCATORS:
        played[allocator] = play(args.stage, allocator, args.limit_mib)
        say(f"{allocator}: {played[allocator]['decisions']}")
    notes = [
        f"The limit is {args.limit_mib} MiB; operations are deterministic, and XLA compiles nothing.",
        "The undisturbed training is given the micro-batches that came of the other, so that both add up in one order.",
    ]
    return Findings([table_of(played)], verdict(played), notes, played)


def options(parser: argparse.ArgumentParser) -> None:
    add_stage(parser)
    parser.add_argument("--limit-mib", type=int, default=LIMIT_MIB, help="what the training may take of the device")


if __name__ == "__main__":
    benchmark(
        "gpu_check/rollback", "Rolled back", "Does a real out-of-memory leave a trace in the model?", measure, options
    )
