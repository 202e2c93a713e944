"""What is paid before anything is done: the import, the command, and one reading of the memory.

Each start is a process of its own, in turns with a Python that does nothing; what is slow has turns of
its own.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable

from harness import Cell, Findings, Goal, Table, benchmark, interleaved, say, seconds_of

import autobatch

QUESTION = "How long do the import, the command's help and a reading of the memory take?"
MOST_MS = 100
MOST_READING_US = 1_000
CODE = {
    "Python alone": "pass",
    "import autobatch": "import autobatch",
    "autobatch --help": "from autobatch.cli.main import main; main(['--help'])",
    "import numpy": "import numpy",
    "import keras": "import keras",
}
OURS = ("import autobatch", "autobatch --help")
HEAVY = ("import keras",)


def starting(code: str) -> Callable[[], float]:
    return lambda: seconds_of(lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True))


def starts(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each start, turn by turn; what is slow has fewer turns."""
    say("starting Python")
    light = {name: starting(code) for name, code in CODE.items() if name not in HEAVY}
    heavy = {name: starting(CODE[name]) for name in HEAVY}
    interleaved(light, 1)
    return interleaved(light, 5 if args.quick else 25) | interleaved(heavy, 1 if args.quick else 5)


def readings(times: int = 200) -> list[float]:
    autobatch.read_memory()
    return [seconds_of(autobatch.read_memory) for _ in range(times)]


def row(name: str, samples: list[float], bare_s: float) -> list[Cell]:
    middle = statistics.median(samples)
    return [name, *(round(value * 1e3, 1) for value in (middle, min(samples), max(samples), middle - bare_s))]


def measure(args: argparse.Namespace) -> Findings:
    seconds, read_s = starts(args), readings()
    bare_s = statistics.median(seconds["Python alone"])
    columns = ("process", "ms", "fastest", "slowest", "beyond Python alone")
    rows = [row(name, seconds[name], bare_s) for name in CODE]
    slowest_ms = max(statistics.median(seconds[name]) for name in OURS) * 1e3
    reading_us = statistics.median(read_s) * 1e6
    goals = [
        Goal(f"import and --help under {MOST_MS} ms", slowest_ms < MOST_MS, f"{slowest_ms:.0f} ms, Python included"),
        Goal(f"a reading under {MOST_READING_US:,} µs", reading_us < MOST_READING_US, f"{reading_us:.0f} µs"),
    ]
    quartiles = [round(value * 1e6) for value in statistics.quantiles(read_s, n=4)]
    reading = Table("A reading of the memory, µs", ("median", "quartiles"), [[round(reading_us), f"{quartiles}"]])
    return Findings([Table("Starts", columns, rows), reading], goals, [], {"starts_s": seconds, "readings_s": read_s})


if __name__ == "__main__":
    benchmark("startup", "Start-up", QUESTION, measure)
