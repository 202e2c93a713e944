"""How large the next micro-batch may be. Numbers in, numbers out: no clock, no sensor, no backend.

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

from autobatch.data.splitting import next_rung
from autobatch.errors import ArgumentError
from autobatch.train.control.fits import Judge
from autobatch.train.control.state import Move, Room, Settings, Sight, State, after, ceiling_of, same_rung

__all__ = ["Move", "Policy", "Room", "Settings", "Sight", "State"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides how large a micro-batch may be.

    Between two readings by which other rungs fit, the size changes at most `len(ladder) - 1` times (once, if at all,
    for a smaller one). Where memory swings faster than a larger size can last, the patience doubles with every swing
    until it outlasts them.

    Args:
        ladder: The sizes there are, descending; the first is the largest that is proven.
        needs: For each resource, the bytes that this process occupies at the peak of a micro-batch, its baseline
            included, from the number of samples; never less for more samples.
        settings: How careful to be.
        proven: The largest size that has run in a trial, `None` where that is not known: what is above is entered one
            rung at a time, and while nothing is known of the memory, no larger one is begun with.

    Raises:
        ArgumentError: The ladder is empty, does not descend, or ends below 1.

    Example:
        >>> policy = Policy((8, 4, 2, 1), {"host": lambda size: 100 * size})
        >>> state, move = policy.saw(policy.start(8), Sight(0.0, {"host": Room(500, 50, "host", 0)}))
        >>> move.reason
        '8 samples need up to 800 bytes and the host leaves 500 bytes beside a reserve of 50 bytes'
        >>> state.micro
        4
    """

    ladder: tuple[int, ...]
    needs: Mapping[str, Callable[[int], int]]
    settings: Settings = field(default_factory=Settings)
    proven: int | None = None

    def __post_init__(self) -> None:
        """Checks the ladder."""
        if not self.ladder or self.ladder[-1] < 1 or any(low >= high for high, low in pairwise(self.ladder)):
            raise ArgumentError(
                "There is no way down such a ladder. "
                f"Received: ladder={self.ladder!r}. Expected sizes from 1 up, each smaller than the one before."
            )

    def start(self, micro: int) -> State:
        """Returns the state at the beginning, at the largest rung up to `micro` samples."""
        return State(next_rung(micro + 1, self.ladder) or self.ladder[-1])

    def saw(self, state: State, sight: Sight) -> tuple[State, Move | None]:
        """Returns what follows from a reading: the new state, and the decision if there is one.

        A "stuck" is said at every sight that would let even the smallest rung run out of memory.
        """
        state = _noted(state, sight)
        judge = self._judge(state, sight)
        if judge.fits(state.micro):
            return self._perhaps_grown(judge)
        if state.micro > self.ladder[-1]:
            return self._too_large(judge, sight)
        return replace(state, good=0), _stuck(judge)

    def missed(self, state: State) -> State:
        """Returns the state after a reading that failed: good readings in a row end, and nothing else is known."""
        return replace(state, good=0)

    def ran_out(self, state: State, size: int, sight: Sight | None, resource: str) -> tuple[State, Move | None]:
        """Returns what follows from a real out-of-memory error.

        Args:
            state: The state before it.
            size: Samples in the micro-batch that ran out.
            sight: A reading made after the error, because an earlier one may be of before somebody took the memory;
                `None` if there is none.
            resource: What ran out.

        Returns:
            The state with the new ceiling, and the shrink, by one rung at least; no decision where the smallest rung
            is in use already.
        """
        state = state if sight is None else _noted(state, sight)
        earlier = same_rung(state.ceilings, self.ladder, size, resource)
        ceiling = ceiling_of(size, resource, sight, self.settings.clearly, earlier)
        others = tuple(one for one in state.ceilings if one not in earlier)
        state = replace(state, good=0, ceilings=(*others, ceiling))
        if state.micro == self.ladder[-1]:
            return state, None
        micro = self._below(self._judge(state, sight), min(size, state.micro))
        return self._shrunk(state, micro, ceiling.set_by(sight), resource)

    def headroom_bytes(self, state: State, sight: Sight) -> int | None:
        """Returns reach minus what the current micro-batch needs, the least of all resources; `None` if unknown."""
        demands = self._judge(state, sight).demands(state.micro)
        return min((demand.beyond_bytes for demand in demands), default=None)

    def settle(self, state: State, sight: Sight | None) -> State:
        """Returns the state carried over to this policy from one with another ladder.

        The size is the largest rung that fits by the last sight and is below the ceilings; one above the size that was
        in use must leave the margin over. Without a sight nothing larger than that size is entered if there ever was
        one, and else everything below the ceilings counts as fitting. (A policy that differs in its needs alone takes
        the state as it is.)
        """
        judge = self._judge(state, sight)
        micro = next((rung for rung in self.ladder if judge.may_settle(rung, self.proven)), self.ladder[-1])
        return state if micro == state.micro else replace(state, micro=micro, good=0, held=None)

    def stuck(self, state: State, sight: Sight) -> Move | None:
        """Returns what to say where even the smallest rung would run out of memory by a sight that was seen."""
        return _stuck(self._judge(state, sight)) if state.micro == self.ladder[-1] else None

    def fitting(self, state: State, sight: Sight) -> tuple[int, ...]:
        """Returns the rungs that fit by a sight that the state has seen, descending."""
        return tuple(filter(self._judge(state, sight).fits, self.ladder))

    def _judge(self, state: State, sight: Sight | None) -> Judge:
        return Judge(self.needs, self.settings, state, sight)

    def _patience(self, state: State) -> int:
        return self.settings.patience * state.backoff

    def _perhaps_grown(self, judge: Judge) -> tuple[State, Move | None]:
        state = self._lasting(judge.state)
        larger = self._enterable(judge)
        if larger is None:
            return replace(state, good=0), None
        good = state.good + 1
        # What has fitted throughout: no reading so far had room for less.
        larger = min(larger, state.reachable or larger) if state.good else larger
        demand = judge.tightest(larger)
        if demand is None or good < self._patience(state):
            return replace(state, good=good, reachable=larger), None
        grown = replace(state, micro=larger, good=0, held=0, reachable=None)
        return grown, Move("grow", state.micro, larger, demand.fits(good), demand.resource)

    def _enterable(self, judge: Judge) -> int | None:
        """The largest rung that growing may lead to by one sight, `None` if there is none."""
        above = [rung for rung in self.ladder if rung > judge.state.micro]
        return next((rung for rung in above if self._within_reach(rung, above) and judge.may_enter(rung)), None)

    def _within_reach(self, rung: int, above: list[int]) -> bool:
        return rung == above[-1] or (self.proven is not None and rung <= self.proven)

    def _lasting(self, state: State) -> State:
        """The state with one more reading that the last growth has outlasted."""
        if state.held is None:
            return state
        held = state.held + 1
        lasted = held >= self.settings.hold * self._patience(state)
        return replace(state, held=None, backoff=1) if lasted else replace(state, held=held)

    def _too_large(self, judge: Judge, sight: Sight) -> tuple[State, Move | None]:
        state = judge.state
        micro = self._below(judge, state.micro)
        demand, lower = judge.tightest(state.micro), judge.tightest(micro)
        if demand is not None and lower is not None and lower.spare_bytes < min(0, demand.spare_bytes):
            # The gradients that several micro-batches have to keep outweigh what smaller ones save.
            return replace(state, good=0), None
        if demand is not None and demand.spare_bytes < 0:
            return self._shrunk(state, micro, demand.too_much(), demand.resource)
        ceiling = next(one for one in state.ceilings if not one.may_stay(state.micro, sight))
        return self._shrunk(state, micro, ceiling.hit_by(sight), ceiling.resource)

    def _below(self, judge: Judge, size: int) -> int:
        """The largest rung below `size` that fits, the smallest rung if none does."""
        return next((rung for rung in self.ladder if rung < size and judge.fits(rung)), self.ladder[-1])

    def _shrunk(self, state: State, micro: int, reason: str, resource: str) -> tuple[State, Move]:
        """The smaller size; where the last growth did not last, with more patience."""
        backoff = state.backoff if state.held is None else min(2 * state.backoff, self.settings.longest)
        smaller = replace(state, micro=micro, good=0, held=None, backoff=backoff)
        return smaller, Move("shrink", state.micro, micro, reason, resource)


def _noted(state: State, sight: Sight) -> State:
    pace_s = state.pace_s if sight.pace_s is None else sight.pace_s
    return replace(state, pace_s=pace_s, takings=after(state.takings, sight))


def _stuck(judge: Judge) -> Move | None:
    """What to say where even the smallest rung does not fit: only beyond the reserve does memory run out."""
    micro = judge.state.micro
    demand = min(judge.demands(micro), key=lambda one: one.beyond_bytes, default=None)
    if demand is None or demand.beyond_bytes >= 0:
        return None
    return Move("stuck", micro, micro, demand.cannot(), demand.resource)
