"""Saves a run every now and then, so that one that is killed can go on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
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
        run: What the run was begun with, to be saved with it.
        ceiling: The largest micro-batch that it may run, `None` for no bound.
        lasting: Whether a run that has come to its end stays saved, as one that is finished.
        note: Told what should be said once.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        every_s: float,
        journal: Journal | None = None,
        *,
        run: Mapping[str, Any] | None = None,
        ceiling: int | None = None,
        lasting: bool = False,
        note: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoint, self._every_s, self._note, self._clock = checkpoint, every_s, note, clock
        self._journal, self._run, self._ceiling, self._lasting = journal, run or {}, ceiling, lasting
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
            self._checkpoint.save(model, self._completed(standing))
        except OSError as error:
            self._note(f"The run could not be saved ({error}); the save before it, if any, is whole.")
        self._saved_s, self._urgent = self._clock(), False

    def done(self, model: Any, standing: Standing | None) -> None:
        """Removes what was saved, or saves it as finished: the run has come to its end.

        Args:
            model: The model as it has ended.
            standing: Where it stands, `None` if there was nothing to do.
        """
        if self._lasting and standing is not None:
            self.keep(model, replace(standing, finished=True))
        try:
            if not self._lasting:
                self._checkpoint.clear()
            if self._journal is not None:
                self._journal.clear()
        except OSError as error:
            self._note(f"The saved run could not be removed ({error}).")

    def _completed(self, standing: Standing) -> Standing:
        bounds = [bound for bound in (self._ceiling, standing.ceiling) if bound is not None]
        return replace(standing, run=self._run, ceiling=min(bounds, default=None))
