"""The micro-batch that is running, written down before it runs: what a killed training can no longer tell."""

import json
from os import PathLike
from pathlib import Path

from autobatch.train.disk import Disk, remove_file, replace_file

FILE_NAME = "micro.json"


class Journal:
    """The size of the micro-batches that are running, in a file beside the checkpoint.

    Args:
        folder: Where it is; made when the first size is written.
        disk: Its file operations; a seam for tests.
    """

    def __init__(self, folder: str | PathLike[str], disk: Disk | None = None) -> None:
        self.path = Path(folder) / FILE_NAME
        self._disk = disk or Disk()

    def write(self, micro: int) -> None:
        """Writes a size down; call it before the first micro-batch of that size runs.

        Raises:
            OSError: It could not be written; the size before still stands there.
        """
        replace_file(self.path, [json.dumps({"micro": micro}).encode()], self._disk)

    def read(self) -> int | None:
        """The size that was written last, `None` if there is none that can be read."""
        try:
            entry = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        micro = entry.get("micro") if isinstance(entry, dict) else None
        return micro if isinstance(micro, int) and micro >= 1 else None

    def clear(self) -> None:
        """Removes the file.

        Raises:
            OSError: It could not be removed.
        """
        remove_file(self.path, self._disk)
