"""What the benchmarks share: sides that take turns, ratios with their spread, a file that says where it was measured.

Machines differ, and so does what else runs on them; what holds elsewhere is a ratio of two things that were measured in
turns, within one run. So a figure here is the median of the ratios turn by turn, with its range, and the file keeps
every sample behind it.
"""

import argparse
import datetime as dt
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Before anything imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tooling.findings import (
    SCHEMA_VERSION,
    Cell,
    Chart,
    Findings,
    Goal,
    Ratio,
    Table,
    interleaved,
    lines_of,
    ratio,
    verdict,
)
from tooling.machine import machine, revision
from tooling.results import write_json
from tooling.runner import say

__all__ = [
    "SCHEMA_VERSION",
    "Cell",
    "Chart",
    "Findings",
    "Goal",
    "Ratio",
    "Table",
    "benchmark",
    "interleaved",
    "lines_of",
    "machine",
    "ratio",
    "report",
    "revision",
    "say",
    "seconds_of",
    "write_json",
]


def seconds_of(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def benchmark(
    name: str,
    title: str,
    question: str,
    measure: Callable[[argparse.Namespace], Findings],
    options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """The whole of a benchmark's program: reads its arguments, measures, prints, and writes the file."""
    parser = argparse.ArgumentParser(description=f"{title}: {question}")
    parser.add_argument("--quick", action="store_true", help="a short form, for a look")
    parser.add_argument("--json", type=Path, help="where to keep the figures and all samples")
    if options:
        options(parser)
    args = parser.parse_args()
    # Before the benchmark itself makes the machine busy, and whatever is changed in the checkout meanwhile.
    facts, commit = machine(), revision()
    began, started_at = time.perf_counter(), dt.datetime.now(dt.UTC)
    findings = measure(args)
    if args.json:
        values = {
            "schema_version": SCHEMA_VERSION,
            "benchmark": name,
            "title": title,
            "question": question,
            "quick": args.quick,
            "command": command(name, sys.argv[1:]),
            "measured_at": started_at.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - began, 1),
            "revision": commit,
            "machine": facts,
            **asdict(findings),
        }
        write_json(args.json, values)
    print("\n".join(report(findings)))


def command(name: str, words: Sequence[str]) -> str:
    """What to type to measure it again: the words it was given, but for the file to write.

    Example:
        >>> command("feeding", ["--json", "x.json", "--quick"])
        'python benchmarks/feeding.py --quick'
    """
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "--json" not in (before, word) and not word.startswith("--json=")
    ]
    return shlex.join(["python", f"benchmarks/{name}.py", *kept])


def report(findings: Findings) -> list[str]:
    goals = [f"Goal: {goal.text}: {verdict(goal.met)}; {goal.measured}" for goal in findings.goals]
    tables = [line for table in findings.tables for line in (*lines_of(table), "")]
    return [*tables, *goals, *findings.notes]
