"""The tests that need a GPU, by pytest: `python -m pytest -m gpu`; in a rehearsal they are collected and not run."""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check import stage as stages
from harness import Cell, Findings, Goal, Table, benchmark

QUESTION = "Do the tests pass that need a GPU?"
CHECKOUT = Path(__file__).resolve().parents[2]


def outcomes(report: str) -> list[tuple[str, str, str]]:
    """The name of each test, how it ended, and why, as pytest's report tells.

    Example:
        >>> outcomes('<r><testcase name="a"/><testcase name="b"><skipped message="no GPU"/></testcase></r>')
        [('a', 'passed', ''), ('b', 'skipped', 'no GPU')]
    """
    found = []
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        ends = [one for one in case if one.tag in ("failure", "error", "skipped")]
        kind = ends[0].tag if ends else "passed"
        why = (ends[0].get("message") or "") if ends else ""
        found.append((case.get("name") or "?", kind, why))
    return found


def goal(found: list[tuple[str, str, str]]) -> Goal:
    """Reached where at least one ran and none failed; skipped ones have shown nothing.

    Example:
        >>> goal([("a", "skipped", "no GPU")]).met is None
        True
    """
    ran = [kind for _, kind, _ in found if kind != "skipped"]
    passed = ran.count("passed")
    met = passed == len(ran) if ran else None
    return Goal("all tests that need a GPU pass", met, f"{passed} of {len(ran)}, {len(found) - len(ran)} skipped")


def measure(args: argparse.Namespace) -> Findings:
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/memory", "tests/step"]
    if args.stage == "cpu":
        done = subprocess.run([*words, "--collect-only"], check=False, cwd=CHECKOUT, capture_output=True, text=True)
        tests = [line for line in done.stdout.splitlines() if "::" in line]
        rows: list[list[Cell]] = [[name.rpartition("::")[2], "collected", None] for name in tests]
        return Findings([Table("Tests", ("test", "ended", "why"), rows)], [goal([])], [])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        words[-2:] = ["tests"]
        done = subprocess.run(
            [*words, f"--junitxml={report}"], check=False, cwd=CHECKOUT, capture_output=True, text=True
        )
        found = outcomes(report.read_text(encoding="utf-8")) if report.exists() else []
    rows = [[name, kind, why[:200] or None] for name, kind, why in found]
    notes = (
        [] if found else [f"pytest wrote no report (status {done.returncode}): {(done.stdout + done.stderr)[-400:]}"]
    )
    return Findings([Table("Tests", ("test", "ended", "why"), rows)], [goal(found)], notes, done.stdout[-3000:])


if __name__ == "__main__":
    benchmark("gpu_check/suite", "Tests", QUESTION, measure, stages.options)
