"""Which sizes fit by what has been seen so far: what a micro-batch asks of each resource, against what there is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from autobatch._text import format_bytes, format_count
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.state import PolicyState, ResourceBudget, Snapshot


@dataclass(frozen=True, slots=True)
class Requirement:
    size: int  # samples in the micro-batch
    resource: str  # which resource
    budget: ResourceBudget  # what it allows
    need_bytes: int  # what this process occupies at the peak of the micro-batch
    ahead_bytes: int  # what others would take while it runs, at the rate they have just been taking it
    rate: float  # that rate, in bytes per second

    @property
    def spare_bytes(self) -> int:
        """What is left of the budget; negative where the micro-batch does not fit."""
        return self.budget.budget_bytes - self.need_bytes - self.ahead_bytes

    @property
    def reach_left_bytes(self) -> int:
        """What is left of the reach; negative where the micro-batch would run out of memory."""
        return self.budget.reach_bytes - self.need_bytes

    def too_much(self) -> str:
        if self.need_bytes <= self.budget.budget_bytes:
            taken = f"others have been taking {format_bytes(self.rate)}/s, {format_bytes(self.ahead_bytes)} ahead"
            return f"{self._need_text()}, the {self.budget}, and {taken}"
        same = format_bytes(self.need_bytes) == format_bytes(self.budget.budget_bytes)
        short = f", {format_bytes(self.need_bytes - self.budget.budget_bytes)} too little" if same else ""
        return f"{self._need_text()} and the {self.budget}{short}"

    def fits(self, readings: int) -> str:
        spare = format_bytes(self.spare_bytes)
        return f"{self._need_text()} and the {self.budget}, {spare} to spare, for {readings} readings in a row"

    def cannot(self) -> str:
        """Says why not even this micro-batch, the smallest, can run."""
        reach, reserve = format_bytes(self.budget.reach_bytes), format_bytes(self.budget.reserve_bytes)
        missing = f"{format_bytes(-self.reach_left_bytes)} are missing"
        return (
            f"{self._need_text()} and the {self.budget.limit} has {reach}, the reserve of {reserve} included: {missing}"
        )

    def _need_text(self) -> str:
        verb = "needs" if self.size == 1 else "need"
        return f"{format_count(self.size, 'sample')} {verb} up to {format_bytes(self.need_bytes)}"


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """Judges sizes by one snapshot.

    A resource counts where both its need and its budget are known.

    Attributes:
        footprints: For each resource, the bytes occupied at the peak of a micro-batch, from the number of samples.
    """

    footprints: Mapping[str, Callable[[int], int]]
    config: ControllerConfig  # how careful to be
    state: PolicyState  # what is remembered, the snapshot included
    snapshot: Snapshot | None  # what was seen, `None` where there is none

    def requirements(self, size: int) -> list[Requirement]:
        if self.snapshot is None:
            return []
        # The cap is for nonsense: rates and times whose product no number can hold.
        running_s = min(1e9, max(self.snapshot.next_s, (self.state.pace_s or 0.0) * size))
        ahead_s = self.config.foresight * running_s
        requirements = []
        for resource in sorted(self.footprints):
            budget, rate = self.snapshot.budgets.get(resource), self.state.rate(resource)
            if budget is not None:
                requirements.append(
                    Requirement(size, resource, budget, self.footprints[resource](size), ceil(rate * ahead_s), rate)
                )
        return requirements

    def tightest(self, size: int) -> Requirement | None:
        return min(self.requirements(size), key=lambda requirement: requirement.spare_bytes, default=None)

    def fits(self, size: int) -> bool:
        """Tells whether a size may be in use: by its needs, and by what ran out of memory."""
        return all(limit.may_stay(size, self.snapshot) for limit in self.state.oom_limits) and all(
            requirement.spare_bytes >= 0 for requirement in self.requirements(size)
        )

    def may_enter(self, size: int) -> bool:
        """Tells whether a larger size may be entered: with the margin, and clearly above what ran out of memory.

        A resource that was seen before and is not seen now is unknown, and growing waits for it.
        """
        requirements = self.requirements(size)
        known = {requirement.resource for requirement in requirements}
        return (
            bool(requirements)
            and all(
                growth.resource in known for growth in self.state.external_growth if growth.resource in self.footprints
            )
            and all(limit.may_enter(size, self.snapshot) for limit in self.state.oom_limits)
            and all(one.spare_bytes >= max(0.0, self.config.margin * one.budget.budget_bytes) for one in requirements)
        )

    def may_settle(self, size: int, proven: int | None = None) -> bool:
        """Tells whether a size may be carried over to.

        With nothing ever seen, what ran out of memory counts, and what has run in a trial (`proven` samples).
        """
        if size <= self.state.micro_batch_size:
            return self.fits(size)
        if self.state.external_growth or self.requirements(size):
            return self.may_enter(size)
        if proven is not None and size > proven:
            return False
        return all(limit.may_enter(size, self.snapshot) for limit in self.state.oom_limits)
