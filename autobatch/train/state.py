"""What the policy is told, what it remembers, and what it decides."""

from dataclasses import dataclass
from typing import Literal

from autobatch.errors import ArgumentError
from autobatch.train.ceiling import Ceiling
from autobatch.train.taking import Taking


@dataclass(frozen=True, slots=True)
class Settings:
    """How careful the policy is.

    Attributes:
        patience: Good readings in a row before growing.
        margin: Part of the budget that growing must leave over.
        foresight: Micro-batches during which others may go on taking at their recent rate.
        clearly: By what fraction a budget must have grown before a size that ran out of memory is tried again.
        hold: How many times its patience a larger size must last; a shrink before that doubles the patience.
        longest: The most that the patience is multiplied by.

    Raises:
        ArgumentError: A number is below what makes sense.
    """

    patience: int = 10
    margin: float = 0.02
    foresight: float = 1.5
    clearly: float = 0.1
    hold: int = 5
    longest: int = 32

    def __post_init__(self) -> None:
        """Checks the numbers."""
        least = {"patience": 1, "margin": 0, "foresight": 0, "clearly": 0, "hold": 1, "longest": 1}
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise ArgumentError(
                    "The controller cannot work with such a setting. "
                    f"Received: {name}={getattr(self, name)!r}. Expected {lowest} or more."
                )


@dataclass(frozen=True, slots=True)
class State:
    """What the policy remembers.

    Attributes:
        micro: Samples in a micro-batch.
        good: Readings in a row in which a larger size fitted with its margin.
        reachable: The largest size that did so in all of them.
        backoff: What the patience is multiplied by now.
        held: Readings since the last growth; `None` once it has lasted, or after a shrink.
        pace_s: Seconds per sample of the last micro-batch that was timed.
        takings: What others take of each resource.
        ceilings: The sizes that ran out of memory.
    """

    micro: int
    good: int = 0
    reachable: int | None = None
    backoff: int = 1
    held: int | None = None
    pace_s: float | None = None
    takings: tuple[Taking, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()

    @property
    def ceiling(self) -> int | None:
        """The smallest size that ran out of memory, `None` if none did."""
        return min((ceiling.size for ceiling in self.ceilings), default=None)

    def rate(self, resource: str) -> float:
        """Returns the bytes per second that others have just been taking of `resource`."""
        return next((taking.rate for taking in self.takings if taking.resource == resource), 0.0)


@dataclass(frozen=True, slots=True)
class Move:
    """A decision.

    Attributes:
        kind: "shrink" and "grow" change the size; "stuck" says that even the smallest would run out of memory.
        before: Samples in a micro-batch before it.
        after: Samples in a micro-batch from now on.
        reason: One sentence with the numbers.
        resource: The resource that decided, `None` where none is known.
    """

    kind: Literal["shrink", "grow", "stuck"]
    before: int
    after: int
    reason: str
    resource: str | None
