"""The run of all benchmarks: one after another, each in a process of its own; what fails is told in the end."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from tooling.catalogue import ENTRIES, FOLDER, Entry, is_ready
from tooling.machine import look
from tooling.results import remove_result, write_result

from autobatch._text import format_duration

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Settings:
    """How they are run."""

    programs: Path  # the folder with the programs
    results: Path  # the folder that the results go to
    quick: bool = False  # whether in the quick form
    deadline_s: float | None = None  # instead of every benchmark's own
    grace_s: float = 10.0  # seconds that one has to tidy up once it is told to end


# All that a benchmark starts inherits it, however it is started and whoever has died in between.
_MARK = "AUTOBATCH_BENCHMARK_RUN"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    seconds: float  # how long it took
    status: int | None  # its exit status, negative for a signal; `None` where its deadline ended it
    left_behind: int = 0  # how many processes it had left behind; they are ended, too


def run_child(command: Sequence[str], deadline_s: float, grace_s: float = 10.0, *, silent: bool = False) -> Ended:
    """Runs a command to its end.

    Raises:
        KeyboardInterrupt: Somebody asked for the end, and the processes have ended.
    """
    run = uuid.uuid4().hex
    began = time.perf_counter()
    # A session of its own: what is typed at the terminal reaches it from here alone, and so in order.
    out = subprocess.DEVNULL if silent else None
    process = subprocess.Popen(command, env=_environment(run), start_new_session=True, stdout=out)
    status = None
    try:
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(deadline_s)
        if status is None:
            _ask(process, grace_s)
    except BaseException:
        _ask(process, grace_s)
        raise
    finally:
        left_behind = _end_all(run)
        process.wait()
    return Ended(time.perf_counter() - began, status, left_behind if status is not None else 0)


def _environment(run: str) -> dict[str, str]:
    """Our own with the run's mark, and without what would keep a benchmark from finding the modules beside it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | {_MARK: run}


def _ask(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Asks a process and its children to end as Ctrl-C does, so that they remove what they have made."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)


def _end_all(run: str) -> int:
    """Kills whatever belongs to a run, and whatever that has started meanwhile; returns how many there were."""
    ended: set[int] = set()
    while family := [one for one in psutil.process_iter() if _belongs(one, run)]:
        for one in family:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(family, timeout=5)
        ended |= {one.pid for one in family}
    return len(ended)


def _belongs(process: psutil.Process, run: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == run
    except (psutil.Error, OSError):
        return False


def look_around(first: bool) -> list[str]:  # noqa: FBT001 - what it is called with is said by its one caller
    """What may disturb a measurement now; after the first one the load tells of nothing else than the measuring."""
    return look(with_load=first)


def main(
    words: Sequence[str] | None = None,
    entries: Sequence[Entry] = ENTRIES,
    programs: Path = FOLDER,
    disturbances: Callable[[bool], list[str]] = look_around,
) -> int:
    args = _parser(entries, programs).parse_args(words)
    if args.list:
        print("\n".join(_listed(entries, programs)))
        return 0
    chosen = select(entries, args.only, args.skip)
    results = (args.results or programs / ("results-quick" if args.quick else "results")).resolve()
    # Whoever ends this one does not mean the benchmark to go on; started in the background it would be deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        failed = run_all(chosen, Settings(programs, results, args.quick, args.deadline), disturbances)
    except KeyboardInterrupt:
        say("Ended. What had been measured is kept.")
        return INTERRUPTED
    return 1 if failed else 0


def select(entries: Sequence[Entry], only: Iterable[str] | None, skip: Iterable[str]) -> list[Entry]:
    """The benchmarks asked for, in the order of the list, whatever the order of the words."""
    wanted = {entry.name for entry in entries} if only is None else set(only)
    return [entry for entry in entries if entry.name in wanted - set(skip)]


def run_all(
    chosen: Sequence[Entry], settings: Settings, disturbances: Callable[[bool], list[str]] = look_around
) -> list[str]:
    """Runs them, and says what runs, how long it took and what went wrong."""
    problems: dict[str, str] = {}
    took: dict[str, float] = {}
    for number, entry in enumerate(chosen, 1):
        say(f"[{number}/{len(chosen)}] {entry.name}: {entry.asks}")
        for sentence in disturbances(number == 1):
            say(f"  warning: {sentence}")
        if not is_ready(entry.program(settings.programs)):
            problems[entry.name] = f"there is no benchmark in {entry.program(settings.programs).name}"
            continue
        ended, problem = _run(entry, settings)
        took[entry.name] = ended.seconds
        if problem:
            problems[entry.name] = problem
        say(f"  {problem or 'measured'}; {format_duration(ended.seconds)}\n")
    _tell(took, problems, settings.results)
    return list(problems)


def problem_of(ended: Ended, result: Path) -> str | None:
    """What went wrong, `None` where nothing did."""
    if ended.status is None:
        return "not done at its deadline, and ended"
    if ended.status:
        return f"failed with status {ended.status}"
    if not result.exists():
        return "wrote no result"
    left = ended.left_behind
    return f"left {left} of its processes running; they are ended" if left else None


def keep(fresh: Path, result: Path) -> str | None:
    """Keeps what a program has written in place of an earlier result; what went wrong, `None` where nothing did."""
    try:
        write_result(result, json.loads(fresh.read_text(encoding="utf-8")))
    except ValueError as error:
        return f"wrote no JSON: {error}"
    return None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(entry: Entry, settings: Settings) -> tuple[Ended, str | None]:
    """Runs one; its result takes the place of an earlier one, or nothing does where it failed: none is passed off."""
    result, fresh = (settings.results / name for name in (f"{entry.name}.json", f".{entry.name}.fresh"))
    fresh.unlink(missing_ok=True)
    command = [sys.executable, str(entry.program(settings.programs).resolve()), "--json", str(fresh)]
    own = entry.quick_deadline_s if settings.quick else entry.deadline_s
    deadline_s = own if settings.deadline_s is None else settings.deadline_s
    ended = run_child([*command, *["--quick"] * settings.quick], deadline_s, settings.grace_s)
    problem = problem_of(ended, fresh)
    problem = problem or keep(fresh, result)
    fresh.unlink(missing_ok=True)
    if problem:
        remove_result(result)
    return ended, problem


def _tell(took: dict[str, float], problems: dict[str, str], results: Path) -> None:
    say(f"{len(took)} run in {format_duration(sum(took.values()))}; the results are in {results}.")
    if problems:
        say("These failed:")
    for name, problem in problems.items():
        say(f"  {name}: {problem}")


def _listed(entries: Sequence[Entry], programs: Path) -> list[str]:
    width = max(len(entry.name) for entry in entries)
    missing = {True: "", False: " (not there yet)"}
    return [f"{entry.name:<{width}}  {entry.asks}{missing[is_ready(entry.program(programs))]}" for entry in entries]


def _parser(entries: Sequence[Entry], programs: Path) -> argparse.ArgumentParser:
    names = [entry.name for entry in entries]
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description="Runs the benchmarks, one after another, each in a process of its own."
    )
    parser.add_argument("--quick", action="store_true", help="short forms: all within ten minutes on two cores")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="run these")
    parser.add_argument("--skip", nargs="+", choices=names, metavar="NAME", default=[], help="run all but these")
    folder = f"where the results go; {programs.name}/results, or results-quick for the short forms, if left out"
    parser.add_argument("--results", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="for each, instead of its own deadline")
    parser.add_argument("--list", action="store_true", help="name them, and run nothing")
    return parser


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
