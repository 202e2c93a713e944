"""The micro-batch that is running, written down before it runs: what a killed training can no longer tell."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from autobatch.train.disk import Disk, remove_file, replace_file

FILE_NAME = "micro.json"
TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True, slots=True)
class Running:
    """What was running.

    Attributes:
        micro: Samples in a micro-batch.
        phase: `"training"` or `"validation"`.
    """

    micro: int
    phase: str = TRAINING


class Journal:
    """The size of the micro-batches that are running, in a file beside the checkpoint.

    Args:
        folder: Where it is; made when the first size is written.
        disk: Its file operations; a seam for tests.
    """

    def __init__(self, folder: str | PathLike[str], disk: Disk | None = None) -> None:
        self.path = Path(folder) / FILE_NAME
        self._disk = disk or Disk()

    def write(self, micro: int, phase: str = TRAINING) -> None:
        """Writes a size down; call it before the first micro-batch of that size, or of that phase, runs.

        Raises:
            OSError: It could not be written; the size before still stands there.
        """
        replace_file(self.path, [json.dumps(asdict(Running(micro, phase))).encode()], self._disk)

    def read(self) -> Running | None:
        """What was written last, `None` if there is nothing that can be read."""
        try:
            entry = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        return _running(entry) if isinstance(entry, dict) else None

    def clear(self) -> None:
        """Removes the file.

        Raises:
            OSError: It could not be removed.
        """
        remove_file(self.path, self._disk)


def _running(entry: dict[str, Any]) -> Running | None:
    micro, phase = entry.get("micro"), entry.get("phase")
    if not isinstance(micro, int) or micro < 1 or phase not in (TRAINING, VALIDATION):
        return None
    return Running(micro, phase)
