"""One reading of memory as the training sees it: what each resource allows, and how long a micro-batch takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autobatch._text import format_bytes


@dataclass(frozen=True, slots=True)
class Room:
    """What one resource allows at one moment.

    Attributes:
        budget_bytes: Reach minus reserve, the most that this process should occupy.
        reserve_bytes: What stays free on purpose.
        limit: What limits it, for people: "control group v1 /jobs/7", "host", "GPU:0".
        available_bytes: What this process could take on top of what it occupies.
    """

    budget_bytes: int
    reserve_bytes: int
    limit: str
    available_bytes: int = field(compare=False)

    @property
    def reach_bytes(self) -> int:
        """The most that this process could occupy, the reserve included."""
        return self.budget_bytes + self.reserve_bytes

    def __str__(self) -> str:
        return (
            f"{self.limit} leaves {format_bytes(self.budget_bytes)} "
            f"beside a reserve of {format_bytes(self.reserve_bytes)}"
        )


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen between two micro-batches.

    Attributes:
        at_s: When, in seconds of a clock that does not go back.
        rooms: What each resource allows: "host", and "device" where there is one.
        micro_s: Seconds that the last micro-batch took, `None` before the first.
        micro_size: Samples in it.
        next_s: The least that passes until the next reading, in seconds, however short a micro-batch is.
    """

    at_s: float
    rooms: Mapping[str, Room]
    micro_s: float | None = None
    micro_size: int | None = None
    next_s: float = 0.0

    @property
    def pace_s(self) -> float | None:
        """Seconds per sample of the last micro-batch, `None` where it is not known."""
        if self.micro_s is None or self.micro_size is None or self.micro_s < 0 or self.micro_size < 1:
            return None
        return self.micro_s / self.micro_size


def binding(rooms: Mapping[str, Room]) -> Room | None:
    """The tightest of what each resource allows, `None` where there is nothing."""
    return min(rooms.values(), key=_free, default=None)


def _free(room: Room) -> int:
    return room.available_bytes - room.reserve_bytes
