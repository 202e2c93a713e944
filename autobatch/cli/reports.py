"""Reports of a probe, written to the files that were asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from autobatch.cli.plain import plain
from autobatch.errors import ArgumentError, DataError


class Reports:
    """The files to write; they are looked at before anything runs.

    Args:
        names: Their names.
        stream: Where to say what could not be written.

    Raises:
        ArgumentError: A name that nothing can be written to.
    """

    def __init__(self, names: Sequence[str], stream: TextIO) -> None:
        self._paths = [_checked(Path(name)) for name in dict.fromkeys(names)]
        self._stream = stream

    def write(self, data: dict[str, Any]) -> bool:
        """Writes the object of a probe to each of them; whether that succeeded."""
        return sum(self._write(data, path) for path in self._paths) == len(self._paths)

    def _write(self, data: dict[str, Any], path: Path) -> bool:
        from autobatch.report.record import record_of
        from autobatch.report.write import write_report

        try:
            write_report([record_of(plain(data), path.name)], path)
        except (DataError, ArgumentError) as error:
            print(f"autobatch: error: {error}", file=self._stream, flush=True)
            return False
        print(f"autobatch: {path} is written", file=self._stream, flush=True)
        return True


def _checked(path: Path) -> Path:
    from autobatch.report.write import require_ending

    require_ending(path)
    if not path.parent.is_dir() or path.is_dir():
        raise ArgumentError(
            f"The report cannot be written there. Received: --output {path}. Expected: a file in a folder that exists."
        )
    return path
