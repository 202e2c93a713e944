"""Saved runs written to a file: a page to look at, one to paste, or the values."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autobatch._atomic_file import Disk, replace_file
from autobatch.errors import ArgumentError, DataError
from autobatch.report.markdown import MARKER, markdown_page
from autobatch.report.runs import Record
from autobatch.train.jsonl_log import SCHEMA_VERSION

_HEAD_BYTES = 4096
# How the beginning of each page says that it is one of ours. A saved probe is more than a page that can be made anew.
_MARKERS = {".html": '<meta name="generator" content="autobatch', ".md": MARKER, ".json": '"kind": "report"'}


def write_report(records: Sequence[Record], path: Path, *, disk: Disk | None = None) -> None:
    """Writes a report of runs, in this order, in one step: whoever reads sees the old file or the new one.

    By its ending a path is for one self-contained page (`.html`), Markdown (`.md`) or the values (`.json`, which
    `read_records` reads back; a single probe is its own object).
    """
    require_ending(path)
    text = _WRITERS[path.suffix.lower()](records)
    try:
        # A name of a file need not be text; it is shown as well as it can be.
        replace_file(path, [text.encode(errors="replace")], disk or Disk())
    except OSError as error:
        msg = f"The report cannot be written to {str(path)!r}: {error.strerror or error}. Give another name."
        raise DataError(msg, str(path)) from error


def require_ending(path: Path) -> None:
    """Refuses a name that does not say what to write."""
    if path.suffix.lower() not in _WRITERS:
        msg = f"The ending says what to write. Received: {str(path)!r}. Expected a name in .html, .md or .json."
        raise ArgumentError(msg)


def is_own_report(path: Path) -> bool:
    """Whether a file is a report that autobatch has written, and nothing is lost by writing a new one."""
    marker = _MARKERS.get(path.suffix.lower())
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.", str(path)) from error
    return marker is not None and marker in head


def _html(records: Sequence[Record]) -> str:
    from autobatch.report.html import html_page

    return html_page(records)


def _json(records: Sequence[Record]) -> str:
    names = ("name", "kind", "outcome", "started_at", "raw")
    runs = [{name: getattr(record, name) for name in names} for record in records]
    values: Any = {"schema_version": SCHEMA_VERSION, "kind": "report", "runs": runs}
    if len(records) == 1 and records[0].kind == "probe":
        values = records[0].raw
    return json.dumps(values, indent=2) + "\n"


_WRITERS: dict[str, Callable[[Sequence[Record]], str]] = {".html": _html, ".md": markdown_page, ".json": _json}
