"""How fast others take memory: the fall of a resource's reach from one reading to the next.

What this process allocates itself moves bytes from "available" to "occupied" and leaves the reach as it is, so that a
falling reach is the others' doing.
"""

from dataclasses import dataclass

from autobatch.train.sight import Sight

# Two readings closer together than this say more about the sensors' jitter than about anybody's rate.
SHORTEST_S = 0.05
# A sixteenth of a rate is left after a second without taking.
HALF_LIFE_S = 0.25


@dataclass(frozen=True, slots=True)
class Taking:
    """What others take of one resource.

    Attributes:
        resource: Which.
        at_s: When it was last seen.
        reach_bytes: Its reach then.
        rate: Bytes per second that others have just been taking; never negative.
    """

    resource: str
    at_s: float
    reach_bytes: int
    rate: float = 0.0

    def then(self, at_s: float, reach_bytes: int) -> "Taking":
        """Returns what others take after one more reading.

        The rate is that of the newest interval or what is left of the remembered one, whichever is larger: those who
        take in bursts are not forgotten between two of them. What is remembered halves every `HALF_LIFE_S`.
        """
        passed_s = max(0.0, at_s - self.at_s)
        newest = (self.reach_bytes - reach_bytes) / max(passed_s, SHORTEST_S)
        remembered = self.rate * 0.5 ** (passed_s / HALF_LIFE_S)
        return Taking(self.resource, at_s, reach_bytes, max(newest, remembered, 0.0))


def after(takings: tuple[Taking, ...], sight: Sight) -> tuple[Taking, ...]:
    """Returns what others take of every resource that was ever seen, the newest sight included."""
    known = {taking.resource: taking for taking in takings}
    for resource, room in sight.rooms.items():
        before = known.get(resource) or Taking(resource, sight.at_s, room.reach_bytes)
        known[resource] = before.then(sight.at_s, room.reach_bytes)
    return tuple(known[resource] for resource in sorted(known))
