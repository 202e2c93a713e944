"""One thing that limits the memory of this process, and what may be spent of it."""

from dataclasses import dataclass
from typing import Any, Literal

from autobatch._text import format_bytes
from autobatch.memory.reserve import DEFAULT_RESERVE, Reserve

LimitKind = Literal["device", "host", "control group"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A device, the host, or a control group, as it stands to this process.

    Attributes:
        kind: Which of the three.
        capacity_bytes: All that it has.
        available_bytes: What this process could take on top of what it occupies.
        occupied_bytes: What this process occupies already.
        detail: Which device, or which folder of the control group.
    """

    kind: LimitKind
    capacity_bytes: int
    available_bytes: int
    occupied_bytes: int
    detail: str = ""

    @property
    def reach_bytes(self) -> int:
        """The most that this process could occupy now."""
        return self.occupied_bytes + self.available_bytes

    def reserve_bytes(self, reserve: Reserve = DEFAULT_RESERVE) -> int:
        """Returns what `reserve` leaves free of this limit."""
        return reserve.bytes_of(self.capacity_bytes)

    def __str__(self) -> str:
        return (
            f"{self.kind}: {format_bytes(self.available_bytes)} available of {format_bytes(self.capacity_bytes)}, "
            f"{format_bytes(self.occupied_bytes)} occupied by this process"
            + (f" ({self.detail})" if self.detail else "")
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent of a limit.

    Attributes:
        limit: The limit that decides.
        reserve_bytes: What stays free of it.
    """

    limit: Limit
    reserve_bytes: int

    @property
    def budget_bytes(self) -> int:
        """The most that this process should occupy, what it occupies now included; never negative."""
        return max(0, self.limit.reach_bytes - self.reserve_bytes)

    @property
    def free_bytes(self) -> int:
        """What may still be taken; negative by as much as the reserve is already eaten into."""
        return self.limit.available_bytes - self.reserve_bytes

    def to_dict(self) -> dict[str, Any]:
        """Returns the budget and its limit as JSON-ready values, in bytes."""
        return {
            "kind": self.limit.kind,
            "detail": self.limit.detail,
            "capacity_bytes": self.limit.capacity_bytes,
            "available_bytes": self.limit.available_bytes,
            "occupied_bytes": self.limit.occupied_bytes,
            "reserve_bytes": self.reserve_bytes,
            "budget_bytes": self.budget_bytes,
            "free_bytes": self.free_bytes,
        }

    def __str__(self) -> str:
        return (
            f"{self.limit.kind}: {format_bytes(self.free_bytes)} free "
            f"beside a reserve of {format_bytes(self.reserve_bytes)}"
        )
