"""Prediction: how far the peak model's answer is off for sizes that have not been run.

Peaks of a ladder of sizes are measured once for each model, in a process of its own with room to spare. Then the model
is asked, as a search or a training asks it: fitted on the sizes up to some size, what does one of 1.25 to 8 times that
size need? What is bounded is told apart from what is predicted: a search goes by the bound.
"""

import argparse
import statistics
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import Chart, Findings, Goal, Table, benchmark, say
from support.hard_budget import MIB, HardBudget
from support.models import NETS
from tooling.results import read_samples

from autobatch.memory.budget import DEFAULT_RESERVE
from autobatch.memory.peak_model import AllocationProfile
from autobatch.probing.peak_bound import PeakBound

ROOM_MIB = 12_000
SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
QUICK = ("transformer", "MobileNetV2")
LARGER = {"tiny conv net": 16, "small conv net": 2}  # so many times the sizes, where a sample takes little
FEWEST, FARTHEST = 2, 8.0
PUBLISHED = "Published: DNNMem 14 to 16 % mean, LLMem 3 % mean, VeritasEst 5.5 % median, xMem about 4 % median."


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a model."""

    peaks: list[tuple[int, int]]  # sizes and their peaks in bytes, above what the model holds
    profile: AllocationProfile | None  # what a step asks for at any size, from recordings of the two smallest


def peaks_of(net: str) -> Measured:
    with HardBudget(net, ROOM_MIB) as budget:
        tried = [budget.attempt(size * LARGER.get(net, 1)) for size in SIZES]
        peaks = [(one.size, one.peak_bytes - budget.base_bytes) for one in tried if one.ran and one.peak_bytes]
        return Measured(peaks, AllocationProfile.from_list(tried[-1].profile) if tried[-1].profile else None)


def predictions(measured: Measured) -> list[dict[str, Any]]:
    """What was predicted of each size from smaller ones, beside what was measured."""
    made, points = [], measured.peaks
    for known in range(FEWEST, len(points)):
        bound = PeakBound.of(points[:known], measured.profile)
        for size, peak in points[known:]:
            times = size / points[known - 1][0]
            if times <= FARTHEST:
                made.append(
                    {
                        "largest_known": points[known - 1][0],
                        "size": size,
                        "times": times,
                        "peak_bytes": peak,
                        "predicted_bytes": bound.predict(size),
                        "line_bytes": bound.model.predict(size),
                        "bound_bytes": bound.upper(size),
                    }
                )
    return made


def errors(made: list[dict[str, Any]], what: str = "predicted_bytes") -> list[float]:
    """Relative errors, below zero where too little was predicted."""
    return [one[what] / one["peak_bytes"] - 1 for one in made]


def _beyond(values: list[float]) -> float:
    """The share that was under-estimated by more than the reserve."""
    return sum(value < -DEFAULT_RESERVE.fraction for value in values) / len(values)


def row_of(name: str, made: list[dict[str, Any]]) -> list[Any]:
    signed = errors(made)
    bounded = errors(made, "bound_bytes")
    return [
        name,
        len(made),
        f"{statistics.median(map(abs, signed)):.1%}",
        f"{statistics.median(signed):+.1%}",
        f"{min(signed):+.1%} to {max(signed):+.1%}",
        f"{sum(value < 0 for value in signed) / len(signed):.0%}",
        f"{_beyond(signed):.0%}",
        f"{sum(value < 0 for value in bounded) / len(bounded):.0%}",
        f"{_beyond(bounded):.0%}",
    ]


COLUMNS = (
    "model",
    "predictions",
    "median error",
    "signed",
    "from to",
    "too low",
    "by more than 8 %",
    "bound too low",
    "by more than 8 % (bound)",
)
RANGES = (1.0, 1.5, 2.0, 4.0, FARTHEST)


def earlier(result: Path) -> dict[str, Measured]:
    samples = read_samples(result)

    def read(of: dict[str, Any]) -> Measured:
        peaks = [(size, peak) for size, peak in of["peaks"]]
        return Measured(peaks, AllocationProfile.from_list(of["profile"]) if of["profile"] else None)

    return {net: read(of) for net, of in samples.items()}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peaks", type=Path, help="an earlier result: predict what that has measured")


def measure(args: argparse.Namespace) -> Findings:
    kept = earlier(args.peaks) if args.peaks else {}
    measured = {}
    for net in QUICK if args.quick else NETS:
        measured[net] = kept.get(net) or peaks_of(net)
        say(f"{net}: {', '.join(f'{size}: {peak / MIB:.0f} MiB' for size, peak in measured[net].peaks)}")
    made = {net: predictions(of) for net, of in measured.items()}
    everything = [one for several in made.values() for one in several]
    by_model = Table("By model", COLUMNS, [row_of(net, several) for net, several in made.items()])
    by_distance = Table(
        "By distance: so many times the largest size that was known",
        ("times", *COLUMNS[1:]),
        [
            row_of(f"{low:g} to {high:g}", [one for one in everything if low < one["times"] <= high])
            for low, high in pairwise(RANGES)
        ],
    )
    off, beyond = statistics.median(map(abs, errors(everything))), _beyond(errors(everything, "bound_bytes"))
    below = _beyond(errors(everything))
    goals = [
        Goal("median error under 2 %", off < 0.02, f"{off:.1%} over {len(everything)} predictions"),
        Goal("no prediction too low by more than the reserve of 8 %", below == 0, f"{below:.1%} were"),
        Goal("no bound, which the search goes by, too low by more than that", beyond == 0, f"{beyond:.1%} were"),
    ]
    notes = [PUBLISHED, "Others predict without running anything; here a few small sizes have been run before."]
    chart = Chart(
        "Peaks by size",
        "samples",
        "MiB",
        {net: [(size, round(peak / MIB, 1)) for size, peak in of.peaks] for net, of in measured.items()},
        log_x=True,
        log_y=True,
    )
    samples = {
        net: {"peaks": of.peaks, "profile": of.profile.to_list() if of.profile else [], "predictions": made[net]}
        for net, of in measured.items()
    }
    return Findings([by_model, by_distance], goals, notes, samples, [chart])


if __name__ == "__main__":
    benchmark(
        "prediction", "Prediction", "How far is the peak model off for sizes that were not run?", measure, options
    )
