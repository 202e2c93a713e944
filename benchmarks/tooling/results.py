"""Results as they lie in their files, and what is to be said of them together.

A program writes all it has found into one file. Kept are two: `NAME.json`, which the pages are made of and which can be
read and compared line by line, and `NAME.samples.json.gz`, the raw measurements.
"""

import gzip
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooling.catalogue import ENTRIES, Entry
from tooling.findings import SCHEMA_VERSION, Chart, Goal, Table

from autobatch._text import format_bytes, format_duration


class ResultError(Exception):
    """A file that holds no result of a benchmark; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark has found, where and when; its attributes are those of the file."""

    name: str
    title: str
    question: str
    quick: bool
    command: str
    measured_at: str
    seconds: float
    revision: str | None
    machine: Mapping[str, Any]
    tables: tuple[Table, ...]
    goals: tuple[Goal, ...]
    notes: tuple[str, ...]
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """All that is known."""

    results: tuple[Result, ...]  # in the order of the list, then by name
    missing: tuple[Entry, ...]  # what the list holds and nobody has measured
    unreadable: tuple[tuple[str, str], ...]  # names of files, and what is wrong with each
    gpus: tuple[tuple[str, Result], ...]  # results of a check on a GPU, by the name of its file


def read_folder(results: Path, gpu: Path | None = None, entries: Sequence[Entry] = ENTRIES) -> Folder:
    """All results of a folder, and those of a check on a GPU; a folder that is not there holds none."""
    unreadable: list[tuple[str, str]] = []
    found = dict(_read_all(results, unreadable))
    gpus = tuple(_read_all(gpu, unreadable)) if gpu else ()
    order = [entry.name for entry in entries]
    by_name = {result.name: result for result in found.values()}
    names = [name for name in order if name in by_name] + sorted(set(by_name) - set(order))
    missing = tuple(entry for entry in entries if entry.name not in by_name)
    return Folder(tuple(by_name[name] for name in names), missing, tuple(unreadable), gpus)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values in one step; an hour of measuring is not lost to one that JSON has no word for.

    Numbers that are not finite become null, arrays lists, and what else JSON does not know its text.
    """
    _write(path, f"{_readable(_ready(values))}\n".encode())


def write_result(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a result to keep, its samples compressed in a file beside it; the same values give the same bytes."""
    samples = values.get("samples")
    if samples is None:
        _samples_path(path).unlink(missing_ok=True)
    else:
        text = json.dumps(_ready(samples), separators=(",", ":"), allow_nan=False, default=str)
        _write(_samples_path(path), gzip.compress(text.encode(), mtime=0))
    write_json(path, {key: value for key, value in values.items() if key != "samples"})


def remove_result(path: Path) -> None:
    path.unlink(missing_ok=True)
    _samples_path(path).unlink(missing_ok=True)


def read_samples(path: Path) -> Any:
    """The raw measurements of a result, from its own file or from the one beside it.

    Raises:
        ResultError: They cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return (
            values["samples"] if "samples" in values else json.loads(gzip.decompress(_samples_path(path).read_bytes()))
        )
    except (OSError, EOFError, ValueError) as error:
        raise ResultError(f"its samples cannot be read: {error}") from error


def read_result(path: Path) -> Result:
    """The result of a file.

    Raises:
        ResultError: It cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"it cannot be read: {error}") from error
    try:
        if values["schema_version"] != SCHEMA_VERSION:
            msg = f"it is of schema {values['schema_version']!r}; this program reads schema {SCHEMA_VERSION}"
            raise ResultError(msg)
        return _result(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"it holds no result of a benchmark: {type(error).__name__}: {error}") from error


def facts(result: Result) -> list[tuple[str, str]]:
    said = {
        "measured": _date(result.measured_at),
        "form": "quick: few turns, for a look" if result.quick else "full",
        "took": format_duration(result.seconds),
        "revision": result.revision or "unknown",
        "machine": machine_words(result),
        "system": f"{result.machine.get('system')}, Python {result.machine.get('python')}",
        "versions": versions(result),
        "load before": _load(result.machine),
    }
    return list(said.items())


def summary(result: Result) -> str:
    form = "quick form, " if result.quick else ""
    return f"{form}{_date(result.measured_at)[:10]}, revision {result.revision or 'unknown'}, {machine_words(result)}"


def machine_words(result: Result) -> str:
    values = result.machine
    limit = values.get("memory_limit_bytes")
    words = [
        str(values.get("processor")),
        f"{values.get('cores')} cores",
        format_bytes(int(values.get("memory_bytes") or 0)),
        *([f"limited to {format_bytes(limit)}"] if limit else []),
        *map(str, values.get("gpus") or []),
    ]
    return ", ".join(words)


