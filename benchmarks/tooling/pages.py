"""The pages of the results: Markdown that GitHub shows, and one HTML page that needs nothing else.

Whatever a result holds is text and stays text; the page has no script, no network, no second file.
"""

import argparse
import functools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooling.catalogue import FOLDER
from tooling.charts import draw, drawable, keys, remark
from tooling.findings import UNKNOWN, Chart, Goal, Table, numeric, texts
from tooling.overview import WORDS, Row, State, headline, lead, left_out, rows_of, state_of, told
from tooling.results import Folder, Result, facts, mixtures, read_folder, summary

from autobatch.report.charts.svg import element, mark
from autobatch.report.markdown import escaped

if TYPE_CHECKING:
    from jinja2 import Template

_SIGNS: dict[State, str] = {"reached": "✓", "missed": "✗", "open": "·"}
_TICKS = re.compile(r"`+")
_NO_ANCHOR = re.compile(r"[^\w\- ]")


def markdown_page(folder: Folder) -> str:
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


_SHAPES: dict[State, str] = {"reached": "circle", "missed": "cross", "open": "dash"}


def html_page(folder: Folder) -> str:
    rows = rows_of(folder)
    page = _template().render(
        headline=headline(rows),
        lead=lead(folder),
        groups=_groups(rows),
        remarks=[*mixtures(folder.results), *map(left_out, folder.unreadable)],
        sections=[_html_section(result, result.name, result.title) for result in folder.results],
        gpus=[_html_section(result, f"gpu-{name}", f"{name}: {result.title}") for name, result in folder.gpus],
        gpu_remarks=mixtures([result for _, result in folder.gpus]),
    )
    return page.encode("utf-8", "backslashreplace").decode()


@functools.cache
def _template() -> "Template":
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

    # The style is that of the reports, and a few rules of our own.
    loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), PackageLoader("autobatch.report", "templates")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("results.html.jinja")


def _html_section(result: Result, name: str, title: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "question": result.question,
        "verdicts": [_html_verdict(state_of(one.met), one.text, one.measured) for one in result.goals],
        "grids": [_grid(table) for table in result.tables],
        "figures": [_figure(chart) for chart in result.charts if any(drawable(chart).values())],
        "notes": result.notes,
        "command": result.command,
        "origin": summary(result),
        "facts": facts(result),
    }


def _groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        new = {"name": row.name, "title": row.title, "is_there": row.is_there, "verdicts": []}
        groups.setdefault(row.name, new)["verdicts"].append(_html_verdict(row.state, row.goal, row.measured))
    return list(groups.values())


def _html_verdict(state: State | None, goal: str, measured: str) -> dict[str, Any]:
    shown, word = state or "open", WORDS[state] if state else "no goal"
    shape = mark(_SHAPES[shown], 8, 8, "", f"sign {shown}")
    sign = element("svg", shape, viewBox="0 0 16 16", class_="key", aria_hidden="true")
    facts = {"goal": goal, "measured": measured, "told": told(shown, goal, measured)}
    return {"sign": sign, "state": shown, "word": word, **facts}


def _grid(table: Table) -> dict[str, Any]:
    """A table as the page takes it; `words` are the columns that stand to the left."""
    words = {place for place, right in enumerate(numeric(table)) if not right}
    return {"title": table.title, "head": table.columns, "rows": texts(table), "words": words}


def _figure(chart: Chart) -> dict[str, Any]:
    wide, narrow = (draw(chart, wide=form) for form in (True, False))
    return {"title": chart.title, "wide": wide, "narrow": narrow, "legend": keys(chart), "remark": remark(chart)}


def main(words: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(words)
    results, gpu, out = places(args.results, args.gpu, args.out)
    folder = read_folder(results, gpu)
    out.mkdir(parents=True, exist_ok=True)
    for name, make in (("RESULTS.md", markdown_page), ("results.html", html_page)):
        (out / name).write_text(make(folder), encoding="utf-8", errors="replace", newline="\n")
        print(out / name)
    for one in folder.unreadable:
        print(left_out(one), file=sys.stderr)
    return 1 if folder.unreadable else 0


def places(results: Path | None, gpu: Path | None, out: Path | None) -> tuple[Path, Path | None, Path]:
    """Where results are, those of a GPU, and where the pages go.

    The pages of another folder go there, and leave alone those that are kept.
    """
    if results is None:
        return FOLDER / "results", gpu or FOLDER / "gpu", out or FOLDER
    return results, gpu, out or results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/report", description="Makes RESULTS.md and results.html of the results."
    )
    own = "{}; benchmarks/{} if left out"
    parser.add_argument("--results", type=Path, metavar="FOLDER", help=own.format("where they are", "results"))
    parser.add_argument("--gpu", type=Path, metavar="FOLDER", help=own.format("where those of a GPU are", "gpu"))
    out = "where the pages go; benchmarks, or the folder that --results names, if left out"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out)
    return parser
