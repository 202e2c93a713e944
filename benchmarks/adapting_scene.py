"""Plays one side of the adapting benchmark: a training and its neighbours, in one control group with a hard limit."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from actor import Actor
from adapting_script import MIB, Life, Neighbour
from groups import kills

HERE = Path(__file__).resolve().parent
NEIGHBOUR = HERE.parent / "tests" / "support" / "neighbour_scene.py"
TRAINING = HERE / "adapting_training.py"
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Side:
    """Who trains, and how.

    Attributes:
        trainer: `"autobatch"` or `"keras"`.
        size: The effective batch of the one, the batch of the other.
        restarted: Whether it is started anew at half the size, from its last checkpoint, each time it has died.
    """

    trainer: str
    size: int
    restarted: bool = False


@dataclass(slots=True)
class Played:
    """What happened; all moments are seconds of one clock.

    Attributes:
        start_s: When the first update had ended: the script begins.
        stop_s: When the hour was over.
        lives: The processes of the training.
        events: What they said besides updates and checkpoints.
        neighbours: Exit status of each neighbour.
        held: Moments, and bytes that the neighbours held.
        group: Moments, and bytes that all processes of the group held.
        killed_starting: How many processes the kernel killed before the first update had ended: trials.
        stderr: The end of what the last process printed.
    """

    start_s: float = 0.0
    stop_s: float = 0.0
    lives: list[Life] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    neighbours: list[int] = field(default_factory=list)
    held: list[tuple[float, int]] = field(default_factory=list)
    group: list[tuple[float, int]] = field(default_factory=list)
    killed_starting: int = 0
    stderr: str = ""

    @property
    def deaths(self) -> int:
        """How many processes of the training ended before they were told to."""
        return sum(life.status != 0 for life in self.lives)


def actor(words: Sequence[str], said: Callable[[str], Any]) -> Actor:
    """A process that is told to `said`, line by line."""
    return Actor([sys.executable, "-u", *words], said, os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"})


class _Training:
    """The process of a training that runs now, and those before it."""

    def __init__(self, side: Side, group: Path, folder: Path, seed: int, played: Played) -> None:
        self._side, self._played, self._stop = side, played, folder / f"stop-{time.monotonic_ns()}"
        checkpoints = folder / f"checkpoints-{time.monotonic_ns()}" if side.restarted else None
        if checkpoints is not None:
            checkpoints.mkdir()
        self._part = {"group": str(group), "trainer": side.trainer, "stop": str(self._stop), "seed": seed}
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
        """The one that runs, or ended last."""
        return self._played.lives[-1]

    def begin(self, size: int) -> None:
        """Starts a process at a size."""
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
        """Whether it has ended, without having been told to."""
        if self._actor.status is None:
            return False
        self._ended()
        return True

    def end(self) -> None:
        """Tells it to stop after its current update, and waits."""
        self._stop.touch()
        if self.life.status is None:
            self._actor.ends(30.0)
            self._ended()

    def close(self) -> None:
        """Ends it at once."""
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
        """Starts those whose time has come."""
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

    Args:
        side: Who trains.
        script: Who comes, and when.
        group: The control group of all.
        folder: For checkpoints and the probe's answer.
        duration_s: How long the hour is.
        seed: Of the order of samples.
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