def versions(result: Result) -> str:
    packages = result.machine.get("packages") or {}
    return ", ".join(f"{name} {version or 'unknown'}" for name, version in packages.items())


def mixtures(results: Sequence[Result]) -> list[str]:
    """A sentence for each thing in which the results differ, so that none is read beside another unawares."""
    kinds: tuple[tuple[str, Callable[[Result], str]], ...] = (
        ("forms", lambda one: "quick" if one.quick else "full"),
        ("machines", machine_words),
        ("systems", lambda one: f"{one.machine.get('system')}, Python {one.machine.get('python')}"),
        ("revisions", lambda one: one.revision or "unknown"),
        ("sets of versions", versions),
    )
    said = [_mixture(thing, _groups(results, tell)) for thing, tell in kinds]
    changed = [one.name for one in results if one.revision and one.revision.endswith("+")]
    if changed:
        said.append(f"A plus: measured with changes that were not committed yet ({', '.join(changed)}).")
    return [sentence for sentence in said if sentence]


def _mixture(thing: str, groups: Mapping[str, Sequence[str]]) -> str:
    if len(groups) < 2:
        return ""
    told = "; ".join(f"{said} ({', '.join(names)})" for said, names in groups.items())
    return f"These results are of {len(groups)} {thing}: {told}."


def _groups(results: Iterable[Result], tell: Callable[[Result], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for result in results:
        groups.setdefault(tell(result), []).append(result.name)
    return groups


def _read_all(folder: Path, unreadable: list[tuple[str, str]]) -> Iterable[tuple[str, Result]]:
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            yield path.stem, read_result(path)
        except ResultError as error:
            unreadable.append((f"{folder.name}/{path.name}", str(error)))


def _result(values: Mapping[str, Any]) -> Result:
    return Result(
        name=str(values["benchmark"]),
        title=str(values["title"]),
        question=str(values["question"]),
        quick=bool(values["quick"]),
        command=str(values["command"]),
        measured_at=str(values["measured_at"]),
        seconds=float(values["seconds"]),
        revision=values.get("revision"),
        machine=dict(values["machine"]),
        tables=tuple(map(_table, values["tables"])),
        goals=tuple(Goal(str(one["text"]), one["met"], str(one["measured"])) for one in values["goals"]),
        notes=tuple(map(str, values["notes"])),
        charts=tuple(map(_chart, values.get("charts", ()))),
    )


def _table(values: Mapping[str, Any]) -> Table:
    columns = tuple(map(str, values["columns"]))
    rows = [[cell if _is_cell(cell) else str(cell) for cell in row] for row in values["rows"]]
    if any(len(row) != len(columns) for row in rows):
        msg = f"the table {values['title']!r} has {len(columns)} columns, and rows of {sorted({*map(len, rows)})} cells"
        raise ValueError(msg)
    return Table(str(values["title"]), columns, rows)


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _chart(values: Mapping[str, Any]) -> Chart:
    series = {
        str(name): [_point(pair) for pair in points if None not in pair] for name, points in values["series"].items()
    }
    title, x, y = (str(values[key]) for key in ("title", "x", "y"))
    return Chart(title, x, y, series, bool(values.get("log_x")), bool(values.get("log_y")))


def _point(pair: Sequence[float]) -> tuple[float, float]:
    x, y = map(float, pair)
    return x, y


def _date(moment: str) -> str:
    return moment.replace("T", " ").replace("+00:00", " UTC")


def _load(machine: Mapping[str, Any]) -> str:
    load = machine.get("load_before")
    return "unknown" if load is None else f"{load:.1f}"


def _samples_path(path: Path) -> Path:
    return path.with_suffix(".samples.json.gz")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)


def _ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_ready(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _ready(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _readable(value: Any, indent: int = 0, width: int = 120) -> str:
    """JSON with a line for what fits into one: a row of a table, a goal; points of a chart fill their lines."""
    line = json.dumps(value, allow_nan=False, default=str)
    if not isinstance(value, dict | list) or indent + len(line) < width:
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        body = [f"{json.dumps(key)}: {_readable(item, indent + 1, width)}" for key, item in value.items()]
        return "{\n" + ",\n".join(pad + one for one in body) + "\n" + " " * indent + "}"
    body = [_readable(item, indent + 1, width) for item in value]
    if max(map(len, body)) <= 40:
        joined = ", ".join(one.replace(" ", "\0") for one in body)
        lines = textwrap.wrap(joined, width - indent - 1, break_long_words=False, break_on_hyphens=False)
        body = [one.replace("\0", " ").removesuffix(",") for one in lines]
    return "[\n" + ",\n".join(pad + one for one in body) + "\n" + " " * indent + "]"
