"""What the policy is told, what it remembers, and what it decides: values without behaviour of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autobatch._text import format_bytes, format_count
from autobatch.data.epoch import next_rung
from autobatch.memory.reading import MemoryReading


@dataclass(frozen=True, slots=True)
class ResourceBudget:
    budget_bytes: int  # reach minus reserve, the most that this process should occupy
    reserve_bytes: int  # what stays free on purpose
    limit: str  # what limits it, for people: "control group v1 /jobs/7", "host", "GPU:0"
    available_bytes: int = field(compare=False)  # what this process could take on top of what it occupies

    @property
    def reach_bytes(self) -> int:
        return self.budget_bytes + self.reserve_bytes

    def __str__(self) -> str:
        return (
            f"{self.limit} leaves {format_bytes(self.budget_bytes)} "
            f"beside a reserve of {format_bytes(self.reserve_bytes)}"
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen between two micro-batches."""

    at_s: float  # when, in seconds of a clock that does not go back
    budgets: Mapping[str, ResourceBudget]  # what each resource allows: "host", and "device" where there is one
    micro_s: float | None = None  # seconds that the last micro-batch took, `None` before the first
    micro_size: int | None = None  # samples in it
    next_s: float = 0.0  # the least that passes until the next reading, in seconds, however short a micro-batch is
    reading: MemoryReading | None = field(default=None, compare=False)  # what the budgets were read from

    @property
    def pace_s(self) -> float | None:
        """Seconds per sample of the last micro-batch, `None` where it is not known."""
        if self.micro_s is None or self.micro_size is None or self.micro_s < 0 or self.micro_size < 1:
            return None
        return self.micro_s / self.micro_size


def binding(budgets: Mapping[str, ResourceBudget]) -> ResourceBudget | None:
    """The tightest of what each resource allows, `None` where there is nothing."""
    return min(budgets.values(), key=lambda budget: budget.available_bytes - budget.reserve_bytes, default=None)


# Two readings closer together than this say more about the sensors' jitter than about anybody's rate.
SHORTEST_S = 0.05
# A sixteenth of a rate is left after a second without taking.
HALF_LIFE_S = 0.25


@dataclass(frozen=True, slots=True)
class ExternalGrowth:
    """What others take of one resource."""

    resource: str  # which
    at_s: float  # when it was last seen
    reach_bytes: int  # its reach then
    rate: float = 0.0  # bytes per second that others have just been taking; never negative

    def then(self, at_s: float, reach_bytes: int) -> "ExternalGrowth":
        """Returns what others take after one more reading.

        The rate is that of the newest interval or what is left of the remembered one, whichever is larger: those who
        take in bursts are not forgotten between two of them. What is remembered halves every `HALF_LIFE_S`.
        """
        passed_s = max(0.0, at_s - self.at_s)
        newest = (self.reach_bytes - reach_bytes) / max(passed_s, SHORTEST_S)
        remembered = self.rate * 0.5 ** (passed_s / HALF_LIFE_S)
        return ExternalGrowth(self.resource, at_s, reach_bytes, max(newest, remembered, 0.0))


def updated_growth(external_growth: tuple[ExternalGrowth, ...], snapshot: Snapshot) -> tuple[ExternalGrowth, ...]:
    """Returns what others take of every resource that was ever seen, the newest snapshot included."""
    known = {growth.resource: growth for growth in external_growth}
    for resource, budget in snapshot.budgets.items():
        before = known.get(resource) or ExternalGrowth(resource, snapshot.at_s, budget.reach_bytes)
        known[resource] = before.then(snapshot.at_s, budget.reach_bytes)
    return tuple(known[resource] for resource in sorted(known))


