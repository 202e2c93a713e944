"""The folder of a run that somebody watches over: he says how it goes on, and decides when it may be forgotten."""

from dataclasses import dataclass
from os import PathLike, fspath


@dataclass(frozen=True, slots=True)
class Supervised(PathLike[str]):
    """Give it to `fit` as `checkpoint`: a run that is done then stays stored, as finished, until it is cleared.

    So whatever becomes of the trained model before it is saved elsewhere, nothing has to be trained again.

    Attributes:
        folder: The folder.
        ceiling: The largest micro-batch to run from now on, which the checkpoint remembers; `None` for no new bound.
    """

    folder: str | PathLike[str]
    ceiling: int | None = None

    def __fspath__(self) -> str:
        return fspath(self.folder)

    def clear(self) -> None:
        """Removes the run; the folder stays.

        Raises:
            OSError: It could not be removed.
        """
        from autobatch.train.checkpoint import Checkpoint
        from autobatch.train.journal import Journal

        Checkpoint(self.folder).clear()
        Journal(self.folder).clear()
