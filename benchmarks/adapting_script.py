"""The pure part of the adapting benchmark: when neighbours come and go, and what is left of what was trained."""

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MINUTES = 60
IMAGES = 512
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Somebody who takes memory, keeps it and gives it back.

    Attributes:
        start_s: When it comes, in seconds since the training's first update has ended.
        amount_bytes: How much it takes.
        rate: Bytes per second that it takes.
        hold_s: How long it keeps everything.
    """

    start_s: float
    amount_bytes: int
    rate: int
    hold_s: float

    @property
    def end_s(self) -> float:
        """When it has given everything back."""
        return self.start_s + self.amount_bytes / self.rate + self.hold_s


def script(seed: int, duration_s: float, largest_bytes: int) -> tuple[Neighbour, ...]:
    """The neighbours of an hour that is told in `duration_s` seconds, one at a time.

    Gaps between them are 2 to 10 of the hour's minutes long, stays 2 to 9. Each takes from 30 % of `largest_bytes` up
    to all of them, one of the first three all, at 100 to 300 MiB per second of the clock: that is how fast processes
    start, and does not shrink with the hour.

    Args:
        seed: Of everything that is drawn.
        duration_s: Seconds that the hour is told in.
        largest_bytes: What the largest neighbour takes.
    """
    draw = random.Random(seed)  # noqa: S311 - a script, not a secret
    drawn = [tuple(draw.random() for _ in range(4)) for _ in range(MINUTES)]
    for largest in range(draw.randrange(3), -1, -1):
        neighbours = tuple(_placed(drawn, largest, duration_s, largest_bytes))
        if len(neighbours) > largest:
            return neighbours
    return ()


def _placed(drawn: Iterable[tuple[float, ...]], largest: int, duration_s: float, most: int) -> Iterator[Neighbour]:
    """One after another, while there is time; the one that is the `largest`th takes `most` bytes."""
    minute_s = duration_s / MINUTES
    free_s = minute_s  # the first minute belongs to the training alone
    for number, (gap, stay, share, rate) in enumerate(drawn):
        amount = most if number == largest else int((0.3 + 0.7 * share) * most)
        start_s, hold_s = free_s + (2 + 8 * gap) * minute_s, (2 + 7 * stay) * minute_s
        one = Neighbour(start_s, amount, int(100 * MIB * 3**rate), hold_s)
        if one.end_s > duration_s:
            return
        yield one
        free_s = one.end_s


@dataclass(slots=True)
class Life:
    """One process of a training, from its start to its end.

    Attributes:
        size: The batch that it was started with.
        started_s: When its process was started, on the clock of all that follows.
        updates: When each update had ended, and how many images were behind it.
        saved_s: When each checkpoint was whole.
        ended_s: When it ended, `None` while it runs.
        status: Exit status; negative for a signal.
    """

    size: int
    started_s: float
    updates: list[tuple[float, int]] = field(default_factory=list)
    saved_s: list[float] = field(default_factory=list)
    ended_s: float | None = None
    status: int | None = None


def lost(life: Life) -> int:
    """The images that a training that died had trained on since its last checkpoint."""
    since_s = max(life.saved_s, default=float("-inf"))
    return sum(images for at_s, images in life.updates if at_s > since_s)


def trained(lives: Sequence[Life], start_s: float, stop_s: float) -> list[tuple[float, int]]:
    """The images that were trained on up to each moment: pairs of a moment and a number, a step for each change.

    Every life but the last goes on from the last checkpoint of those before it, so what came after that does not
    count any more as soon as the next one is started.

    Args:
        lives: In order.
        start_s: What counts comes after it, as does the clock of the answer.
        stop_s: What counts comes up to it.
    """
    changes = [(at_s, images) for life in lives for at_s, images in life.updates if start_s < at_s <= stop_s]
    changes += [(after.started_s, -lost(before)) for before, after in pairwise(lives)]
    steps, total = [(0.0, 0)], 0
    for at_s, images in sorted(changes):
        if at_s > stop_s:
            break
        total = max(0, total + images)
        steps.append((at_s - start_s, total))
    return [*steps, (stop_s - start_s, total)]


def at(steps: Sequence[tuple[float, int]], moments: Iterable[float]) -> list[tuple[float, float]]:
    """A step function at some moments."""
    known = [moment for moment, _ in steps]
    return [(moment, float(steps[max(0, bisect_right(known, moment) - 1)][1])) for moment in moments]
