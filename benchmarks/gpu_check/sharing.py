"""Whether the bytes come back after a shrink, within one micro-batch, as a second process sees it.

A training that shares its memory and fills a GPU is joined by a neighbour that wants all that is free and part of what
the training holds. What the training holds is read every few milliseconds from here. Where the driver books nothing on
it (a container whose numbers of processes are others), it is what is taken of the GPU, less what was taken before, and
less what the neighbour says it holds: too much, if anything.
"""

import argparse
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check import stage as stages
from gpu_check.stage import MIB, Played, over_free, play
from harness import Cell, Chart, Findings, Goal, Table, benchmark, say

QUESTION = "Do the bytes come back after a shrink, within one micro-batch, as a second process sees it?"
GOAL = "after a shrink, at least 80 % of what the smaller micro-batch needs less is back within one micro-batch"
SHARE = 0.8
_BEFORE_S = 2.0

Curve = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Shrink:
    """A shrink, as the training told it.

    Attributes:
        since_s: When micro-batches became as large as they were before: what was held earlier was for larger ones.
    """

    at_s: float  # when it had been decided and what was free was given back
    before: int  # samples in a micro-batch until then
    after: int  # the same from then on
    micro_s: float  # how long one micro-batch took afterwards
    expected_bytes: int  # what a micro-batch of the one size needs more than of the other
    since_s: float = float("-inf")


def verdict(curve: Curve, shrink: Shrink) -> tuple[bool | None, str]:
    """Whether enough came back in time, and in words; `None` where that was not seen.

    Example:
        >>> one = Shrink(1.0, 8, 4, 0.1, 400)
        >>> verdict([(0.9, 1000), (1.02, 600), (1.08, 600), (1.2, 600)], one)[0]
        True
        >>> verdict([(0.9, 1000), (1.05, 1000), (1.09, 1000), (1.11, 600)], one)[0]
        False
        >>> verdict([(0.9, 1000), (1.2, 600)], one)[0] is None
        True
    """
    since_s, end_s = shrink.at_s - _BEFORE_S, shrink.at_s + shrink.micro_s
    before = [held for at_s, held in curve if max(since_s, shrink.since_s) <= at_s <= shrink.at_s]
    within = [held for at_s, held in curve if shrink.at_s < at_s <= end_s]
    if not before or not max(before):
        return None, "nobody tells what the training holds"
    if not within:
        return None, f"no look fell into the micro-batch of {1000 * shrink.micro_s:.0f} ms after it"
    wanted = SHARE * shrink.expected_bytes
    back = max(before) - min(within)
    if back >= wanted:
        return True, f"{back / MIB:,.0f} of {shrink.expected_bytes / MIB:,.0f} MiB"
    late = next((at_s for at_s, held in curve if at_s > end_s and max(before) - held >= wanted), None)
    later = "not at all" if late is None else f"the rest {1000 * (late - end_s):.0f} ms too late"
    return False, f"{back / MIB:,.0f} of {shrink.expected_bytes / MIB:,.0f} MiB, {later}"


