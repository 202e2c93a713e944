"""Two revisions beside each other: benchmarks of two checkouts in turns, and each figure of one over the other.

Each checkout has a Python of its own, in which it is installed. What is compared are the numbers in the benchmarks'
tables, by their places: heads may have been renamed in between. A ratio that a benchmark has measured itself is a
number, too; compare those rather than times where the machine is not quiet.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tooling.catalogue import ENTRIES, FOLDER, Entry
from tooling.findings import Cell, Table, lines_of, ratio
from tooling.results import write_json
from tooling.runner import look_around, problem_of, run_child, say

USUAL = ("overhead", "feeding", "rebuilding")
COLUMNS = ("benchmark", "row", "figure", "old", "new", "new / old")
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(?= |$)")

Tables = Sequence[Mapping[str, Any]]
Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, and the Python in which it is installed."""

    name: str
    checkout: Path
    python: Path

    def require_installed(self) -> None:
        """Raises `ValueError` where its Python imports another autobatch than the checkout's."""
        words = [str(self.python), "-c", "import autobatch; print(autobatch.__file__)"]
        try:
            done = subprocess.run(words, cwd="/", check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ValueError(f"{self.python} does not import autobatch: {error}") from error
        if self.checkout not in Path(done.stdout.strip()).resolve().parents:
            raise ValueError(f"{self.python} imports {done.stdout.strip()}, which is not in {self.checkout}.")

    def measure(self, entry: Entry, deadline_s: float | None = None, *, quick: bool) -> Tables | str:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            program = entry.program(self.checkout / "benchmarks")
            words = [str(self.python), str(program), "--json", str(result), *["--quick"] * quick]
            own = entry.quick_deadline_s if quick else entry.deadline_s
            problem = problem_of(run_child(words, deadline_s or own, silent=True), result)
            tables: Tables = [] if problem else json.loads(result.read_text(encoding="utf-8"))["tables"]
        return problem or tables


def number_of(cell: Cell) -> float | None:
    """The number that a cell tells, if it does.

    Example:
        >>> number_of("1,003.5 (0.98 to 1.1)"), number_of(8), number_of("4 layers"), number_of("MobileNetV2")
        (1003.5, 8.0, None, None)
    """
    if isinstance(cell, str):
        found = _NUMBER.match(cell)
        return float(found[0].replace(",", "")) if found and cell[found.end() :].strip()[:1] in ("", "(") else None
    return None if cell is None or isinstance(cell, bool) else float(cell)


def rows_of(name: str, old: Sequence[Tables], new: Sequence[Tables]) -> list[list[Cell]]:
    """A line for each figure that both sides have told in every turn, and that is not the same throughout."""
    runs = [*old, *new]
    cells = [_cells(tables) for tables in runs]
    rows: list[list[Cell]] = []
    for place in [place for place in cells[-1] if all(place in one for one in cells)]:
        values = [number_of(one[place]) for one in cells]
        known = [value for value in values if value]
        if len(known) < len(values) or len(set(known)) == 1:
            continue
        before, after = known[: len(old)], known[len(old) :]
        table, row, column = place
        label = [cell for at, cell in cells[-1].items() if at[:2] == (table, row) and _is_label(cells, at)]
        head = runs[-1][table]["columns"][column]
        figures = [float(f"{median(side):.4g}") for side in (before, after)]
        rows.append([name, ", ".join(map(str, label)), head, *figures, str(ratio(after, before))])
    return rows


def _cells(tables: Tables) -> dict[Place, Cell]:
    return {
        (number, row, column): cell
        for number, table in enumerate(tables)
        for row, cells in enumerate(table["rows"])
        for column, cell in enumerate(cells)
    }


def _is_label(cells: Sequence[Mapping[Place, Cell]], place: Place) -> bool:
    """What names a row: words and whole numbers that were the same in every run."""
    told = {one.get(place) for one in cells}
    return len(told) == 1 and isinstance(*told, int | str)


def compared(
    sides: Sequence[Side], entries: Sequence[Entry], turns: int, deadline_s: float | None = None, *, quick: bool
) -> tuple[Table, list[str]]:
    """Runs all in turns, old and new, who goes first changing; the figures, and what went wrong."""
    found: dict[str, dict[str, list[Tables | None]]] = {one.name: {side.name: [] for side in sides} for one in entries}
    problems = []
    for turn in range(turns):
        for entry in entries:
            for side in sides if turn % 2 == 0 else sides[::-1]:
                say(f"[turn {turn + 1}/{turns}] {entry.name}, {side.name}")
                told = side.measure(entry, deadline_s, quick=quick)
                if isinstance(told, str):
                    problems.append(f"{entry.name}, {side.name}, turn {turn + 1}: {told}")
                found[entry.name][side.name].append(None if isinstance(told, str) else told)
    rows = []
    for name, of in found.items():
        whole = [pair for pair in zip(*of.values(), strict=True) if None not in pair]
        if whole:
            rows += rows_of(name, *map(list, zip(*whole, strict=True)))
    return Table(f"New over old, {turns} turns of each", COLUMNS, rows), problems


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    os.environ.pop("PYTHONPATH", None)  # would bring one side's modules to the other
    old = args.old.resolve()
    sides = (
        Side("old", old, args.old_python or old / ".venv" / "bin" / "python"),
        Side("new", FOLDER.parent, Path(sys.executable)),
    )
    try:
        for side in sides:
            side.require_installed()
    except ValueError as error:
        say(str(error))
        return 2
    for sentence in look_around(first=True):
        say(f"warning: {sentence}")
    entries = [entry for entry in ENTRIES if entry.name in args.only]
    table, problems = compared(sides, entries, args.turns, args.deadline, quick=not args.full)
    print("\n".join([*lines_of(table), "", *problems]))
    if args.json:
        write_json(args.json, {"columns": table.columns, "rows": table.rows, "problems": problems})
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/compare",
        description="Runs benchmarks of another checkout and of this one in turns, and prints new over old.",
    )
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("old", type=Path, help="the other checkout")
    parser.add_argument(
        "--old-python", type=Path, metavar="PATH", help="its Python; .venv/bin/python in it if left out"
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=list(USUAL), help="run these")
    parser.add_argument("--turns", type=int, default=3, help="how often each is run on each side")
    parser.add_argument("--full", action="store_true", help="full forms, not the quick ones")
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="of each run, instead of its own")
    parser.add_argument("--json", type=Path, help="where to keep the figures, too")
    return parser
