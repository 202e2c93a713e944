"""`autobatch doctor`: what was found on this machine, what would be used, and what to do about each warning."""

import argparse
import contextlib
from itertools import groupby
from typing import TYPE_CHECKING

from autobatch._text import format_bytes, format_count
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal
from autobatch.cli.console import held_back, import_keras, wants_greetings
from autobatch.cli.outcome import ExitCode
from autobatch.cli.wording import width_of, wrapped

if TYPE_CHECKING:
    from autobatch.doctor.checkup import Checkup, MachinePlan
    from autobatch.doctor.facts import Finding

SUMMARY = "check this machine: what was found, what would be used, and what to do about each warning"
_MARKS = {"ok": "  ok       ", "warning": "! warning  ", "problem": "X PROBLEM  "}
_PLACES = {"worker": "in a worker process", "caller": "in the caller's process, without a deadline"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description} Ends with 2 if nothing can be trained, and with 0 despite warnings."


def run(_args: argparse.Namespace, _api: Api, terminal: Terminal) -> CommandOutput:
    from autobatch.doctor.checkup import check_up
    from autobatch.doctor.collect import collect

    # What the framework writes about GPUs that it cannot use is a finding, too; who sets its log level reads all.
    with contextlib.nullcontext() if wants_greetings() else held_back(2):
        checkup = check_up(collect(import_quietly=import_keras))
    status = ExitCode.USAGE if checkup.counts["problem"] else ExitCode.OK
    return CommandOutput("\n".join(checkup_lines(checkup, width_of(terminal.out))), checkup.to_dict(), status)


def checkup_lines(checkup: "Checkup", width: int | None = None) -> list[str]:
    """A check-up as text, broken at `width`: the findings in groups, then what would be used."""
    lines: list[str] = []
    for group, findings in groupby(checkup.findings, lambda finding: finding.group):
        lines += [group, *(line for finding in findings for line in _finding(finding, width)), ""]
    counts = [format_count(count, state) for state, count in checkup.counts.items() if state != "ok"]
    return [*lines, *_plan(checkup.plan, width), "", f"{', '.join(counts)}."]


def _finding(finding: "Finding", width: int | None) -> list[str]:
    lines = wrapped(_MARKS[finding.state], finding.found, width)
    if finding.remedy is not None:
        lines += wrapped("           do: ", finding.remedy, width)
    return lines


def _plan(plan: "MachinePlan | None", width: int | None) -> list[str]:
    if plan is None:
        return ["Nothing can be trained here."]
    budget = "unknown" if plan.budget_bytes is None else f"{format_bytes(plan.budget_bytes)}, by the {plan.limit}"
    gives_back = "gives memory back" if plan.gives_back else "keeps what it has taken"
    rows = {
        "device": plan.device,
        "budget": budget,
        "trials": _PLACES[plan.trials],
        "allocator": f"{plan.allocator}: {gives_back}",
    }
    return ["would be used", *(line for name, text in rows.items() for line in wrapped(f"  {name:<10} ", text, width))]
