"""What is written while a run goes on: checkpoints every now and then, and the micro-batch size in flight."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from autobatch._atomic_file import Disk, remove_file, replace_file
from autobatch.data.epoch import next_rung, rungs
from autobatch.train.checkpoint.store import CheckpointState, CheckpointStore

JOURNAL_NAME = "in_flight.json"
TRAINING, VALIDATION = "training", "validation"

# Memory that gets tight is what runs are killed for, so the next update is saved; but not again and again.
_URGENT_S = 10.0


@dataclass(frozen=True, slots=True)
class InFlight:
    micro_batch_size: int  # samples in a micro-batch
    phase: str = TRAINING  # `"training"` or `"validation"`


class InFlightJournal:
    """The size of the micro-batches that are running, in a file beside the checkpoint."""

    def __init__(self, folder: str | PathLike[str], disk: Disk | None = None) -> None:
        self.path = Path(folder) / JOURNAL_NAME
        self._disk = disk or Disk()

    def write(self, micro: int, phase: str = TRAINING) -> None:
        """Writes a size down; call it before the first micro-batch of that size, or of that phase, runs.

        Raises:
            OSError: It could not be written; the size before still stands there.
        """
        replace_file(self.path, [json.dumps(asdict(InFlight(micro, phase))).encode()], self._disk)

    def read(self) -> InFlight | None:
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


def _running(entry: dict[str, Any]) -> InFlight | None:
    micro, phase = entry.get("micro_batch_size"), entry.get("phase")
    if not isinstance(micro, int) or micro < 1 or phase not in (TRAINING, VALIDATION):
        return None
    return InFlight(micro, phase)


class Saver:
    """Decides when to save.

    A save that fails (a full disk) is said and leaves the one before it whole; the training goes on.
    """

    def __init__(
        self,
        checkpoint: CheckpointStore,
        every_s: float,
        journal: InFlightJournal | None = None,
        *,
        run: Mapping[str, Any] | None = None,
        max_micro_batch_size: int | None = None,
        lasting: bool = False,
        note: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoint, self._every_s, self._note, self._clock = checkpoint, every_s, note, clock
        self._journal, self._run, self._lasting = journal, run or {}, lasting
        self._max_micro_batch_size = max_micro_batch_size
        self._written: tuple[int, str] | None = None
        self._saved_s = clock()
        self._urgent = False

    @property
    def due(self) -> bool:
        age_s = self._clock() - self._saved_s
        return age_s >= self._every_s or (self._urgent and age_s >= _URGENT_S)

    def hurry(self) -> None:
        """Has the next update saved, because something may happen soon."""
        self._urgent = True

    def write_in_flight(self, micro: int, phase: str) -> None:
        """Writes down which micro-batches run from now on: what a training that is killed can no longer tell."""
        if self._journal is None or self._written == (micro, phase):
            return
        try:
            self._journal.write(micro, phase)
            self._written = micro, phase
        except OSError as error:
            self._note(f"The size that is running could not be written down ({error}).")

    def save(self, model: Any, state: CheckpointState) -> None:
        try:
            self._checkpoint.save(model, self._completed(state))
        except OSError as error:
            self._note(f"The run could not be saved ({error}); the save before it, if any, is whole.")
        self._saved_s, self._urgent = self._clock(), False

    def finish(self, model: Any, state: CheckpointState | None) -> None:
        """Removes what was saved, or saves it as finished: the run has come to its end."""
        if self._lasting and state is not None:
            self.save(model, replace(state, finished=True))
        try:
            if not self._lasting:
                self._checkpoint.clear()
            if self._journal is not None:
                self._journal.clear()
        except OSError as error:
            self._note(f"The saved run could not be removed ({error}).")

    def _completed(self, state: CheckpointState) -> CheckpointState:
        bounds = [bound for bound in (self._max_micro_batch_size, state.max_micro_batch_size) if bound is not None]
        return replace(state, run=self._run, max_micro_batch_size=min(bounds, default=None))


@dataclass(frozen=True, slots=True)
class SupervisedFolder(PathLike[str]):
    """Give it to `fit` as `checkpoint`: a run that is done then stays stored, as finished, until it is cleared.

    So whatever becomes of the trained model before it is saved elsewhere, nothing has to be trained again.

    Attributes:
        max_micro_batch_size: The largest micro-batch to run from now on, which the checkpoint remembers; `None` for no
            new bound.
    """

    folder: str | PathLike[str]  # the folder
    max_micro_batch_size: int | None = None

    def __fspath__(self) -> str:
        return fspath(self.folder)

    def clear(self) -> None:
        """Removes the run; the folder stays.

        Raises:
            OSError: It could not be removed.
        """
        CheckpointStore(self.folder).clear()
        InFlightJournal(self.folder).clear()


def next_smaller_micro_batch(micro: int, effective: int | None, group: int = 1) -> int | None:
    """The next smaller micro-batch, `None` if there is none.

    Args:
        micro: The size that was running when memory ran out.
        effective: Samples behind one update; `micro`, where it is not known or smaller than that, as it may be where
            the effective batch changes.
        group: Samples that are never cut.

    Example:
        >>> [next_smaller_micro_batch(size, 64) for size in (64, 22, 1)]
        [32, 16, None]
    """
    return next_rung(micro, rungs(max(effective or micro, micro), micro, group))
