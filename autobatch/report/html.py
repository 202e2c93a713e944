"""A report as one self-contained HTML page."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autobatch._json import to_json_values
from autobatch._text import format_count
from autobatch.memory.peak_model import PeakModel
from autobatch.probing.search import peak_models
from autobatch.report.charts.contents import Trials, memory_content, throughput_content
from autobatch.report.charts.svg import Svg, element, mark, rule
from autobatch.report.charts.timeline import timeline
from autobatch.report.charts.trials import SHAPES, memory_chart, throughput_chart
from autobatch.report.runs import Record
from autobatch.report.summary import answers, comparison, headline, is_good, lead
from autobatch.report.tables import decisions_table, environment_rows, trials_table
from autobatch.results.text import meanings, outcome_words
from autobatch.results.trial import Outcome, Trial

if TYPE_CHECKING:
    from jinja2 import Template


MOST_CHARACTERS = 400_000  # of all runs of a page together

# What could end a script, begin a comment or an entity, or end a line of script where JSON means a character.
_DANGEROUS = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def embedded_json(raw: Any, most: int = MOST_CHARACTERS) -> tuple[str, int]:
    r"""The text for an element `<script type="application/json">`, and how many observations were left out of it.

    Of the events of a training, a list, only every second, fourth, … observation is kept beyond `most` characters.

    Example:
        >>> embedded_json({"a": "</script>"})
        ('{\n "a": "\\u003c/script\\u003e"\n}', 0)
    """
    if not isinstance(raw, list):
        return json.dumps(to_json_values(raw), indent=1, default=str).translate(_DANGEROUS), 0
    seen = [place for place, one in enumerate(raw) if isinstance(one, Mapping) and one.get("event") == "observation"]
    lines = [json.dumps(to_json_values(one), default=str, separators=(",", ":")) for one in raw]
    every = 1
    while True:
        dropped = set(seen) - set(seen[::every])
        kept = ",\n".join(line for place, line in enumerate(lines) if place not in dropped)
        said = f"[\n{kept}\n]".translate(_DANGEROUS)
        if len(said) <= most or every > len(raw):
            return said, len(dropped)
        every *= 2


Key = tuple[Svg, str]
_MANY = 200  # readings: fewer are all drawn on any paper


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in the two forms that a page holds, with what its marks mean."""

    name: str
    title: str
    wide: Svg
    narrow: Svg
    keys: tuple[Key, ...]
    remark: str = ""


def html_page(records: Sequence[Record]) -> str:
    """A whole HTML document of these runs, in their order; lone surrogates, which no file could hold, are escaped."""
    sections = [_section(record, f"run-{number}", len(records)) for number, record in enumerate(records, 1)]
    compared = [comparison(record) for record in records]
    versions = dict.fromkeys(str(record.environment.get("autobatch") or "") for record in records)
    generator = " ".join(["autobatch", *versions]).strip()
    page = _template().render(sections=sections, compared=compared, generator=generator)
    return page.encode("utf-8", "backslashreplace").decode()


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("autobatch.report", "templates")
    # What a template is, autoescape and all, does not depend on its name here: all of it is HTML.
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja")