def shrinks_of(played: Played, resource: str) -> list[Shrink]:
    """The shrinks, with what is to come back by each; none where it is not known what a sample adds."""
    per_sample = next((event["per_sample"].get(resource) for event in played.of("models")), None)
    updates = [event["at_s"] for event in played.of("update")]
    ends = played.of("end")
    if not per_sample or not ends or len(updates) < 2:
        return []
    effective = ends[-1]["effective_batch_size"]
    quickest_s = min(later - sooner for sooner, later in pairwise(updates)) / effective
    changes = played.decisions
    found = []
    for former, change, following in zip([None, *changes[:-1]], changes, [*changes[1:], None], strict=True):
        if change["after"] >= change["before"]:
            continue
        until_s = float("inf") if following is None else following["at_s"]
        inside = [at_s for at_s in updates if change["at_s"] < at_s < until_s]
        # The update in which it shrank is one of mixed sizes: the gaps after it are of the new size alone.
        gaps = [later - sooner for sooner, later in pairwise(inside)]
        # Where it shrank again at once, a sample has the least time that one ever took: if anything, too little.
        micro_s = min(gaps) / -(-effective // change["after"]) if gaps else quickest_s * change["after"]
        expected = int(per_sample * (change["before"] - change["after"]))
        since_s = float("-inf") if former is None else former["at_s"]
        found.append(Shrink(change["at_s"], change["before"], change["after"], micro_s, expected, since_s))
    return found


def curve_of(played: Played) -> tuple[list[tuple[float, int]], str]:
    own = [(one.at_s, one.held.get(played.pid, 0)) for one in played.samples]
    if any(held for _, held in own) or not played.samples:
        return own, "booked on its process"
    most_free = max(one.free_bytes for one in played.samples)
    told = [(event["at_s"], event["held"]) for events in played.held for event in events if "held" in event]
    return [
        (one.at_s, max(0, most_free - one.free_bytes - _at(told, one.at_s))) for one in played.samples
    ], "all that is taken, less what the neighbour says"


def _at(told: Sequence[tuple[float, int]], moment: float) -> int:
    index = bisect_right([at_s for at_s, _ in told], moment)
    return told[index - 1][1] if index else 0


def rows_of(name: str, played: Played, curve: Curve, resource: str) -> tuple[list[list[Cell]], list[bool | None]]:
    rows: list[list[Cell]] = []
    verdicts = []
    for one in shrinks_of(played, resource):
        met, said = verdict(curve, one)
        verdicts.append(met)
        rows.append([name, f"{one.before} to {one.after}", round(1000 * one.micro_s, 1), said, _word(met)])
    return rows, verdicts


def overall(verdicts: Sequence[bool | None]) -> bool | None:
    """All of those that were seen; `None` where none was.

    Example:
        >>> overall([True, None]), overall([True, False]), overall([None])
        (True, False, None)
    """
    seen = [one for one in verdicts if one is not None]
    return all(seen) if seen else None


def chart_of(played: Played, curve: Curve) -> Chart:
    start_s = curve[0][0] if curve else 0.0
    step = max(1, len(curve) // 400)
    held = [(event["at_s"], event["held"]) for events in played.held for event in events if "held" in event]
    series = {
        "training": [(round(at_s - start_s, 3), round(held_bytes / MIB, 1)) for at_s, held_bytes in curve[::step]],
        "neighbour": [(round(at_s - start_s, 3), round(taken / MIB, 1)) for at_s, taken in held],
    }
    return Chart("Held while a neighbour comes and goes", "seconds", "MiB", series)


def measure(args: argparse.Namespace) -> Findings:
    with stages.opened(args.stage, 2400) as stage:
        total = stage.total_bytes()
        size = 32 if args.stage == "cpu" else 256
        rate = total // (8 if args.stage == "cpu" else 4)
        sides = {"shared": True} | ({} if args.quick or args.stage == "cpu" else {"TensorFlow's default": False})
        results: dict[str, Any] = {}
        for name, shared in sides.items():
            say(f"{name}: a training of {size}, and a neighbour")
            hold_s = 0.5 if args.quick else 4.0
            neighbour = over_free(0.15 if args.stage == "cpu" else 0.5, rate, hold_s)
            results[name] = play(stage, [neighbour], size=size, shared=shared, calibrated=True, wait_for_growth=False)
        return findings(results, stage.resource)


def findings(results: dict[str, Played], resource: str) -> Findings:
    """What is to be told of the sides that were played; the goal is about the first."""
    rows, charts, notes, verdicts = [], [], [], {}
    for name, played in results.items():
        curve, source = curve_of(played)
        more, verdicts[name] = rows_of(name, played, curve, resource)
        rows += more
        charts.append(chart_of(played, curve))
        ended = f"the training ended with status {played.trainer}, the neighbour with {played.neighbours}"
        notes.append(f"{name}: {ended}; what the training holds is {source}, {len(curve)} looks.")
        if played.trainer != 0:
            notes.append(f"{name}: {played.stderr[-300:]}")
    first = next(iter(results))
    met = overall(verdicts[first])
    seen = [one for one in verdicts[first] if one is not None]
    measured = f"{sum(seen)} of {len(seen)} shrinks" if seen else "no shrink was seen"
    columns = ("allocator", "micro-batch", "ms a micro-batch", "back by then", "verdict")
    table = Table("What a shrink gives back", columns, rows)
    samples = {name: {"events": one.events, "neighbours": one.held} for name, one in results.items()}
    return Findings([table], [Goal(GOAL, met, measured)], notes, samples, charts[:1])


def _word(met: bool | None) -> str:  # noqa: FBT001 - the three answers to one question
    return {True: "in time", False: "not in time", None: "not seen"}[met]


if __name__ == "__main__":
    benchmark("gpu_check/sharing", "Memory given back", QUESTION, measure, stages.options)
