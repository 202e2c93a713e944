"""Readings of memory while training: as often as is worth it, and never in the way of the training.

A sensor that fails is missing information, no reason to stop: the sizes stay as they are, and what was wrong is said
once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from autobatch._logging import log as _log
from autobatch.memory.reading import MemoryReading
from autobatch.train.rooms import Rooms
from autobatch.train.sight import Room

# Between two readings lie at least so many times what one of them takes: they cost at most half a per cent.
_TIMES_ITS_COST = 200
LEAST_S = 0.05
MOST_S = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """What limited the process at one moment.

    Attributes:
        at_s: When, in seconds of the clock.
        rooms: Per resource, what may be occupied.
        reading: What that was read from.
    """

    at_s: float
    rooms: dict[str, Room]
    reading: MemoryReading


class Watch:
    """Reads the memory again when it is time to.

    Args:
        read: Takes a reading.
        rooms: Says what a reading leaves this process.
        clock: Seconds that never go back.
        least_s: Seconds between two readings, at least.
        note: Told at once what goes wrong and what is not watched; it is logged if left out.

    Attributes:
        last: What was seen last, `None` before the first reading and after one that failed.
    """

    def __init__(
        self,
        read: Callable[[], MemoryReading],
        rooms: Rooms,
        *,
        clock: Callable[[], float] = time.monotonic,
        least_s: float = LEAST_S,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._read, self._rooms, self._clock = read, rooms, clock
        self._least_s = self._interval_s = least_s
        self._next_s = float("-inf")
        self.last: View | None = None
        self._notes: list[str] = []
        self._note = note or (lambda text: _log.warning("%s", text))
        self._said: set[type[Exception]] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong, one sentence for each kind of error, and what is not watched."""
        return tuple(self._notes)

    @property
    def interval_s(self) -> float:
        """Seconds between two readings, as things stand."""
        return self._interval_s

    @property
    def due(self) -> bool:
        """Whether it is time for another reading."""
        return self._clock() >= self._next_s

    def now_s(self) -> float:
        """The time, in seconds of the clock."""
        return self._clock()

    def look(self) -> View | None:
        """Reads now; `None` if the sensors fail."""
        began_s = self._clock()
        try:
            reading = self._read()
            self.last = View(began_s, self._rooms.of(reading), reading)
            for text in self._rooms.notes:
                self._say(text)
        except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the training does not depend on it
            self.last = None
            self._say_once(error)
        ended_s = self._clock()
        self._interval_s = min(MOST_S, max(self._least_s, _TIMES_ITS_COST * (ended_s - began_s)))
        self._next_s = ended_s + self._interval_s
        return self.last

    def _say_once(self, error: Exception) -> None:
        # What a broken sensor says may differ from reading to reading.
        if type(error) not in self._said:
            self._said.add(type(error))
            self._say(f"Memory could not be read while this ran ({error!r}); sizes stay until it can be.")

    def _say(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)
            self._note(text)
