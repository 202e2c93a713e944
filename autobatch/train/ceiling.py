"""Sizes that ran out of memory although they were predicted to fit, and when they may be tried again."""

from collections.abc import Sequence
from dataclasses import dataclass

from autobatch._text import counted, format_bytes
from autobatch.data.splitting import next_rung
from autobatch.train.sight import Room, Sight


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One size that really ran out of memory.

    The budget at that moment was not enough for it, whatever the peak model says. So the size and all larger ones are
    out until the budget is clearly above it, and out again as soon as the budget is back where it was.

    Attributes:
        size: Samples in the micro-batch that ran out.
        resource: What it ran out of.
        failed_bytes: The budget that was not enough, `None` if there was no reading: out until the run ends.
        bar_bytes: The budget above which the size is tried again.
    """

    size: int
    resource: str
    failed_bytes: int | None
    bar_bytes: float

    def may_stay(self, size: int, sight: Sight | None) -> bool:
        """Tells whether a micro-batch of `size` that is in use may go on."""
        if size < self.size:
            return True
        room = self._room(sight)
        return self.failed_bytes is not None and (room is None or room.budget_bytes > self.failed_bytes)

    def may_enter(self, size: int, sight: Sight | None) -> bool:
        """Tells whether a micro-batch of `size` may be tried (again)."""
        if size < self.size:
            return True
        room = self._room(sight)
        return self.failed_bytes is not None and room is not None and room.budget_bytes > self.bar_bytes

    def set_by(self, sight: Sight | None) -> str:
        """Says what ran out, and when it is tried again."""
        ran_out = f"a micro-batch of {counted(self.size, 'sample')} ran out of {self.resource} memory"
        room = self._room(sight)
        if room is None or self.failed_bytes is None:
            return f"{ran_out} and no reading says how much there was: so many are not tried again"
        return f"{ran_out} and the {room}: so many are tried again above {format_bytes(self.bar_bytes)}"

    def hit_by(self, sight: Sight) -> str:
        """Says that the budget has come back to where the size ran out."""
        ran_out = f"{counted(self.size, 'sample')} ran out of {self.resource} memory before"
        room = self._room(sight)
        if room is None or self.failed_bytes is None:
            return ran_out
        return f"{ran_out}, with {format_bytes(self.failed_bytes)}, and the {room}"

    def _room(self, sight: Sight | None) -> Room | None:
        return None if sight is None else sight.rooms.get(self.resource)


def ceiling_of(
    size: int, resource: str, sight: Sight | None, clearly: float, earlier: Sequence[Ceiling] = ()
) -> Ceiling:
    """Returns the ceiling that an out-of-memory error sets.

    Args:
        size: Samples in the micro-batch that ran out.
        resource: What it ran out of.
        sight: The reading after the error, `None` if there is none.
        clearly: By what fraction of itself the budget must have grown before the size is tried again.
        earlier: The ceilings of earlier failures at the same rung; the new one starts from where theirs end.
    """
    size = min((size, *(one.size for one in earlier)))
    room = None if sight is None else sight.rooms.get(resource)
    if room is None or any(one.failed_bytes is None for one in earlier):
        return Ceiling(size, resource, None, float("inf"))
    failed_bytes = max((room.budget_bytes, *(int(one.bar_bytes) for one in earlier)))
    return Ceiling(size, resource, failed_bytes, failed_bytes + clearly * abs(failed_bytes))


def same_rung(ceilings: Sequence[Ceiling], ladder: Sequence[int], size: int, resource: str) -> tuple[Ceiling, ...]:
    """Returns the ceilings that `resource` set at the rung of `size`.

    Near-equal micro-batches of one rung differ by a sample: 64 samples in threes are 22, 21 and 21.
    """
    lower = next_rung(size, ladder) or 0
    upper = min((rung for rung in ladder if rung >= size), default=size)
    return tuple(one for one in ceilings if one.resource == resource and lower < one.size <= upper)