def _section(record: Record, name: str, count: int) -> dict[str, Any]:
    """What the page says of one run, for the template, which adds no word of the run's own."""
    trials, over_time = _trials(record), _timeline(record, name)
    raw, thinned = embedded_json(record.raw, MOST_CHARACTERS // count)
    proof = record.result.proof if record.result else None
    return {
        "name": name,
        "record": record,
        "title": headline(record),
        "lead": lead(record),
        "good": is_good(record),
        "answers": answers(record),
        "charts": _charts(trials, name),
        "trials": trials_table(record.trials, proof),
        "meanings": meanings(record.trials),
        "timeline": over_time,
        "decisions": decisions_table(record.decisions),
        "notes": dict.fromkeys((*record.notes, *(record.result.notes if record.result else ()))),
        "environment": environment_rows(record.environment),
        "missing": _missing(record, trials, over_time),
        "raw": Svg(raw),
        "thinned": thinned,
    }


def _trials(record: Record) -> Trials:
    """The trials that can be drawn, and the lines fitted to them where no result holds any."""
    known = tuple(trial for trial in record.trials if trial.size >= 1)
    models: Mapping[str, PeakModel] = record.result.models if record.result else {}
    return Trials(known, record.result, models or peak_models(known))


def _charts(trials: Trials, name: str) -> list[Chart]:
    named = enumerate(trials.resources, 1)
    charts = [_memory(trials, resource, f"{name}-memory-{number}") for number, resource in named]
    speeds = _throughput(trials, f"{name}-speed")
    return charts if speeds is None else [*charts, speeds]


def _memory(trials: Trials, resource: str, name: str) -> Chart:
    shown = memory_content(trials, resource)
    wide, narrow = (memory_chart(shown, wide=form) for form in (True, False))
    keys = (*_outcome_keys(trials.all), *_keys_of(wide, ("chosen", "fitted", "worst", "limit", "hatch")))
    return Chart(name, f"Memory on the {resource} against batch size", wide, narrow, keys)


def _throughput(trials: Trials, name: str) -> Chart | None:
    shown = throughput_content(trials)
    if shown is None:
        return None
    sizes = [trial.size for trial in trials.all]
    wide, narrow = (throughput_chart(shown, sizes, wide=form) for form in (True, False))
    silent = len(trials.all) - len(shown.measured)
    remark = f"Without a speed, and so not shown: {silent} of {len(trials.all)} trials." if silent else ""
    keys = (*_outcome_keys(trial for trial, _ in shown.measured), *_keys_of(wide, ("chosen",)))
    return Chart(name, "Throughput against batch size", wide, narrow, keys, remark)


def _outcome_keys(shown: Iterable[Trial]) -> list[Key]:
    outcomes = dict.fromkeys(trial.outcome for trial in shown)
    return [
        (_key(mark(SHAPES[one], 8, 8, "", "ran" if one is Outcome.RAN else "failed")), outcome_words(one))
        for one in outcomes
    ]


def _keys_of(chart: Svg, classes: Iterable[str]) -> list[Key]:
    """What the other shapes of a chart mean, those only that are drawn."""
    keys = {
        "chosen": (_key(mark("ring", 8, 8, "", "chosen", 7)), "chosen"),
        "fitted": (
            _key(element("rect", x=0, y=2, width=16, height=12, class_="margin"), rule((0, 8), (16, 8), "fitted")),
            "fitted line with its margin",
        ),
        "worst": (
            _key(mark("dash", 8, 4, "", "worst"), rule((8, 4), (8, 13), "worst")),
            "what it may come to at worst",
        ),
        "limit": (_key(rule((0, 8), (16, 8), "limit")), "budget"),
        "hatch": (_key(*(rule((left, 14), (left + 9, 3), "hatch") for left in (-2, 3, 8))), "reserve, kept free"),
    }
    return [keys[name] for name in classes if f'class="{name}' in chart]


def _key(*shapes: Svg) -> Svg:
    return element("svg", *shapes, viewBox="0 0 16 16", class_="key", aria_hidden="true")


def _timeline(record: Record, name: str) -> Chart | None:
    wide, narrow = timeline(record, wide=True), timeline(record, wide=False)
    if wide is None or narrow is None:
        return None
    return Chart(f"{name}-time", "The run over time", wide, narrow, (), _timeline_remark(record))


def _timeline_remark(record: Record) -> str:
    count = len(record.observations)
    drawn = format_count(count, "reading")
    if count > _MANY:
        drawn += "; where they are closer than the drawing is fine, their lowest and highest are drawn"
    return f"Numbers above the rows are the changes in the table below. {drawn}." if record.decisions else f"{drawn}."


def _missing(record: Record, trials: Trials, over_time: Chart | None) -> list[str]:
    """What a reader would look for and not find, and why."""
    said = []
    if not record.trials:
        said.append("No trial was run, so there is no chart of memory or throughput.")
    elif not trials.resources:
        said.append("No trial measured a peak, so there is no chart of memory.")
    if record.trials and throughput_content(trials) is None:
        said.append("No trial measured a speed, so there is no chart of throughput.")
    if record.kind == "fit" and record.begun is None:
        said.append("Nothing was trained, so there is no run over time.")
    elif record.kind == "fit" and over_time is None:
        said.append("Too little was recorded while training to show the run over time.")
    elif record.kind == "fit" and not any(seen.headroom_bytes is not None for seen in record.observations):
        said.append("No headroom was recorded while training, so the run over time shows none.")
    return said
