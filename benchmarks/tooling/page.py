"""The results as one HTML page that needs nothing else: no script, no network, no second file."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autobatch.report.svg import Svg, element, mark
from tooling.drawing import Key, draw, drawable, keys, remark
from tooling.facts import Chart, Table
from tooling.overview import WORDS, Row, State, headline, lead, left_out, rows_of, state_of, told
from tooling.results import Folder, Result, facts, mixtures, summary
from tooling.tables import numeric, texts

if TYPE_CHECKING:
    from jinja2 import Template

_SHAPES: dict[State, str] = {"reached": "circle", "missed": "cross", "open": "dash"}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as the page takes it; `words` are the columns that stand to the left."""

    title: str
    head: tuple[str, ...]
    rows: list[list[str]]
    words: frozenset[int]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart in the two forms that a page holds."""

    title: str
    wide: Svg
    narrow: Svg
    legend: list[Key]
    remark: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal with its mark."""

    sign: Svg
    state: State
    word: str
    goal: str
    measured: str
    told: str


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says of one benchmark."""

    name: str
    title: str
    question: str
    verdicts: list[Verdict]
    grids: list[Grid]
    figures: list[Figure]
    notes: tuple[str, ...]
    command: str
    origin: str
    facts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Group:
    """The goals of one benchmark in the table above all."""

    name: str
    title: str
    is_there: bool
    verdicts: list[Verdict]


def html_page(folder: Folder) -> str:
    """The page; the same results give the same text."""
    rows = rows_of(folder)
    page = _template().render(
        headline=headline(rows),
        lead=lead(folder),
        groups=_groups(rows),
        remarks=[*mixtures(folder.results), *map(left_out, folder.unreadable)],
        sections=[_section(result, result.name, result.title) for result in folder.results],
        gpus=[_section(result, f"gpu-{name}", f"{name}: {result.title}") for name, result in folder.gpus],
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


def _section(result: Result, name: str, title: str) -> Section:
    return Section(
        name=name,
        title=title,
        question=result.question,
        verdicts=[_verdict(state_of(one.met), one.text, one.measured) for one in result.goals],
        grids=[_grid(table) for table in result.tables],
        figures=[_figure(chart) for chart in result.charts if any(drawable(chart).values())],
        notes=result.notes,
        command=result.command,
        origin=summary(result),
        facts=facts(result),
    )


def _groups(rows: Sequence[Row]) -> list[Group]:
    groups: dict[str, Group] = {}
    for row in rows:
        group = groups.setdefault(row.name, Group(row.name, row.title, row.is_there, []))
        group.verdicts.append(_verdict(row.state, row.goal, row.measured))
    return list(groups.values())


def _verdict(state: State | None, goal: str, measured: str) -> Verdict:
    shown = state or "open"
    return Verdict(
        _sign(shown), shown, WORDS[state] if state else "no goal", goal, measured, told(shown, goal, measured)
    )


def _sign(state: State) -> Svg:
    shape = mark(_SHAPES[state], 8, 8, "", f"sign {state}")
    return element("svg", shape, viewBox="0 0 16 16", class_="key", aria_hidden="true")


def _grid(table: Table) -> Grid:
    right = numeric(table)
    return Grid(table.title, table.columns, texts(table), _places(not end for end in right))


def _places(flags: Iterable[bool]) -> frozenset[int]:
    return frozenset(place for place, flag in enumerate(flags) if flag)


def _figure(chart: Chart) -> Figure:
    wide, narrow = (draw(chart, wide=form) for form in (True, False))
    return Figure(chart.title, wide, narrow, keys(chart), remark(chart))
