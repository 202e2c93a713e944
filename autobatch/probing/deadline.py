"""When a probe has to be done."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which nothing new is started, and what runs is not waited for any longer.

    Attributes:
        timeout_s: Seconds there were from the start, `None` for no bound.
        ends_at: The moment, by `clock`.
        clock: Seconds that never go back.

    Example:
        >>> Deadline.after(5.0, lambda: 100.0).at_most(300.0)
        5.0
        >>> NEVER.at_most(300.0)
        300.0
    """

    timeout_s: float | None = None
    ends_at: float = math.inf
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, timeout_s: float | None, clock: Callable[[], float] = time.monotonic) -> Self:
        """The deadline so many seconds from now; `None` for none."""
        return cls() if timeout_s is None else cls(timeout_s, clock() + timeout_s, clock)

    @property
    def left_s(self) -> float:
        """Seconds until then, negative afterwards."""
        return self.ends_at - self.clock()

    @property
    def passed(self) -> bool:
        """Whether it is too late to start anything."""
        return self.left_s <= 0

    def at_most(self, seconds: float) -> float:
        """The seconds that something may take: `seconds`, or what is left; never negative."""
        return max(0.0, min(seconds, self.left_s))


NEVER = Deadline()
