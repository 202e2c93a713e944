"""What each check has found, and the one result that all of them make; the file that holds it is the state of the run.

A part is what is known of one check, as JSON holds it: `state` ("done", "failed", "timed out" or "skipped"), `why`,
`quick`, and for what is done `result`, the values that the check's own program has written. The composed result is one
of the benchmarks', which keeps its parts whole among its samples. All here is pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gpu_check.checks import Check
from tooling.findings import SCHEMA_VERSION, Cell, Goal, Table

Part = Mapping[str, Any]
Parts = Mapping[str, Part]

DONE, FAILED, TIMED_OUT, SKIPPED = "done", "failed", "timed out", "skipped"


def part(state: str, *, quick: bool, why: str = "", seconds: float = 0.0, result: Any = None) -> dict[str, Any]:
    return {"state": state, "why": why, "quick": quick, "seconds": round(seconds, 1), "result": result}


def parts_of(samples: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that a composed result was made of, by the names of their checks."""
    return dict(samples["parts"])


def due(checks: Iterable[Check], parts: Parts, *, quick: bool, again: Iterable[str] = ()) -> list[Check]:
    """The checks still to be run: not done, done in the quick form where the full one is asked for, or named."""
    named = set(again)
    return [one for one in checks if one.name in named or not _is_known(parts.get(one.name), quick=quick)]


def merged(parts: Parts, name: str, new: Part) -> dict[str, Part]:
    """The parts with what was found last of one check.

    A full result gives way to nothing of the quick form, and no result to a check that was skipped: that it cannot be
    run here today says nothing about what it found. A check that fails does replace what it had found.
    """
    old = parts.get(name)
    keeps = (
        old is not None and old["state"] == DONE and (new["state"] == SKIPPED or (new["quick"] and not old["quick"]))
    )
    return dict(parts) if keeps else {**parts, name: new}


def compose(parts: Parts, checks: Sequence[Check], machine: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The values of one result, in the order of the list; parts that the list does not know come last and survive."""
    titles = {one.name: one.title for one in checks}
    order = [*titles, *sorted(parts.keys() - titles.keys())]
    asked = {one.name: one.asks for one in checks}
    results = {name: parts[name]["result"] for name in order if name in parts and parts[name]["state"] == DONE}

    def named(key: str, word: str) -> list[dict[str, Any]]:
        """What the results list under a key, each with the title of its check before one of its words."""
        return [
            {**one, word: f"{titles.get(name, name)}: {one[word]}"}
            for name, result in results.items()
            for one in result.get(key, ())
        ]

    left = [name for name in order if name not in results]
    not_measured = [asdict(Goal(_asks(name, titles, asked), None, _why_not(parts.get(name)))) for name in left]
    latest = max(results.values(), key=lambda one: str(one["measured_at"]), default={})
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "gpu_check",
        "title": "On a real GPU",
        "question": "What becomes of all that is promised, on a real GPU?",
        "quick": any(parts[name]["quick"] for name in results),
        "command": command,
        "measured_at": latest.get("measured_at", ""),
        "seconds": round(sum(parts[name]["seconds"] for name in results), 1),
        "revision": _joined(result.get("revision") for result in results.values()),
        "machine": dict(latest.get("machine", machine)),
        "tables": [asdict(_overview(order, titles, parts)), *named("tables", "title")],
        "goals": [*named("goals", "text"), *not_measured],
        "notes": [
            f"{titles.get(name, name)}: {note}" for name, one in results.items() for note in one.get("notes", ())
        ],
        "charts": named("charts", "title"),
        "samples": {"parts": dict(parts)},
    }


def _is_known(known: Part | None, *, quick: bool) -> bool:
    return known is not None and known["state"] == DONE and (quick or not known["quick"])


def _overview(order: Iterable[str], titles: Mapping[str, str], parts: Parts) -> Table:
    rows = [_row(name, titles.get(name, name), parts.get(name)) for name in order]
    return Table("Checks", ("check", "what", "state", "form", "seconds", "revision", "measured", "why"), rows)


def _row(name: str, title: str, known: Part | None) -> list[Cell]:
    if known is None:
        return [name, title, "not run", None, None, None, None, None]
    result = known["result"] or {}
    form, why = "quick" if known["quick"] else "full", known["why"] or None
    facts = (known["seconds"], result.get("revision"), result.get("measured_at"))
    return [name, title, known["state"], form, *facts, why]


def _asks(name: str, titles: Mapping[str, str], asked: Mapping[str, str]) -> str:
    return f"{titles.get(name, name)}: {asked[name]}" if name in asked else name


def _why_not(known: Part | None) -> str:
    return "not run yet" if known is None else f"{known['state']}: {known['why']}"


def _joined(revisions: Iterable[str | None]) -> str | None:
    return " and ".join(dict.fromkeys(one for one in revisions if one)) or None
