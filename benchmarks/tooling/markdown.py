"""The results as Markdown that GitHub shows; whatever a result holds is text and stays text."""

import re
from collections.abc import Iterable, Sequence

from autobatch.report.markdown import escaped
from tooling.facts import Goal, Table
from tooling.overview import WORDS, State, headline, lead, left_out, rows_of, state_of, told
from tooling.results import Folder, Result, facts, mixtures, summary
from tooling.tables import UNKNOWN, numeric, texts

_SIGNS: dict[State, str] = {"reached": "✓", "missed": "✗", "open": "·"}
_TICKS = re.compile(r"`+")
_NO_ANCHOR = re.compile(r"[^\w\- ]")


def markdown_page(folder: Folder) -> str:
    """The page; the same results give the same text."""
    blocks = [
        "<!-- made by benchmarks/report: edit the benchmarks, not this -->",
        "# Benchmarks",
        f"**{headline(rows_of(folder))}.** {lead(folder)} The same with charts: `results.html`.",
        _summary(folder),
        *_list(map(escaped, [*mixtures(folder.results), *map(left_out, folder.unreadable)])),
        *(block for result in folder.results for block in _section(result, result.title, 2)),
        *_gpus(folder),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    """A table of escaped cells, numbers to the right.

    Example:
        >>> print(grid(["side", "images/s"], [["a | b", "1,204"]], [False, True]))
        | side | images/s |
        | --- | ---: |
        | a &#124; b | 1,204 |
    """
    lines = [[escaped(cell) or UNKNOWN for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---:" if end else "---" for end in right])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def anchor(title: str) -> str:
    """What GitHub calls a heading.

    Example:
        >>> anchor("Finding the size: 3 ways")
        'finding-the-size-3-ways'
    """
    return _NO_ANCHOR.sub("", title.lower()).replace(" ", "-")


def _summary(folder: Folder) -> str:
    lines = ["| benchmark | goal | measured | reached |", "| --- | --- | --- | --- |"]
    for row in rows_of(folder):
        title = f"[{escaped(row.title)}](#{anchor(row.title)})" if row.is_there else escaped(row.title)
        said = UNKNOWN if row.state is None else f"{_SIGNS[row.state]} {WORDS[row.state]}"
        lines.append(f"| {title} | {escaped(row.goal)} | {escaped(row.measured) or UNKNOWN} | {said} |")
    return "\n".join(lines)


def _section(result: Result, title: str, level: int) -> list[str]:
    return [
        f"{'#' * level} {escaped(title)}",
        escaped(result.question),
        *_list(map(_goal, result.goals)),
        *(block for table in result.tables for block in _table(table)),
        *_list(map(escaped, result.notes)),
        *_origin(result),
    ]


def _origin(result: Result) -> list[str]:
    """What to type, and where it was typed."""
    command = " ".join(result.command.split())
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(command)), default=0))
    return [
        f"{fence}\n{command}\n{fence}",
        f"<details><summary>Where it was measured: {escaped(summary(result))}</summary>",
        grid(("what", "value"), facts(result), (False, False)),
        "</details>",
    ]


def _goal(goal: Goal) -> str:
    state = state_of(goal.met)
    return f"{_SIGNS[state]} **{WORDS[state]}**: {escaped(told(state, goal.text, goal.measured))}"


def _table(table: Table) -> list[str]:
    return [f"**{escaped(table.title)}**", grid(table.columns, texts(table), numeric(table))]


def _gpus(folder: Folder) -> list[str]:
    if not folder.gpus:
        return []
    sections = [block for device, result in folder.gpus for block in _section(result, f"{device}: {result.title}", 3)]
    return ["## On GPUs", *_list(map(escaped, mixtures([result for _, result in folder.gpus]))), *sections]


def _list(lines: Iterable[str]) -> list[str]:
    body = "\n".join(f"- {line}" for line in lines)
    return [body] if body else []
