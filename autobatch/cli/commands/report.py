"""`autobatch report`: saved runs as one page."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from autobatch._text import format_count
from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal
from autobatch.cli.options import add_option
from autobatch.cli.report_files import require_replaceable, require_writable
from autobatch.errors import DataError

if TYPE_CHECKING:
    from autobatch.report.runs import Record

SUMMARY = "show saved runs as one page"
_DEFAULT = "autobatch-report.html"
_ENDINGS = (".json", ".jsonl")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a file written by `autobatch probe -o run.json`, fit(..., log_dir=...) or `autobatch report -o "
        "runs.json`, or a folder of them, shown newest first",
    )
    text = "where to write it, .html, .md or .json (default: %(default)s in this folder)"
    add_option(parser, "-o --output FILE", text, default=_DEFAULT)
    add_option(parser, "--force", "replace FILE even if it is something else than a report", action="store_true")


def run(args: argparse.Namespace, _api: Api, terminal: Terminal) -> CommandOutput:
    from autobatch.report.write import is_own_report, write_report

    output = Path(args.output)
    require_writable(output)
    if not args.force:
        require_replaceable(output, is_own_report, "another name, or --force to overwrite it")
    records = _records(map(Path, args.runs), output, terminal.err)
    write_report(records, output)
    names = ("name", "kind", "outcome", "started_at")
    data = {"written": str(output), "runs": [{name: getattr(record, name) for name in names} for record in records]}
    return CommandOutput(f"{format_count(len(records), 'run')} in {output}", data)


def _records(paths: Iterable[Path], output: Path, notes: TextIO) -> "list[Record]":
    """The runs that were named, each of them once, in this order; those of a folder newest first."""
    from autobatch.report.runs import read_records

    found: dict[Path, list[Record]] = {}
    for path in paths:
        records = _of_folder(path, output, notes) if path.is_dir() else {path: read_records(path)}
        for name, runs in records.items():
            found.setdefault(name.resolve(), runs)
    return [run for runs in found.values() for run in runs]


def _of_folder(folder: Path, output: Path, notes: TextIO) -> "dict[Path, list[Record]]":
    """The runs of a folder, without reports, whose runs may be in the same folder."""
    from autobatch.report.runs import read_record
    from autobatch.report.write import is_own_report

    found: dict[Path, Record] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in _ENDINGS or not path.is_file() or path.resolve() == output.resolve():
            continue
        try:
            if is_own_report(path):
                print(f"autobatch: left out: {str(path)!r} is a report; name it itself to show its runs", file=notes)
                continue
            found[path] = read_record(path)
        except DataError as error:
            print(f"autobatch: left out: {error}", file=notes)
    if not found:
        msg = (
            f"There is no run in {str(folder)!r}: no .json or .jsonl file written by `autobatch probe -o run.json` or "
            "`fit(..., log_dir=...)`. Runs in its subfolders have to be named themselves."
        )
        raise DataError(msg, str(folder))
    newest_first = sorted(found, key=lambda path: (found[path].started_at or "", path.name), reverse=True)
    return {path: [found[path]] for path in newest_first}
