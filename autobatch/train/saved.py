"""The folder of a run: what an earlier process has left there, and what this one writes down."""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

from autobatch.errors import ArgumentError
from autobatch.train.checkpoint import Checkpoint, Standing, Stored
from autobatch.train.journal import Journal


@dataclass(frozen=True, slots=True)
class Saved:
    """A run on disk, and the one that goes on from it.

    Attributes:
        checkpoint: Where it is saved.
        journal: Where the size that is running is written down.
        stored: What an earlier process has left, `None` for a new run.
    """

    checkpoint: Checkpoint
    journal: Journal
    stored: Stored | None

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Self:
        """What is in a folder; it may be empty, or not there yet.

        Raises:
            DataError: A checkpoint is there, and it is damaged.
        """
        checkpoint = Checkpoint(folder)
        return cls(checkpoint, Journal(folder), checkpoint.load())

    def seed(self, given: int | None) -> int | None:
        """The seed of the run that goes on, or the one that was given.

        Raises:
            ArgumentError: They differ.
        """
        if self.stored is None:
            return given
        ours = self.stored.standing.seed
        if given is not None and given != ours:
            self._refuse(f"seed={given}", f"{ours}, with which it was begun")
        return ours

    def batch_size(self, given: Any) -> Any:
        """The effective batch of the run that goes on, or what was given.

        Raises:
            ArgumentError: A number was given, and it is another.
        """
        if self.stored is None:
            return given
        ours = self.stored.standing.effective
        if given not in {"auto", "largest", ours}:
            self._refuse(f"batch_size={given!r}", f"{ours}, with which it was begun")
        return ours

    def require_same(self, samples: int, initial_epoch: int) -> None:
        """Refuses to go on with other samples.

        Raises:
            ArgumentError: There are more or fewer than there were, or the epochs before are to be skipped.
        """
        if self.stored is None:
            return
        standing = self.stored.standing
        if samples != standing.samples:
            self._refuse(f"{samples} samples", f"the {standing.samples} with which it was begun")
        if initial_epoch:
            self._refuse(f"initial_epoch={initial_epoch}", "0: it goes on where it stood")

    def restore(self, model: Any) -> Standing | None:
        """Gives a model the state of the run that goes on, and returns where that stood; `None` for a new run.

        Raises:
            ArgumentError: The run was that of another model.
        """
        return None if self.stored is None else self.checkpoint.restore(model, self.stored)

    def running(self, micro: int) -> None:
        """Writes down the size of the micro-batches that are about to run.

        Raises:
            OSError: It could not be written.
        """
        self.journal.write(micro)

    def _refuse(self, received: str, expected: str) -> None:
        msg = (
            f"The folder {str(self.checkpoint.path.parent)!r} holds a run that was begun otherwise. "
            f"Received: {received}. Expected {expected}; or another folder, for a new run."
        )
        raise ArgumentError(msg)
