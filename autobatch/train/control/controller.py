"""The controller: keeps micro-batches as large as memory allows, reading by reading.

What to do is the policy's (`policy.py`, pure). Here it is given readings and is obeyed: between two micro-batches, so
that the next one has the new size already.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autobatch._text import MIB, format_bytes
from autobatch.backend.release import ReleasedMemory
from autobatch.errors import DoesNotFitError, OutOfMemoryError
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import PolicyDecision, ResourceBudget, Snapshot
from autobatch.train.control.watcher import Watcher

_WORTH_BYTES, _WORTH_FRACTION = 32 * MIB, 0.05
_TIGHT_RESERVES = 2
_SOON_S = 10.0
_LEAST_S, _URGENT_S, _MOST_S = 10.0, 1.0, 320.0
_LITTLE = 0.1


@dataclass(slots=True)
class ReleaseTiming:
    """Remembers when memory was given back last although micro-batches stayed as they were, and what came of it.

    A heap grows in use: what a step frees is taken apart for the next, and now and then nothing that is free is in one
    piece. So a process comes to occupy more than its micro-batches need, and while memory is tight that is worth giving
    back. It costs the next step the time to take it again, so it is done seldom, and more seldom where little comes of
    it.
    """

    wait_s: float = _LEAST_S  # seconds to let pass
    last_s: float | None = None  # when it was, `None` for never
    spare_bytes: int = 0  # what was to be given back then

    def due(self, at_s: float, occupied_bytes: int, need_bytes: int, budget: ResourceBudget, rate: float) -> bool:
        spare = occupied_bytes - need_bytes
        if spare <= max(_WORTH_BYTES, _WORTH_FRACTION * need_bytes):
            return False
        free = budget.reach_bytes - occupied_bytes
        soon = rate > 0 and free - budget.reserve_bytes < rate * _SOON_S
        if not soon and free >= _TIGHT_RESERVES * budget.reserve_bytes:
            return False
        # With others about to need it there is no time to lose, unless little came of it the last time.
        wait_s = _URGENT_S if soon and self.wait_s == _LEAST_S else self.wait_s
        if self.last_s is not None and at_s < self.last_s + wait_s:
            return False
        self.last_s, self.spare_bytes = at_s, spare
        return True

    def record(self, returned_bytes: int) -> None:
        little = returned_bytes < _LITTLE * self.spare_bytes
        self.wait_s = min(_MOST_S, 2 * self.wait_s) if little else _LEAST_S


Decided = Callable[[PolicyDecision, int | None, int | None, int | None], None]


@dataclass(frozen=True, slots=True)
class ControllerHooks:
    """What a controller has to do with the world.

    Attributes:
        decided: Told of every decision, with the bytes of headroom before it, those that the system got back by it, and
            those that are no longer needed and cannot be given back.
        seen: Told of every reading, with the size and its headroom in bytes.
        release_memory: Hands memory that is no longer needed back to the system.
    """

    decided: Decided
    begins: Callable[[int], None] = lambda _: None  # told the size, when micro-batches begin to run after a pause
    watch: Watcher | None = None  # takes readings, `None` to go by failures alone
    seen: Callable[[Snapshot, int, int | None], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None  # told what should be said once
    release_memory: Callable[[], ReleasedMemory] | None = None
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class _Pace:
    """How long micro-batches take: from one boundary between them to the next, whatever happens in between."""

    boundary_s: float | None = None
    seconds: float | None = None
    size: int | None = None
    running: int | None = None

    def reached(self, now_s: float) -> None:
        if self.boundary_s is not None and self.running is not None:
            self.seconds, self.size = now_s - self.boundary_s, self.running
        self.running = None


class Controller:
    """Says how many samples the next micro-batch may have."""

    def __init__(self, policy: Policy, micro: int, hooks: ControllerHooks) -> None:
        self._policy, self._hooks = policy, hooks
        self._state = policy.start(micro)
        self._pace = _Pace()
        self._release_timing = ReleaseTiming()
        # What the last reading leaves above the need of a micro-batch, the reserve included; `None` if unknown.
        self.headroom_bytes: int | None = None
        self._paused = False

    @property
    def micro_batch_size(self) -> int:
        return self._state.micro_batch_size

    @property
    def max_micro_batch_size(self) -> int | None:
        """The largest size below those that ran out of memory; `None` if none did, or it has been entered again."""
        failed = self._state.smallest_oom_size
        return None if failed is None or failed <= self.micro_batch_size else max(1, failed - 1)

    def look(self) -> None:
        """Takes a reading if it is time to, and does what it calls for; call it between two micro-batches.

        Raises:
            DoesNotFitError: Not even the smallest micro-batch has fitted for a while.
        """
        watch = self._hooks.watch
        if watch is None:
            return
        self._pace.reached(watch.now_s())
        if watch.due or self._paused:
            self._paused = False
            decision = self._read(watch)
            if decision is not None and decision.kind == "stuck":
                self._wait(watch, decision)
        self._pace.boundary_s = watch.now_s()

    def runs(self, size: int) -> None:
        self._pace.running = size

    def pause(self) -> None:
        """Notes that something else runs until the next `look`.

        It says nothing about the time that micro-batches take, and memory may be another by then: the next `look` takes
        a reading in any case, since the last one may have gone to another controller. What runs then begins.
        """
        self._pace.running, self._paused = None, True
        self._hooks.begins(self.micro_batch_size)

    def adopt(self, policy: Policy, reason: str) -> None:
        """Goes on by another policy, with other sizes; `reason` says why."""
        watch, before = self._hooks.watch, self.micro_batch_size
        snapshot = None if watch is None else self._timed(watch.last)
        self._policy = policy
        self._state = policy.settle(self._state, snapshot)
        after = self.micro_batch_size
        if after != before:
            self._follow(PolicyDecision("grow" if after > before else "shrink", before, after, reason, None), snapshot)

    def ran_out(self, error: OutOfMemoryError) -> None:
        """Falls below a size that has run out of memory.

        Raises:
            DoesNotFitError: There is no smaller size.
        """
        # A reading from before the failure could be one from before a neighbour took the memory.
        snapshot = None if self._hooks.watch is None else self._timed(self._hooks.watch.look())
        # What Python itself could not allocate was the host's.
        by_python = isinstance(error.__cause__, MemoryError)
        resource = "device" if snapshot is not None and "device" in snapshot.budgets and not by_python else "host"
        before = self._state
        self._state, decision = self._policy.ran_out(before, error.size, snapshot, resource)
        if decision is None:
            raise DoesNotFitError(_too_small(error.size), None, 0) from error
        self.headroom_bytes = None if snapshot is None else self._policy.headroom_bytes(self._state, snapshot)
        self._follow(decision, snapshot, None if snapshot is None else self._policy.headroom_bytes(before, snapshot))

    def _timed(self, snapshot: Snapshot | None) -> Snapshot | None:
        """The snapshot with the time that micro-batches have just been taking."""
        return None if snapshot is None else replace(snapshot, micro_s=self._pace.seconds, micro_size=self._pace.size)

    def _read(self, watch: Watcher) -> PolicyDecision | None:
        snapshot = self._timed(watch.look())
        if snapshot is None:
            self._state, self.headroom_bytes = self._policy.missed(self._state), None
            return None
        before = self._state
        self._state, decision = self._policy.saw(before, snapshot)
        self.headroom_bytes = self._policy.headroom_bytes(self._state, snapshot)
        self._hooks.seen(snapshot, self.micro_batch_size, self.headroom_bytes)
        if decision is None:
            self._release_spare(snapshot)
        elif decision.kind != "stuck":
            self._follow(decision, snapshot, self._policy.headroom_bytes(before, snapshot))
        # The smallest size may be too large as well, and must not run to find out.
        return self._policy.stuck(self._state, snapshot) or decision

    def _release_spare(self, snapshot: Snapshot) -> None:
        """Gives back what the heap has grown by beyond the need of micro-batches, while that is worth it."""
        need, budget = self._policy.footprints.get("host"), snapshot.budgets.get("host")
        if need is None or budget is None or snapshot.reading is None:
            return
        occupied, rate = snapshot.reading.process.rss_bytes, self._state.rate("host")
        if self._release_timing.due(snapshot.at_s, occupied, need(self.micro_batch_size), budget, rate):
            given = self._release()
            self._release_timing.record(0 if given is None else given.host_bytes)

    def _follow(self, decision: PolicyDecision, snapshot: Snapshot | None, headroom_bytes: int | None = None) -> None:
        returned = held = None
        given = self._release() if decision.after <= decision.before else None
        if given is not None:
            returned = given.host_bytes + (given.device_bytes or 0)
            held = self._held(given, snapshot)
            if held:
                for why in given.holds.values():
                    self._hooks.note(why)
        self._hooks.decided(decision, headroom_bytes, returned, held)

    def _release(self) -> ReleasedMemory | None:
        try:
            return None if self._hooks.release_memory is None else self._hooks.release_memory()
        except Exception as error:  # noqa: BLE001 - a courtesy to others, on which the training does not depend
            self._hooks.note(f"Memory that is no longer needed could not be given back ({error!r}).")
            return None

    def _held(self, given: ReleasedMemory, snapshot: Snapshot | None) -> int | None:
        """Bytes that this process occupies beyond the need of its micro-batches and cannot give back."""
        if snapshot is None or snapshot.reading is None:
            return None
        occupied = {"host": snapshot.reading.process.rss_bytes}
        if (budget := snapshot.budgets.get("device")) is not None:
            occupied["device"] = budget.reach_bytes - budget.available_bytes
        footprints = self._policy.footprints
        known = given.holds.keys() & footprints.keys() & occupied.keys()
        return sum(max(0, occupied[name] - footprints[name](self.micro_batch_size)) for name in known)

    def _wait(self, watch: Watcher, decision: PolicyDecision) -> None:
        """Waits for memory that others hold, since running on would end in being killed."""
        snapshot, until_s = watch.last, watch.now_s() + self._policy.config.starved_s
        self._follow(decision, snapshot)
        while watch.now_s() < until_s:
            self._hooks.sleep(watch.interval_s)
            again = self._read(watch)
            if again is not None and again.kind == "stuck":
                decision, snapshot = again, watch.last
            elif watch.last is not None:
                return
        raise self._starved(decision, snapshot)

    def _starved(self, decision: PolicyDecision, snapshot: Snapshot | None) -> DoesNotFitError:
        name = decision.resource or "host"
        need = self._policy.footprints[name](self.micro_batch_size)
        budget = snapshot.budgets[name] if snapshot is not None else None
        reach = 0 if budget is None else max(0, budget.reach_bytes)
        waited = f"{self._policy.config.starved_s:.0f} s"
        msg = (
            f"Others hold so much memory that not even a micro-batch of {self.micro_batch_size} fits: "
            f"{decision.reason}. The training waited for {waited}. The trainable weights are as they were after the "
            f"last update: save them, free {format_bytes(max(0, need - reach))}, and train on."
        )
        return DoesNotFitError(msg, need, reach)


def controller_without_sensors(micro: int, ladder: Sequence[int], told: Callable[[int, int, str], None]) -> Controller:
    """A controller without sensors: its size falls when memory has run out, and never rises."""
    policy = Policy(tuple(sorted({micro, *ladder}, reverse=True)), {})
    return Controller(
        policy, micro, ControllerHooks(lambda decision, *_: told(decision.before, decision.after, decision.reason))
    )


def _too_small(size: int) -> str:
    what = "Not even one sample fits" if size == 1 else f"{size} samples, which cannot be cut, do not fit"
    return (
        f"{what} in memory any more; the trainable weights are as they were before this update. Save them, free "
        "memory, and train on."
    )
