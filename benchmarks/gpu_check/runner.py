"""The run of the checks: what is due, one after another, each in a process of its own; the file is kept after each.

A run that is killed loses the check it was in, no other; the next one goes on there. A check that fails, hangs or dies
costs no other.
"""

import argparse
import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_check import checks as real_needs
from gpu_check.checks import CHECKS, FOLDER, Check, names, select
from gpu_check.parts import DONE, FAILED, SKIPPED, TIMED_OUT, Part, compose, due, merged, part, parts_of
from tooling import pages as reporter
from tooling.catalogue import FOLDER as BENCHMARKS
from tooling.machine import machine
from tooling.results import ResultError, read_result, read_samples, write_result
from tooling.runner import INTERRUPTED, is_ready, problem_of, run_child, say

CPU_STAGE = "cpu-stage"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the checks are run."""

    out: Path  # the folder of the file
    device: str  # what the GPU is called
    stage: str = "gpu"  # `"gpu"`, or `"cpu"` for a rehearsal without one
    quick: bool = False  # whether in the quick form
    again: tuple[str, ...] = ()  # checks to run whatever is known of them
    seconds: float | None = None  # how long the run may take: nothing is begun whose deadline lies behind that
    programs: Path = FOLDER  # the folder with the programs
    grace_s: float = 10.0  # seconds that a check has to tidy up once it is told to end

    @property
    def file(self) -> Path:
        return self.out / f"{slug(self.device)}.json"


def main(
    words: Sequence[str] | None = None,
    checks: Sequence[Check] = CHECKS,
    programs: Path = FOLDER,
    look: Callable[[], dict[str, Any]] = real_needs.look,
) -> int:
    parser = _parser(checks)
    args = parser.parse_args(words)
    if args.stage == "cpu" and args.out is None:
        parser.error("--stage cpu is a rehearsal, whose result is none of a GPU: say where it goes, with --out.")
    chosen = select(checks, args.only)
    found = look()
    missing = dict(found["missing"])
    if args.stage == "cpu":
        missing = {name: why for name, why in missing.items() if name not in ("gpu", "pools")}
    device = CPU_STAGE if args.stage == "cpu" else found["device"] or "gpu"
    again = tuple(one.name for one in select(chosen, args.again)) if args.again else ()
    out = (args.out or BENCHMARKS / "gpu").resolve()
    settings = Settings(out, device, args.stage, args.quick, again, args.seconds, programs)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        parts = read_parts(settings.file)
        if args.list:
            print("\n".join(listed(chosen, parts, missing, settings)))
            return 0
        failed = run_due(chosen, checks, settings, missing)
    except ResultError as error:
        say(f"{settings.file.name}: {error}. Nothing was run: move it away to begin anew.")
        return 1
    except KeyboardInterrupt:
        say("Ended. What had been found is kept.")
        return INTERRUPTED
    if args.out is None and settings.file.exists():
        reporter.main([])
    return 1 if failed else 0


def run_due(
    chosen: Sequence[Check], checks: Sequence[Check], settings: Settings, missing: Mapping[str, str]
) -> list[str]:
    """Runs what is due of the checks that were asked for, and keeps what each has found."""
    parts, began = read_parts(settings.file), time.monotonic()
    failed: list[str] = []

    def keep(check: Check, new: Part) -> None:
        nonlocal parts
        parts = merged(parts, check.name, new)
        # A file that would hold nothing but reasons is none: without a GPU nothing is written.
        if any(one["state"] != SKIPPED for one in parts.values()):
            write_result(settings.file, compose(parts, checks, machine(), _command(settings)))

    waiting = due(chosen, parts, quick=settings.quick, again=settings.again)
    for number, check in enumerate(waiting, 1):
        why = why_not(check, missing, settings)
        if why is not None:
            say(f"[{number}/{len(waiting)}] {check.name}: skipped: {why}")
            keep(check, part(SKIPPED, quick=settings.quick, why=why))
            continue
        limit_s = check.limit_s(quick=settings.quick)
        if settings.seconds is not None and time.monotonic() - began + limit_s > settings.seconds:
            say(f"[{number}/{len(waiting)}] {check.name}: not begun: it may take {limit_s:.0f} s, more than is left")
            continue
        say(f"[{number}/{len(waiting)}] {check.name}: {check.asks}")
        new = run_one(check, settings)
        if new["state"] != DONE:
            failed.append(check.name)
        say(f"  {new['state']}{': ' if new['why'] else ''}{new['why']}; {new['seconds']:.0f} s")
        keep(check, new)
    if settings.file.exists():
        say(f"What was found is in {settings.file}.")
    return failed


def run_one(check: Check, settings: Settings) -> dict[str, Any]:
    settings.out.mkdir(parents=True, exist_ok=True)
    fresh = settings.out / f".{check.name}.fresh"
    fresh.unlink(missing_ok=True)
    words = [sys.executable, str(check.path(settings.programs).resolve()), "--json", str(fresh), *check.words]
    words += ["--stage", settings.stage, *["--quick"] * settings.quick]
    try:
        ended = run_child(words, check.limit_s(quick=settings.quick), settings.grace_s)
        problem, result = problem_of(ended, fresh), None
        if ended.status == 0 and fresh.exists():
            result, unreadable = _read(fresh)
            problem = unreadable or problem
    finally:
        fresh.unlink(missing_ok=True)
    state = TIMED_OUT if ended.status is None else FAILED if problem else DONE
    return part(
        state, quick=settings.quick, why=problem or "", seconds=ended.seconds, result=result if state == DONE else None
    )


def why_not(check: Check, missing: Mapping[str, str], settings: Settings) -> str | None:
    """Why a check cannot be run here, `None` if it can."""
    if not is_ready(check.path(settings.programs)):
        return f"there is no program {check.program}.py yet"
    return next((missing[need] for need in check.needs if need in missing), None)


def listed(
    chosen: Iterable[Check], parts: Mapping[str, Part], missing: Mapping[str, str], settings: Settings
) -> list[str]:
    """A line for each check: what it asks, what is known of it, and why it cannot be run here."""
    lines = []
    for check in chosen:
        known = parts.get(check.name)
        state = "not run" if known is None else f"{known['state']}, {'quick' if known['quick'] else 'full'}"
        why = why_not(check, missing, settings)
        lines.append(f"{check.name}: {check.asks} [{state}]{f' cannot be run here: {why}' if why else ''}")
    return lines


def read_parts(file: Path) -> dict[str, Part]:
    """What an earlier run has kept; nothing where there was none.

    Raises:
        ResultError: There is a file that holds something else; it is not to be written over.
    """
    if not file.exists():
        return {}
    read_result(file)
    try:
        return parts_of(read_samples(file))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"it holds no parts of a check: {type(error).__name__}: {error}") from error


def slug(device: str) -> str:
    """A device's name as that of a file.

    Example:
        >>> slug("NVIDIA GeForce RTX 4090 / 24 GB")
        'nvidia-geforce-rtx-4090-24-gb'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "gpu"


def _read(fresh: Path) -> tuple[dict[str, Any] | None, str | None]:
    try:
        read_result(fresh)
    except ResultError as error:
        return None, str(error)
    values: dict[str, Any] = json.loads(fresh.read_text(encoding="utf-8"))
    return values, None


def _command(settings: Settings) -> str:
    stage = ["--stage", "cpu", "--out", "FOLDER"] if settings.stage == "cpu" else []
    return shlex.join(["scripts/gpu_check", *["--quick"] * settings.quick, *stage])


def _parser(checks: Sequence[Check]) -> argparse.ArgumentParser:
    known = names(checks)
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check",
        description="Checks on a real GPU what the tests can only check on pretended ones; goes on where it was ended.",
    )
    parser.add_argument("--quick", action="store_true", help="short forms")
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", help="these; faults means all of faults.*")
    parser.add_argument("--again", nargs="+", choices=known, metavar="NAME", help="run these though they are done")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="begin nothing that may take longer than is left of N"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the file goes; benchmarks/gpu if left out")
    parser.add_argument("--stage", choices=("gpu", "cpu"), default="gpu", help="cpu: a rehearsal without a GPU")
    parser.add_argument("--list", action="store_true", help="say what there is and what is known, and run nothing")
    return parser


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
