"""Which sizes fit, by what has been seen so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from autobatch.train.demand import Demand
from autobatch.train.sight import Sight
from autobatch.train.state import Settings, State


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges sizes by one sight.

    A resource counts where both its need and its room are known.

    Attributes:
        needs: For each resource, the bytes occupied at the peak of a micro-batch, from the number of samples.
        settings: How careful to be.
        state: What is remembered, the sight included.
        sight: The sight, `None` where there is none.
    """

    needs: Mapping[str, Callable[[int], int]]
    settings: Settings
    state: State
    sight: Sight | None

    def demands(self, size: int) -> list[Demand]:
        """Returns what `size` samples ask of each resource."""
        if self.sight is None:
            return []
        # The cap is for nonsense: rates and times whose product no number can hold.
        running_s = min(1e9, max(self.sight.next_s, (self.state.pace_s or 0.0) * size))
        ahead_s = self.settings.foresight * running_s
        demands = []
        for resource in sorted(self.needs):
            room, rate = self.sight.rooms.get(resource), self.state.rate(resource)
            if room is not None:
                demands.append(Demand(size, resource, room, self.needs[resource](size), ceil(rate * ahead_s), rate))
        return demands

    def tightest(self, size: int) -> Demand | None:
        """Returns the demand that leaves the least of its budget."""
        return min(self.demands(size), key=lambda demand: demand.spare_bytes, default=None)

    def fits(self, size: int) -> bool:
        """Tells whether a size may be in use: by its needs, and by what ran out of memory."""
        return all(ceiling.may_stay(size, self.sight) for ceiling in self.state.ceilings) and all(
            demand.spare_bytes >= 0 for demand in self.demands(size)
        )

    def may_enter(self, size: int) -> bool:
        """Tells whether a larger size may be entered: with the margin, and clearly above what ran out of memory.

        A resource that was seen before and is not seen now is unknown, and growing waits for it.
        """
        demands = self.demands(size)
        known = {demand.resource for demand in demands}
        return (
            bool(demands)
            and all(taking.resource in known for taking in self.state.takings if taking.resource in self.needs)
            and all(ceiling.may_enter(size, self.sight) for ceiling in self.state.ceilings)
            and all(one.spare_bytes >= max(0.0, self.settings.margin * one.room.budget_bytes) for one in demands)
        )

    def may_settle(self, size: int, proven: int | None = None) -> bool:
        """Tells whether a size may be carried over to.

        With nothing ever seen, what ran out of memory counts, and what has run in a trial (`proven` samples).
        """
        if size <= self.state.micro:
            return self.fits(size)
        if self.state.takings or self.demands(size):
            return self.may_enter(size)
        if proven is not None and size > proven:
            return False
        return all(ceiling.may_enter(size, self.sight) for ceiling in self.state.ceilings)
