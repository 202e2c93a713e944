"""Reports of a probe, written to the files that were asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from autobatch.errors import ArgumentError, AutobatchError, DataError


class Reports:
    """The files to write; they are looked at before anything runs.

    Args:
        names: Their names.
        stream: Where to say what could not be written.

    Raises:
        ArgumentError: A name that nothing can be written to, or that of a file which is no report.
    """

    def __init__(self, names: Sequence[str], stream: TextIO) -> None:
        self._paths = [_checked(Path(name)) for name in dict.fromkeys(names)]
        self._stream = stream

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
        print(f"autobatch: {path} is written", file=self._stream, flush=True)
        return None


def _checked(path: Path) -> Path:
    from autobatch.report.write import require_ending

    require_ending(path)
    if path.is_dir() or not _takes_files(path.parent):
        raise ArgumentError(
            "The report cannot be written there. "
            f"Received: --output {path}. Expected: a file in a folder that exists and can be written to."
        )
    if path.exists() and not _is_own(path):
        raise ArgumentError(
            f"{str(path)!r} is there already and is no report that autobatch has written, so it is left alone. "
            f"Received: --output {path}. Expected: another name."
        )
    return path


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made there, which permissions alone do not say: a disk may be read-only."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_own(path: Path) -> bool:
    """Whether nothing of somebody else is lost with it: a report, or the object of an earlier probe."""
    from autobatch.report.runs import read_record
    from autobatch.report.write import is_own_report

    if is_own_report(path):
        return True
    try:
        return path.suffix.lower() == ".json" and read_record(path).kind == "probe"
    except DataError:
        return False
