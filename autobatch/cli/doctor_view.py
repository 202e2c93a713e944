"""A check-up for people: what was found in groups, what to do, what would be used."""

from itertools import groupby

from autobatch.cli.wrapped import wrapped
from autobatch.doctor.checkup import Checkup
from autobatch.doctor.finding import Finding
from autobatch.doctor.plan import Plan
from autobatch.memory.units import counted, format_bytes

_MARKS = {"ok": "  ok       ", "warning": "! warning  ", "problem": "X PROBLEM  "}
_PLACES = {"worker": "in a worker process", "caller": "in the caller's process, without a deadline"}


def checkup_lines(checkup: Checkup, width: int | None = None) -> list[str]:
    """Returns a check-up as text.

    Args:
        checkup: What was found.
        width: Where to break lines, `None` for nowhere.
    """
    lines: list[str] = []
    for group, findings in groupby(checkup.findings, lambda finding: finding.group):
        lines += [group, *(line for finding in findings for line in _finding(finding, width)), ""]
    return [*lines, *_plan(checkup.plan, width), "", _count(checkup.counts)]


def _finding(finding: Finding, width: int | None) -> list[str]:
    lines = wrapped(_MARKS[finding.state], finding.found, width)
    if finding.remedy is not None:
        lines += wrapped("           do: ", finding.remedy, width)
    return lines


def _plan(plan: Plan | None, width: int | None) -> list[str]:
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
    return ["would be used", *(line for name, said in rows.items() for line in wrapped(f"  {name:<10} ", said, width))]


def _count(counts: dict[str, int]) -> str:
    words = [counted(count, state) for state, count in counts.items() if state != "ok"]
    return f"{', '.join(words)}."
