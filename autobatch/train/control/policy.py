"""How large the next micro-batch may be: when to shrink and when to grow.

Numbers in, numbers out: no clock, no sensor, no backend. How patient it is stands in `config.py`. Another reason to
shrink, such as memory pressure (PSI), would be read into the `Snapshot` (`watcher.py`, `state.py`) and judged here.

A micro-batch of n samples fits when, for every resource,

    need(n) + foresight * rate * seconds(n) <= budget

where rate is what others have just been taking per second: the reserve must outlast the time until the next reading.
A size that does not fit is left at once, for the largest one that does. A larger one is entered when it has fitted with
a margin for `patience` readings in a row: the largest of them at once, up to what a trial has proven, and one rung at a
time beyond that. Growing that does not last makes the patience longer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from autobatch.data.epoch import next_rung
from autobatch.errors import ArgumentError
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.fits import SizeCheck
from autobatch.train.control.state import PolicyDecision, PolicyState, Snapshot, oom_limit_of, same_rung, updated_growth


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides how large a micro-batch may be.

    Between two readings by which other rungs fit, the size changes at most `len(ladder) - 1` times (once, if at all,
    for a smaller one). Where memory swings faster than a larger size can last, the patience doubles with every swing
    until it outlasts them.

    Args:
        ladder: The sizes there are, descending; the first is the largest that is proven.
        footprints: For each resource, the bytes that this process occupies at the peak of a micro-batch, its baseline
            included, from the number of samples; never less for more samples.
        config: How careful to be.
        proven: The largest size that has run in a trial, `None` where that is not known: what is above is entered one
            rung at a time, and while nothing is known of the memory, no larger one is begun with.

    Example:
        >>> from autobatch.train.control.state import ResourceBudget
        >>> policy = Policy((8, 4, 2, 1), {"host": lambda size: 100 * size})
        >>> state, decision = policy.saw(policy.start(8), Snapshot(0.0, {"host": ResourceBudget(500, 50, "host", 0)}))
        >>> decision.reason
        '8 samples need up to 800 bytes and the host leaves 500 bytes beside a reserve of 50 bytes'
        >>> state.micro_batch_size
        4
    """

    ladder: tuple[int, ...]
    footprints: Mapping[str, Callable[[int], int]]
    config: ControllerConfig = field(default_factory=ControllerConfig)
    proven: int | None = None

    def __post_init__(self) -> None:
        if not self.ladder or self.ladder[-1] < 1 or any(low >= high for high, low in pairwise(self.ladder)):
            raise ArgumentError(
                "There is no way down such a ladder. "
                f"Received: ladder={self.ladder!r}. Expected sizes from 1 up, each smaller than the one before."
            )

    def start(self, micro: int) -> PolicyState:
        """Returns the state at the beginning, at the largest rung up to `micro` samples."""
        return PolicyState(next_rung(micro + 1, self.ladder) or self.ladder[-1])

    def saw(self, state: PolicyState, snapshot: Snapshot) -> tuple[PolicyState, PolicyDecision | None]:
        """Returns what follows from a reading: the new state, and the decision if there is one.

        A "stuck" is said at every snapshot that would let even the smallest rung run out of memory.
        """
        state = _noted(state, snapshot)
        check = self._check(state, snapshot)
        if check.fits(state.micro_batch_size):
            return self._perhaps_grown(check)
        if state.micro_batch_size > self.ladder[-1]:
            return self._too_large(check, snapshot)
        return replace(state, good=0), _stuck(check)

    def missed(self, state: PolicyState) -> PolicyState:
        """Returns the state after a reading that failed: good readings in a row end, and nothing else is known."""
        return replace(state, good=0)

    def ran_out(
        self, state: PolicyState, size: int, snapshot: Snapshot | None, resource: str
    ) -> tuple[PolicyState, PolicyDecision | None]:
        """Returns what follows from a real out-of-memory error of a micro-batch of `size` samples.

        The snapshot is one of after the error: an earlier one may be of before somebody took the memory. The size falls
        by one rung at least; there is no decision where the smallest is in use already.
        """
        state = state if snapshot is None else _noted(state, snapshot)
        earlier = same_rung(state.oom_limits, self.ladder, size, resource)
        limit = oom_limit_of(size, resource, snapshot, self.config.clearly, earlier)
        others = tuple(one for one in state.oom_limits if one not in earlier)
        state = replace(state, good=0, oom_limits=(*others, limit))
        if state.micro_batch_size == self.ladder[-1]:
            return state, None
        micro = self._below(self._check(state, snapshot), min(size, state.micro_batch_size))
        return self._shrunk(state, micro, limit.set_by(snapshot), resource)

    def headroom_bytes(self, state: PolicyState, snapshot: Snapshot) -> int | None:
        """Returns reach minus what the current micro-batch needs, the least of all resources; `None` if unknown."""
        requirements = self._check(state, snapshot).requirements(state.micro_batch_size)
        return min((requirement.reach_left_bytes for requirement in requirements), default=None)

    def settle(self, state: PolicyState, snapshot: Snapshot | None) -> PolicyState:
        """Returns the state carried over to this policy from one with another ladder.

        The size is the largest rung that fits by the last snapshot and is below the OOM limits; one above the size that
        was in use must leave the margin over. Without a snapshot nothing larger than that size is entered if there ever
        was one, and else everything below the OOM limits counts as fitting. (A policy that differs in its footprints
        alone takes the state as it is.)
        """
        check = self._check(state, snapshot)
        micro = next((rung for rung in self.ladder if check.may_settle(rung, self.proven)), self.ladder[-1])
        return state if micro == state.micro_batch_size else replace(state, micro_batch_size=micro, good=0, held=None)

    def stuck(self, state: PolicyState, snapshot: Snapshot) -> PolicyDecision | None:
        """Returns what to say where even the smallest rung would run out of memory by a snapshot that was seen."""
        return _stuck(self._check(state, snapshot)) if state.micro_batch_size == self.ladder[-1] else None

    def fitting(self, state: PolicyState, snapshot: Snapshot) -> tuple[int, ...]:
        """Returns the rungs that fit by a snapshot that the state has seen, descending."""
        return tuple(filter(self._check(state, snapshot).fits, self.ladder))

    def _check(self, state: PolicyState, snapshot: Snapshot | None) -> SizeCheck:
        return SizeCheck(self.footprints, self.config, state, snapshot)

    def _patience(self, state: PolicyState) -> int:
        return self.config.patience * state.backoff

    def _perhaps_grown(self, check: SizeCheck) -> tuple[PolicyState, PolicyDecision | None]:
        state = self._lasting(check.state)
        larger = self._enterable(check)
        if larger is None:
            return replace(state, good=0), None
        good = state.good + 1
        # What has fitted throughout: no reading so far left budget for less.
        larger = min(larger, state.reachable or larger) if state.good else larger
        requirement = check.tightest(larger)
        if requirement is None or good < self._patience(state):
            return replace(state, good=good, reachable=larger), None
        grown = replace(state, micro_batch_size=larger, good=0, held=0, reachable=None)
        return grown, PolicyDecision(
            "grow", state.micro_batch_size, larger, requirement.fits(good), requirement.resource
        )

    def _enterable(self, check: SizeCheck) -> int | None:
        """The largest rung that growing may lead to by one snapshot, `None` if there is none."""
        above = [rung for rung in self.ladder if rung > check.state.micro_batch_size]
        within_reach = [rung for rung in above if rung == above[-1] or rung <= (self.proven or 0)]
        return next(filter(check.may_enter, within_reach), None)

    def _lasting(self, state: PolicyState) -> PolicyState:
        """The state with one more reading that the last growth has outlasted."""
        if state.held is None:
            return state
        held = state.held + 1
        lasted = held >= self.config.hold * self._patience(state)
        return replace(state, held=None, backoff=1) if lasted else replace(state, held=held)

    def _too_large(self, check: SizeCheck, snapshot: Snapshot) -> tuple[PolicyState, PolicyDecision | None]:
        state = check.state
        micro = self._below(check, state.micro_batch_size)
        requirement, lower = check.tightest(state.micro_batch_size), check.tightest(micro)
        if requirement is not None and lower is not None and lower.spare_bytes < min(0, requirement.spare_bytes):
            # The gradients that several micro-batches have to keep outweigh what smaller ones save.
            return replace(state, good=0), None
        if requirement is not None and requirement.spare_bytes < 0:
            return self._shrunk(state, micro, requirement.too_much(), requirement.resource)
        limit = next(one for one in state.oom_limits if not one.may_stay(state.micro_batch_size, snapshot))
        return self._shrunk(state, micro, limit.hit_by(snapshot), limit.resource)

    def _below(self, check: SizeCheck, size: int) -> int:
        """The largest rung below `size` that fits, the smallest rung if none does."""
        return next((rung for rung in self.ladder if rung < size and check.fits(rung)), self.ladder[-1])

    def _shrunk(self, state: PolicyState, micro: int, reason: str, resource: str) -> tuple[PolicyState, PolicyDecision]:
        """The smaller size; where the last growth did not last, with more patience."""
        backoff = state.backoff if state.held is None else min(2 * state.backoff, self.config.longest)
        smaller = replace(state, micro_batch_size=micro, good=0, held=None, backoff=backoff)
        return smaller, PolicyDecision("shrink", state.micro_batch_size, micro, reason, resource)


def _noted(state: PolicyState, snapshot: Snapshot) -> PolicyState:
    pace_s = state.pace_s if snapshot.pace_s is None else snapshot.pace_s
    return replace(state, pace_s=pace_s, external_growth=updated_growth(state.external_growth, snapshot))


def _stuck(check: SizeCheck) -> PolicyDecision | None:
    """What to say where even the smallest rung does not fit: only beyond the reserve does memory run out."""
    micro = check.state.micro_batch_size
    requirement = min(check.requirements(micro), key=lambda one: one.reach_left_bytes, default=None)
    if requirement is None or requirement.reach_left_bytes >= 0:
        return None
    return PolicyDecision("stuck", micro, micro, requirement.cannot(), requirement.resource)
