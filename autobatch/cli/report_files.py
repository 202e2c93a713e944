"""The files that reports are written to: checked before anything runs, and nothing of others overwritten."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from autobatch.errors import ArgumentError, AutobatchError, DataError


class ReportFiles:
    """The files of a probe's report; what was written and what was not is said on the stream."""

    def __init__(self, names: Sequence[str], stream: TextIO) -> None:
        self._paths = [Path(name) for name in dict.fromkeys(names)]
        self._stream = stream
        for path in self._paths:
            require_writable(path)
            require_replaceable(path, _is_report_or_probe, "another name")

    def write(self, data: dict[str, Any]) -> AutobatchError | None:
        """Writes the object of a probe to each of them; the first error, `None` if there was none."""
        errors = [self._write(data, path) for path in self._paths]
        return next((error for error in errors if error is not None), None)

    def _write(self, data: dict[str, Any], path: Path) -> AutobatchError | None:
        from autobatch._json import to_json_values
        from autobatch.report.runs import record_of
        from autobatch.report.write import write_report

        try:
            write_report([record_of(to_json_values(data), path.name)], path)
        except (DataError, ArgumentError) as error:
            print(f"autobatch: error: {error}", file=self._stream, flush=True)
            return error
        print(f"autobatch: wrote {path}", file=self._stream, flush=True)
        return None


def require_writable(path: Path) -> None:
    """Refuses an ending that is none of a report, and a folder that no file can be made in.

    Permissions alone do not tell: a disk may be read-only, and root has them everywhere.
    """
    import tempfile

    from autobatch.report.write import require_ending

    require_ending(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            writable = not path.is_dir()
    except OSError:
        writable = False
    if not writable:
        raise ArgumentError(
            f"The report cannot be written there. Received: --output {path}. Expected: a file in a folder that exists "
            "and can be written to."
        )


def require_replaceable(path: Path, is_own: Callable[[Path], bool], expected: str) -> None:
    if path.exists() and not (path.is_file() and is_own(path)):
        raise ArgumentError(
            f"{str(path)!r} exists and is no report of autobatch, so it is left alone. Received: --output {path}. "
            f"Expected: {expected}."
        )


def _is_report_or_probe(path: Path) -> bool:
    from autobatch.report.runs import read_record
    from autobatch.report.write import is_own_report

    if is_own_report(path):
        return True
    try:
        return path.suffix.lower() == ".json" and read_record(path).kind == "probe"
    except DataError:
        return False
