"""autobatch's search, driving trials that are not its own: the finder of a probe, with other surroundings.

Everything that decides is the product's: which size is tried next, how a peak is judged, when the search ends. Only the
place where trials run and the reading of the memory are given, as in its tests.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from hard_budget import HardBudget, Tried
from peers import DiedError, OutOfMemoryError, Situation

from autobatch.data.batch import Batch
from autobatch.memory.reserve import DEFAULT_RESERVE, Reserve
from autobatch.probing.answer import Answer
from autobatch.probing.find import Seams, find
from autobatch.probing.question import Question
from autobatch.results.probe import Mode
from autobatch.results.trial import Outcome
from autobatch.testing import memory_reading

RESERVES = {"autobatch": Reserve(DEFAULT_RESERVE.fraction, 0), "autobatch, no reserve": Reserve(0.0, 0)}


class ForeignSite:
    """Where trials run, as the finder asks for it.

    Args:
        attempt: Runs a size.
        base_bytes: What the process holds between steps.
    """

    where = "worker"

    def __init__(self, attempt: Callable[[int], Tried], base_bytes: int) -> None:
        self._attempt, self._base_bytes = attempt, base_bytes
        self.notes: list[str] = []
        self.held: Mapping[str, int] = {}
        self.starts = 1
        self._largest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def trial(self, size: int, *_: Any, fresh: bool = False, **__: Any) -> Answer:
        """Runs a size; where the product would start its worker anew before that, it is counted."""
        self.starts += fresh and size < self._largest
        self._largest = size if fresh else max(size, self._largest)
        try:
            tried = self._attempt(size)
        except OutOfMemoryError as error:
            return Answer(Outcome.OUT_OF_MEMORY, detail=str(error))
        except DiedError as error:
            self.starts += 1
            return Answer(Outcome.CRASHED, detail=str(error))
        peaks, moments = {"host": tried.peak_bytes - self._base_bytes}, {"host": tried.moments} if tried.moments else {}
        told = {"seconds": tried.step_s, "peaks": peaks, "moments": moments, "held": {}}
        return Answer(Outcome.RAN, told, wall_s=tried.seconds)

    def renew(self) -> None:
        """Counts a start; the process is kept."""
        self.starts += 1


def own_search(situation: Situation, budget: HardBudget, reserve: Reserve, mode: Mode = "largest") -> tuple[int, int]:
    """The size that a mode asks for, with so much left free, and how many workers would have been started for it."""
    left_bytes = budget.limit_bytes - budget.base_bytes
    sites: list[ForeignSite] = []

    def reading() -> Any:
        return memory_reading(
            host_total_bytes=budget.limit_bytes, host_available_bytes=left_bytes, rss_bytes=budget.base_bytes
        )

    def site(*_: Any, **__: Any) -> Any:
        sites.append(ForeignSite(situation.attempt, budget.base_bytes))
        return sites[-1]

    question = Question(mode, situation.samples, reserve=reserve)
    nothing = Batch(np.zeros((1, 1)))
    # The device belongs to the process of the trials; asking for it here would take memory from it.
    seams = Seams(read=reading, site=site, gpu=lambda: None)
    found = find(None, nothing, question, seams=seams)
    return found.batch_size, sum(one.starts for one in sites)
