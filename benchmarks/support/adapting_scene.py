"""Plays one side of the adapting benchmark: a training and its neighbours, in one control group with a hard limit."""

import contextlib
import json
import os
import random
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from actor import Actor
from groups import kills

MINUTES = 60
IMAGES = 512
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Somebody who takes memory, keeps it and gives it back."""

    start_s: float  # when it comes, in seconds since the training's first update has ended
    amount_bytes: int  # how much it takes
    rate: int  # bytes per second that it takes
    hold_s: float  # how long it keeps everything

    @property
    def end_s(self) -> float:
        return self.start_s + self.amount_bytes / self.rate + self.hold_s


def script(seed: int, duration_s: float, largest_bytes: int) -> tuple[Neighbour, ...]:
    """The neighbours of an hour that is told in `duration_s` seconds, one at a time.

    Gaps between them are 2 to 10 of the hour's minutes long, stays 2 to 9. Each takes from 30 % of `largest_bytes` up
    to all of them, one of the first three all, at 100 to 300 MiB per second of the clock: that is how fast processes
    start, and does not shrink with the hour.
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
        updates: When each update had ended, and how many images were behind it.
    """

    size: int  # the batch that it was started with
    started_s: float  # when its process was started, on the clock of all that follows
    updates: list[tuple[float, int]] = field(default_factory=list)
    saved_s: list[float] = field(default_factory=list)  # when each checkpoint was whole
    ended_s: float | None = None  # when it ended, `None` while it runs
    status: int | None = None  # exit status; negative for a signal


def lost(life: Life) -> int:
    """The images that a training that died had trained on since its last checkpoint."""
    since_s = max(life.saved_s, default=float("-inf"))
    return sum(images for at_s, images in life.updates if at_s > since_s)


def trained(lives: Sequence[Life], start_s: float, stop_s: float) -> list[tuple[float, int]]:
    """The images that were trained on up to each moment: pairs of a moment and a number, a step for each change.

    Every life but the last goes on from the last checkpoint of those before it, so what came after that does not
    count any more as soon as the next one is started.
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
    known = [moment for moment, _ in steps]
    return [(moment, float(steps[max(0, bisect_right(known, moment) - 1)][1])) for moment in moments]


HERE = Path(__file__).resolve().parent
NEIGHBOUR = HERE.parents[1] / "tests" / "support" / "neighbour_scene.py"
TRAINING = HERE / "adapting_training.py"
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Side:
    """Who trains, and how.

    Attributes:
        restarted: Whether it is started anew at half the size, from its last checkpoint, each time it has died.
    """

    trainer: str  # `"autobatch"` or `"keras"`
    size: int  # the effective batch of the one, the batch of the other
    restarted: bool = False


@dataclass(slots=True)
class Played:
    """What happened; all moments are seconds of one clock.

    Attributes:
        group: Moments, and bytes that all processes of the group held.
    """

    start_s: float = 0.0  # when the first update had ended: the script begins
    stop_s: float = 0.0  # when the hour was over
    lives: list[Life] = field(default_factory=list)  # the processes of the training
    events: list[dict[str, Any]] = field(default_factory=list)  # what they said besides updates and checkpoints
    neighbours: list[int] = field(default_factory=list)  # exit status of each neighbour
    held: list[tuple[float, int]] = field(default_factory=list)  # moments, and bytes that the neighbours held
    group: list[tuple[float, int]] = field(default_factory=list)
    killed_starting: int = 0  # how many processes the kernel killed before the first update had ended: trials
    stderr: str = ""  # the end of what the last process printed

    @property
    def deaths(self) -> int:
        """How many processes of the training ended before they were told to."""
        return sum(life.status != 0 for life in self.lives)


