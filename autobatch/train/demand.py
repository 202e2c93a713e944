"""What a micro-batch asks of one resource, against what there is; and how that reads."""

from dataclasses import dataclass

from autobatch._text import counted, format_bytes
from autobatch.train.sight import Room


@dataclass(frozen=True, slots=True)
class Demand:
    """What a micro-batch asks of one resource.

    Attributes:
        size: Samples in the micro-batch.
        resource: Which resource.
        room: What it allows.
        need_bytes: What this process occupies at the peak of the micro-batch.
        ahead_bytes: What others would take while it runs, at the rate they have just been taking it.
        rate: That rate, in bytes per second.
    """

    size: int
    resource: str
    room: Room
    need_bytes: int
    ahead_bytes: int
    rate: float

    @property
    def spare_bytes(self) -> int:
        """What is left of the budget; negative where the micro-batch does not fit."""
        return self.room.budget_bytes - self.need_bytes - self.ahead_bytes

    @property
    def beyond_bytes(self) -> int:
        """What is left of the reach; negative where the micro-batch would run out of memory."""
        return self.room.reach_bytes - self.need_bytes

    def too_much(self) -> str:
        """Says why the micro-batch does not fit."""
        if self.need_bytes <= self.room.budget_bytes:
            taken = f"others have been taking {format_bytes(self.rate)}/s, {format_bytes(self.ahead_bytes)} ahead"
            return f"{self._needs()}, the {self.room}, and {taken}"
        same = format_bytes(self.need_bytes) == format_bytes(self.room.budget_bytes)
        short = f", {format_bytes(self.need_bytes - self.room.budget_bytes)} too little" if same else ""
        return f"{self._needs()} and the {self.room}{short}"

    def fits(self, readings: int) -> str:
        """Says why the micro-batch is tried."""
        spare = format_bytes(self.spare_bytes)
        return f"{self._needs()} and the {self.room}, {spare} to spare, for {readings} readings in a row"

    def cannot(self) -> str:
        """Says why not even this micro-batch, the smallest, can run."""
        reach, reserve = format_bytes(self.room.reach_bytes), format_bytes(self.room.reserve_bytes)
        missing = f"{format_bytes(-self.beyond_bytes)} are missing"
        return f"{self._needs()} and the {self.room.limit} has {reach}, the reserve of {reserve} included: {missing}"

    def _needs(self) -> str:
        return (
            f"{counted(self.size, 'sample')} need{'s' if self.size == 1 else ''} up to {format_bytes(self.need_bytes)}"
        )
