"""What limits the memory of this process, what is kept free of it, and what may be spent.

Which limits count, those from outside included (a lease that jobs share), is said to `BudgetReader` in `reading.py`.
"""

from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal

from autobatch._arguments import is_whole
from autobatch._text import MIB, format_bytes
from autobatch.errors import ArgumentError

LimitKind = Literal["device", "host", "control group"]


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of a limit to keep free: a fraction of its capacity, with a floor.

    The floor never takes more than half of a capacity, so that a small limit stays usable.
    """

    fraction: float = 0.08  # of the capacity, in [0, 1)
    floor_bytes: int = 128 * MIB

    def bytes_of(self, capacity_bytes: int) -> int:
        return max(int(self.fraction * capacity_bytes), min(self.floor_bytes, capacity_bytes // 2))


DEFAULT_RESERVE = Reserve()


def parse_reserve(reserve: Any) -> Reserve:
    """Returns the reserve that a user asked for: `None` for the default, a fraction in [0, 1), or bytes."""
    if reserve is None:
        return DEFAULT_RESERVE
    if isinstance(reserve, Reserve):
        return reserve
    if is_whole(reserve) and reserve >= 0:
        return Reserve(fraction=0.0, floor_bytes=int(reserve))
    if isinstance(reserve, Real) and not isinstance(reserve, Integral) and 0.0 <= float(reserve) < 1.0:
        return Reserve(fraction=float(reserve), floor_bytes=0)
    raise ArgumentError(
        "The reserve says how much memory to leave free. "
        f"Received: reserve={reserve!r}. Expected a float in [0, 1), a fraction of the capacity, or whole bytes."
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """A device, the host, or a control group, as it stands to this process."""

    kind: LimitKind
    capacity_bytes: int  # all that it has
    available_bytes: int  # what this process could take on top of what it occupies
    occupied_bytes: int  # what this process occupies already
    detail: str = ""  # which device, or which folder of the control group

    @property
    def reach_bytes(self) -> int:
        """The most that this process could occupy now."""
        return self.occupied_bytes + self.available_bytes

    def budget(self, reserve: Reserve = DEFAULT_RESERVE) -> "Budget":
        return Budget(self, reserve.bytes_of(self.capacity_bytes))

    def __str__(self) -> str:
        return (
            f"{self.kind}: {format_bytes(self.available_bytes)} available of {format_bytes(self.capacity_bytes)}, "
            f"{format_bytes(self.occupied_bytes)} occupied by this process"
            + (f" ({self.detail})" if self.detail else "")
        )


@dataclass(frozen=True, slots=True)
class Budget:
    limit: Limit  # the one that decides
    reserve_bytes: int  # what stays free of it
    # What this process occupies of it without needing it, so that its steps can use that again; negative for what it
    # has to give back first.
    reusable_bytes: int = 0

    @property
    def budget_bytes(self) -> int:
        """The most that this process should occupy, what it occupies now included; never negative."""
        return max(0, self.limit.reach_bytes - self.reserve_bytes)

    @property
    def free_bytes(self) -> int:
        """What may still be taken; negative by as much as the reserve is already eaten into."""
        return self.limit.available_bytes + self.reusable_bytes - self.reserve_bytes

    def to_dict(self) -> dict[str, Any]:
        """Returns the budget and its limit as JSON-ready values, in bytes."""
        figures = {name: getattr(self, name) for name in ("reserve_bytes", "budget_bytes", "free_bytes")}
        return asdict(self.limit) | figures

    def __str__(self) -> str:
        free, reserve = format_bytes(self.free_bytes), format_bytes(self.reserve_bytes)
        return f"{self.limit.kind}: {free} free beside a reserve of {reserve}"