@dataclass(frozen=True, slots=True)
class OomLimit:
    """One size that really ran out of memory.

    The budget at that moment was not enough for it, whatever the peak model says. So the size and all larger ones are
    out until the budget is clearly above it, and out again as soon as the budget is back where it was.
    """

    size: int  # samples in the micro-batch that ran out
    resource: str  # what it ran out of
    failed_bytes: int | None  # the budget that was not enough, `None` if there was no reading: out until the run ends
    bar_bytes: float  # the budget above which the size is tried again

    def may_stay(self, size: int, snapshot: Snapshot | None) -> bool:
        """Tells whether a micro-batch of `size` that is in use may go on."""
        if size < self.size:
            return True
        budget = self._budget(snapshot)
        return self.failed_bytes is not None and (budget is None or budget.budget_bytes > self.failed_bytes)

    def may_enter(self, size: int, snapshot: Snapshot | None) -> bool:
        """Tells whether a micro-batch of `size` may be tried (again)."""
        if size < self.size:
            return True
        budget = self._budget(snapshot)
        return self.failed_bytes is not None and budget is not None and budget.budget_bytes > self.bar_bytes

    def set_by(self, snapshot: Snapshot | None) -> str:
        ran_out = f"a micro-batch of {format_count(self.size, 'sample')} ran out of {self.resource} memory"
        budget = self._budget(snapshot)
        if budget is None or self.failed_bytes is None:
            return f"{ran_out} and no reading says how much there was: so many are not tried again"
        return f"{ran_out} and the {budget}: so many are tried again above {format_bytes(self.bar_bytes)}"

    def hit_by(self, snapshot: Snapshot) -> str:
        ran_out = f"{format_count(self.size, 'sample')} ran out of {self.resource} memory before"
        budget = self._budget(snapshot)
        if budget is None or self.failed_bytes is None:
            return ran_out
        return f"{ran_out}, with {format_bytes(self.failed_bytes)}, and the {budget}"

    def _budget(self, snapshot: Snapshot | None) -> ResourceBudget | None:
        return None if snapshot is None else snapshot.budgets.get(self.resource)


def oom_limit_of(
    size: int, resource: str, snapshot: Snapshot | None, clearly: float, earlier: Sequence[OomLimit] = ()
) -> OomLimit:
    size = min((size, *(one.size for one in earlier)))
    budget = None if snapshot is None else snapshot.budgets.get(resource)
    if budget is None or any(one.failed_bytes is None for one in earlier):
        return OomLimit(size, resource, None, float("inf"))
    failed_bytes = max((budget.budget_bytes, *(int(one.bar_bytes) for one in earlier)))
    return OomLimit(size, resource, failed_bytes, failed_bytes + clearly * abs(failed_bytes))


def same_rung(oom_limits: Sequence[OomLimit], ladder: Sequence[int], size: int, resource: str) -> tuple[OomLimit, ...]:
    """Returns the OOM limits that `resource` set at the rung of `size`.

    Near-equal micro-batches of one rung differ by a sample: 64 samples in threes are 22, 21 and 21.
    """
    lower = next_rung(size, ladder) or 0
    upper = min((rung for rung in ladder if rung >= size), default=size)
    return tuple(one for one in oom_limits if one.resource == resource and lower < one.size <= upper)


@dataclass(frozen=True, slots=True)
class PolicyState:
    micro_batch_size: int  # samples in a micro-batch
    good: int = 0  # readings in a row in which a larger size fitted with its margin
    reachable: int | None = None  # the largest size that did so in all of them
    backoff: int = 1  # what the patience is multiplied by now
    held: int | None = None  # readings since the last growth; `None` once it has lasted, or after a shrink
    pace_s: float | None = None  # seconds per sample of the last micro-batch that was timed
    external_growth: tuple[ExternalGrowth, ...] = ()  # what others take of each resource
    oom_limits: tuple[OomLimit, ...] = ()  # the sizes that ran out of memory

    @property
    def smallest_oom_size(self) -> int | None:
        return min((limit.size for limit in self.oom_limits), default=None)

    def rate(self, resource: str) -> float:
        """Returns the bytes per second that others have just been taking of `resource`."""
        return next((growth.rate for growth in self.external_growth if growth.resource == resource), 0.0)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """A decision.

    Attributes:
        kind: "shrink" and "grow" change the size; "stuck" says that even the smallest would run out of memory.
    """

    kind: Literal["shrink", "grow", "stuck"]
    before: int  # samples in a micro-batch before it
    after: int  # samples in a micro-batch from now on
    reason: str  # one sentence with the numbers
    resource: str | None  # the resource that decided, `None` where none is known
