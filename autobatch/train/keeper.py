"""Saves a run every now and then, so that one that is killed can go on."""

import time
from collections.abc import Callable
from typing import Any

from autobatch.train.checkpoint import Checkpoint, Standing
from autobatch.train.journal import Journal

# Memory that gets tight is what runs are killed for, so the next update is saved; but not again and again.
_URGENT_S = 10.0


class Keeper:
    """Decides when to save.

    A save that fails (a full disk) is said and leaves the one before it whole; the training goes on.

    Args:
        checkpoint: Where to save.
        every_s: Seconds between two saves within an epoch.
        journal: What to remove beside the checkpoint when the run has come to its end.
        note: Told what should be said once.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        every_s: float,
        journal: Journal | None = None,
        *,
        note: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoint, self._every_s, self._note, self._clock = checkpoint, every_s, note, clock
        self._journal = journal
        self._saved_s = clock()
        self._urgent = False

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        age_s = self._clock() - self._saved_s
        return age_s >= self._every_s or (self._urgent and age_s >= _URGENT_S)

    def urge(self) -> None:
        """Has the next update saved, because something may happen soon."""
        self._urgent = True

    def keep(self, model: Any, standing: Standing) -> None:
        """Saves now."""
        try:
            self._checkpoint.save(model, standing)
        except OSError as error:
            self._note(f"The run could not be saved ({error}); the save before it, if any, is whole.")
        self._saved_s, self._urgent = self._clock(), False

    def done(self) -> None:
        """Removes what was saved: the run has come to its end."""
        try:
            self._checkpoint.clear()
            if self._journal is not None:
                self._journal.clear()
        except OSError as error:
            self._note(f"The saved run could not be removed ({error}).")
