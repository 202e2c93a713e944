"""When to give memory back although micro-batches stay as they are.

A heap grows in use: what a step frees is taken apart for the next, and now and then nothing that is free is in one
piece. So a process comes to occupy more than its micro-batches need, and while memory is tight that is worth giving
back. It costs the next step the time to take it again, so it is done seldom, and more seldom where little comes of it.
"""

from dataclasses import dataclass

from autobatch._text import MIB
from autobatch.train.sight import Room

_WORTH_BYTES, _WORTH_FRACTION = 32 * MIB, 0.05
_TIGHT_RESERVES = 2
_SOON_S = 10.0
_LEAST_S, _URGENT_S, _MOST_S = 10.0, 1.0, 320.0
_LITTLE = 0.1


@dataclass(slots=True)
class Tidying:
    """Remembers when memory was given back last, and what came of it.

    Attributes:
        wait_s: Seconds to let pass.
        last_s: When it was, `None` for never.
        spare_bytes: What was to be given back then.
    """

    wait_s: float = _LEAST_S
    last_s: float | None = None
    spare_bytes: int = 0

    def due(self, at_s: float, occupied_bytes: int, need_bytes: int, room: Room, rate: float) -> bool:
        """Whether to give memory back now.

        Args:
            at_s: Seconds of a clock that does not go back.
            occupied_bytes: What this process occupies.
            need_bytes: What it needs at the peak of a micro-batch.
            room: What it may occupy.
            rate: Bytes per second that others have just been taking.
        """
        spare = occupied_bytes - need_bytes
        if spare <= max(_WORTH_BYTES, _WORTH_FRACTION * need_bytes):
            return False
        free = room.reach_bytes - occupied_bytes
        soon = rate > 0 and free - room.reserve_bytes < rate * _SOON_S
        if not soon and free >= _TIGHT_RESERVES * room.reserve_bytes:
            return False
        # With others about to need it there is no time to lose, unless little came of it the last time.
        wait_s = _URGENT_S if soon and self.wait_s == _LEAST_S else self.wait_s
        if self.last_s is not None and at_s < self.last_s + wait_s:
            return False
        self.last_s, self.spare_bytes = at_s, spare
        return True

    def came_to(self, returned_bytes: int) -> None:
        """Notes what was given back."""
        little = returned_bytes < _LITTLE * self.spare_bytes
        self.wait_s = min(_MOST_S, 2 * self.wait_s) if little else _LEAST_S
