"""Memory read while a run goes on: when, what it leaves of each resource, and when it cannot be trusted to say so.

`autobatch.memory.reading.BudgetReader` computes the budgets, for the probe and for runs alike: a budget that jobs share
is one more limit there.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from autobatch._logging import log as _log
from autobatch._text import format_bytes
from autobatch.memory.budget import Budget, Limit, Reserve
from autobatch.memory.reading import BudgetReader, MemoryReading
from autobatch.memory.types import Device
from autobatch.train.control.state import ResourceBudget, Snapshot

LEAST_S, MOST_S = 0.05, 2.0  # seconds between two readings
# Between two readings lie at least so many times what one of them takes: they cost at most half a per cent.
_TIMES_ITS_COST = 200
# Readings that lack a limit which was there before; after so many it is gone.
_READINGS_WITHOUT_A_LIMIT = 20


class IncompleteReadingError(Exception):
    """A limit that was there before is missing from a reading: nothing is known of what it leaves."""


class RunBudgets:
    def __init__(self, reserve: Reserve, gpu: int | None = None, own_limit: Limit | None = None) -> None:
        self._gpu, self._own_limit = gpu, own_limit
        self._reader = BudgetReader(reserve, gpu, self._own_limits)
        self._limits: frozenset[str] = frozenset()
        self._missing = 0
        self.notes: tuple[str, ...] = ()

    def of(self, reading: MemoryReading) -> dict[str, ResourceBudget]:
        """The budgets that a reading leaves, by resource.

        Raises:
            IncompleteReadingError: A limit is missing that was there before. After 20 readings without it, it is gone.
        """
        self._require_complete(reading)
        if self._known_device(reading) is None:
            reading = replace(reading, devices=())
        return {name: self._budget(budget, reading) for name, budget in self._reader.read(reading).items()}

    def _budget(self, budget: Budget, reading: MemoryReading) -> ResourceBudget:
        # The budget is below zero by as much as others have eaten into the reserve beyond what this process occupies.
        limit, kept_free = budget.limit, budget.reserve_bytes
        return ResourceBudget(
            limit.reach_bytes - kept_free, kept_free, self._name(limit, reading), limit.available_bytes
        )

    def _name(self, limit: Limit, reading: MemoryReading) -> str:
        if limit.kind != "device":
            return f"{limit.kind} {limit.detail}".strip()
        device = self._known_device(reading)
        if self._own_limit is None or limit.detail != self._own_limit.detail:
            return f"device GPU:{self._gpu} {'' if device is None else device.name}".strip()
        # What lies outside of the allocator is no part of the program's own limit, but of a need.
        outside = limit.reach_bytes - limit.capacity_bytes
        beside = f", and {format_bytes(outside)} outside of it" if outside > 0 else ""
        return f"program's own limit on GPU:{self._gpu} ({format_bytes(limit.capacity_bytes)}{beside})"

    def _own_limits(self, reading: MemoryReading) -> dict[str, list[Limit]]:
        """What the program itself lets the framework take of the GPU, with what is occupied of it now."""
        own, device = self._own_limit, self._known_device(reading)
        if own is None:
            return {}
        occupied = own.occupied_bytes if device is None else device.used_by_this_process_bytes or 0
        return {"device": [replace(own, occupied_bytes=occupied, available_bytes=own.reach_bytes - occupied)]}

    def _known_device(self, reading: MemoryReading) -> Device | None:
        """The GPU, if it can be told what this process holds of it.

        Taken for nothing, or for what is in use of it, its own pool would look like a neighbour's.
        """
        device = next((one for one in reading.devices if one.index == self._gpu), None)
        if self._gpu is None or device is None:
            return None
        if device.used_by_this_process_bytes is None or device.own_from == "allocator":
            why = "NVML does not say how much of it this process holds"
            after = "A micro-batch that runs out of its memory is run again in smaller ones."
            watched = "not watched" if self._own_limit is None else "watched by this program's own limit alone"
            self.notes = (f"GPU:{self._gpu} is {watched} while this runs: {why}. {after}",)
            return None
        return device

    def _require_complete(self, reading: MemoryReading) -> None:
        limits = frozenset([group.path for group in reading.control_groups] + [one.uuid for one in reading.devices])
        missing = self._limits - limits
        self._missing = self._missing + 1 if missing else 0
        if missing and self._missing <= _READINGS_WITHOUT_A_LIMIT:
            msg = f"{', '.join(sorted(missing))} cannot be read any more"
            raise IncompleteReadingError(msg)
        self._limits = limits


class Watcher:
    def __init__(
        self,
        read: Callable[[], MemoryReading],
        budgets: RunBudgets,
        *,
        clock: Callable[[], float] = time.monotonic,
        least_s: float = LEAST_S,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._read, self._budgets, self._clock = read, budgets, clock
        self._least_s = self.interval_s = least_s
        self._next_s = float("-inf")
        self.last: Snapshot | None = None
        self.notes: tuple[str, ...] = ()
        self._note = note or (lambda text: _log.warning("%s", text))
        self._said: set[type[Exception]] = set()

    @property
    def due(self) -> bool:
        return self._clock() >= self._next_s

    def now_s(self) -> float:
        return self._clock()

    def look(self) -> Snapshot | None:
        """Reads now; `None` if the sensors fail."""
        began_s = self._clock()
        try:
            reading = self._read()
            self.last = Snapshot(began_s, self._budgets.of(reading), reading=reading)
            for text in self._budgets.notes:
                self._say(text)
        except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the training does not depend on it
            self.last = None
            # What a broken sensor says may differ from reading to reading.
            if type(error) not in self._said:
                self._said.add(type(error))
                self._say(f"Memory could not be read while this ran ({error!r}); sizes stay until it can be.")
        ended_s = self._clock()
        self.interval_s = min(MOST_S, max(self._least_s, _TIMES_ITS_COST * (ended_s - began_s)))
        self._next_s = ended_s + self.interval_s
        if self.last is not None:
            self.last = replace(self.last, next_s=self.interval_s)
        return self.last

    def _say(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)
            self._note(text)
