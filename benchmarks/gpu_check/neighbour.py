"""What becomes of a training when a neighbour grabs memory of its GPU: it shrinks or rolls back, and nothing is lost.

The neighbour wants all that is free and half of what the training holds, at several rates; what it does not get it asks
for again. A run that does not shrink in time runs out of memory, which is rolled back: both are counted.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check import stage as stages
from gpu_check.stage import MIB, Played, over_free, play
from harness import Cell, Findings, Goal, Table, benchmark, say
from support.adapting_scene import IMAGES

QUESTION = "Does a training outlive a neighbour that grabs memory, with every sample used once an epoch?"
# What ran out earlier is a reason to shrink, too: that it "ran out of device memory before".
_RAN_OUT = re.compile("a micro-batch of .* ran out of")


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of one play."""

    lived: bool  # whether the training ended by itself, when it was told to
    neighbour: bool  # whether the neighbour did
    shrank: int  # how often it shrank before anything had run out
    rolled_back: int  # how often something had run out
    grew: bool | None  # whether it was back at its size in the end, `None` where it never shrank
    epochs: int  # how many epochs had ended
    whole: int  # in how many of them every sample was used exactly once


def told(played: Played) -> Told:
    """What is to be said of a play.

    Example:
        >>> one = Played(0, [0], [{"kind": "changed", "before": 8, "after": 4, "reason": "8 samples need up to ..."}])
        >>> (told(one).lived, told(one).shrank, told(one).grew)
        (True, 1, False)
    """
    changes = played.decisions
    falls = [change for change in changes if change["after"] < change["before"]]
    out = [change for change in falls if _RAN_OUT.match(change["reason"])]
    epochs = [event["used_once"] for event in played.of("epoch")]
    grew = changes[-1]["after"] >= changes[0]["before"] if falls else None
    whole = sum(used == IMAGES for used in epochs)
    neighbour = bool(played.neighbours) and all(status == 0 for status in played.neighbours)
    return Told(played.trainer == 0, neighbour, len(falls) - len(out), len(out), grew, len(epochs), whole)


def goals_of(plays: Sequence[Told]) -> list[Goal]:
    count = len(plays)
    fell = [one for one in plays if one.shrank + one.rolled_back]
    epochs = sum(one.epochs for one in plays)
    whole = sum(one.whole for one in plays)
    spared = sum(one.neighbour for one in plays)
    grew = sum(one.grew is True for one in plays)
    return [
        Goal("the training lives", all(one.lived for one in plays), f"{sum(one.lived for one in plays)} of {count}"),
        Goal("the neighbour lives", spared == count, f"{spared} of {count}"),
        Goal("the training makes room", len(fell) == count, f"{len(fell)} of {count}"),
        Goal(
            "each sample is used once an epoch",
            whole == epochs if epochs else None,
            f"{whole} of {epochs} epochs" if epochs else "no epoch had ended",
        ),
        Goal(
            "it is back at its size once the neighbour has gone",
            grew == len(fell) if fell else None,
            f"{grew} of {len(fell)}",
        ),
    ]


def measure(args: argparse.Namespace) -> Findings:
    with stages.opened(args.stage, 2400) as stage:
        total = stage.total_bytes()
        shares = (16,) if args.stage == "cpu" else (8,) if args.quick else (64, 16, 4)
        size = 32 if args.stage == "cpu" else 256
        plays: list[tuple[int, Played]] = []
        for part in shares:
            rate = total // part
            say(f"a neighbour that takes {rate / MIB:,.0f} MiB a second")
            neighbour = over_free(0.15 if args.stage == "cpu" else 0.5, rate, 1.0 if args.quick else 4.0)
            plays.append((rate, play(stage, [neighbour], size=size)))
    rows = [row_of(rate, one, told(one)) for rate, one in plays]
    columns = ("MiB/s", "training", "neighbour", "shrank", "rolled back", "back at its size", "whole epochs")
    notes = [f"{rate / MIB:,.0f} MiB/s: {one.stderr[-300:]}" for rate, one in plays if one.trainer != 0]
    samples = [{"rate": rate, "events": one.events, "neighbours": one.held} for rate, one in plays]
    return Findings([Table("A neighbour", columns, rows)], goals_of([told(one) for _, one in plays]), notes, samples)


def row_of(rate: int, played: Played, one: Told) -> list[Cell]:
    statuses = f"died ({played.trainer}, {played.neighbours})"
    ends = ["lived" if lived else statuses for lived in (one.lived, one.neighbour)]
    grew = None if one.grew is None else "yes" if one.grew else "no"
    return [round(rate / MIB), *ends, one.shrank, one.rolled_back, grew, f"{one.whole} of {one.epochs}"]


if __name__ == "__main__":
    benchmark("gpu_check/neighbour", "A neighbour that grabs memory", QUESTION, measure, stages.options)