def actor(words: Sequence[str], said: Callable[[str], Any]) -> Actor:
    return Actor([sys.executable, "-u", *words], said, os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"})


class _Training:
    """The process of a training that runs now, and those before it."""

    def __init__(self, side: Side, group: Path, folder: Path, seed: int, played: Played) -> None:
        self._side, self._played, self._stop = side, played, folder / f"stop-{time.monotonic_ns()}"
        checkpoints = folder / f"checkpoints-{time.monotonic_ns()}" if side.restarted else None
        if checkpoints is not None:
            checkpoints.mkdir()
        self._part: dict[str, Any] = {
            "group": str(group),
            "trainer": side.trainer,
            "stop": str(self._stop),
            "seed": seed,
        }
        self._part["shared"] = side.trainer == "autobatch"
        self._part |= {"checkpoints": str(checkpoints) if checkpoints else None, "cache": str(folder / "cache")}
        self._stack = contextlib.ExitStack()
        self._actor: Actor

    def __enter__(self) -> Self:
        self.begin(self._side.size)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._stop.unlink(missing_ok=True)

    @property
    def life(self) -> Life:
        return self._played.lives[-1]

    def begin(self, size: int) -> None:
        life = Life(size, time.monotonic())
        self._played.lives.append(life)

        def said(line: str) -> None:
            if not line.startswith("{"):
                return
            event = json.loads(line)
            if event["kind"] == "update":
                life.updates.append((event["at_s"], event["images"]))
            elif event["kind"] == "saved":
                life.saved_s.append(event["at_s"])
            else:
                self._played.events.append(event)

        words = [str(TRAINING), json.dumps(self._part | {"size": size})]
        self._actor = self._stack.enter_context(actor(words, said))

    def dead(self) -> bool:
        if self._actor.status is None:
            return False
        self._ended()
        return True

    def end(self) -> None:
        self._stop.touch()
        if self.life.status is None:
            self._actor.ends(30.0)
            self._ended()

    def close(self) -> None:
        self._stack.close()
        self._ended()

    def _ended(self) -> None:
        self._stack.close()  # what it still said is taken down
        self.life.ended_s, self.life.status = time.monotonic(), self._actor.status
        self._played.stderr = self._actor.stderr[-3000:]


class _Neighbourhood:
    """The neighbours that have come so far."""

    def __init__(self, script: Sequence[Neighbour], group: Path, stack: contextlib.ExitStack, played: Played) -> None:
        self._due, self._group, self._stack, self._played = list(script), group, stack, played
        self._actors: list[Actor] = []

    def come(self, passed_s: float) -> None:
        while self._due and self._due[0].start_s <= passed_s:
            one = self._due.pop(0)
            part = {"group": str(self._group), "rate": one.rate / MIB, "amount": one.amount_bytes / MIB}
            words = [str(NEIGHBOUR), "neighbour", json.dumps(part | {"hold": one.hold_s})]
            self._actors.append(self._stack.enter_context(actor(words, self._said)))

    def leave(self) -> None:
        """Waits for those who are just leaving, and takes down what became of each."""
        for actor in self._actors:
            actor.ends(5.0)
            self._played.neighbours.append(-1 if actor.status is None else actor.status)

    def _said(self, line: str) -> None:
        at_s, held = line.split()
        self._played.held.append((float(at_s), int(held)))


def play(
    side: Side, script: Sequence[Neighbour], *, group: Path, folder: Path, duration_s: float, seed: int = 0
) -> Played:
    """Plays one side.

    A training that dies and is not restarted ends the play: nothing would change any more.
    """
    played = Played()
    with contextlib.ExitStack() as stack:
        stack.enter_context(sampled(group, played.group))
        training = stack.enter_context(_Training(side, group, folder, seed, played))
        neighbours = _Neighbourhood(script, group, stack, played)
        played.start_s = _first_update(training, played)
        played.killed_starting = kills(group)
        played.stop_s = played.start_s + duration_s
        while time.monotonic() < played.stop_s:
            neighbours.come(time.monotonic() - played.start_s)
            if training.dead():
                if not side.restarted:
                    return played
                training.begin(max(1, training.life.size // 2))
            time.sleep(0.02)
        training.end()
        neighbours.leave()
    return played


def peak_of(side: Side, *, group: Path, folder: Path, updates: int) -> int:
    """The most bytes that a training has occupied in its group, from its start over so many updates."""
    played = Played()
    with sampled(group, played.group, every_s=0.01), _Training(side, group, folder, 0, played) as training:
        until_s = _first_update(training, played) + PATIENCE_S
        while len(training.life.updates) < updates and time.monotonic() < until_s:
            time.sleep(0.02)
        training.end()
    return max(held for _, held in played.group)


def _first_update(training: _Training, played: Played) -> float:
    until_s = time.monotonic() + PATIENCE_S
    while not training.life.updates:
        if training.dead() or time.monotonic() > until_s:
            raise RuntimeError(f"The training did not begin (status {training.life.status}): {played.stderr}")
        time.sleep(0.01)
    return training.life.updates[0][0]


@contextlib.contextmanager
def sampled(group: Path, samples: list[tuple[float, int]], every_s: float = 0.1) -> Iterator[None]:
    """Reads now and then what the processes of a group occupy, without the page cache."""
    done = threading.Event()

    def sample() -> None:
        while not done.wait(every_s):
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            samples.append((time.monotonic(), int(facts.get("rss") or facts.get("anon") or 0)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
