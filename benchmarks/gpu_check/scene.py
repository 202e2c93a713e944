"""A training and a neighbour that takes memory while it runs, seen from outside."""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_check.stage import HERE, MIB, Actor, Sample, Sampler, Stage, in_role

TRAINING = HERE / "training.py"
PATIENCE_S = 150.0
RESERVE_BYTES = 256 * MIB
_CALM_UPDATES = 3


@dataclass(slots=True)
class Played:
    """What happened.

    Attributes:
        trainer: Exit status of the training.
        neighbours: Exit status of each neighbour; `None` for one that had not ended.
        events: What the training said.
        held: What the neighbours said, of each.
        samples: What was seen from outside.
        pid: The number of the training's process.
        stderr: The end of what the training printed.
    """

    trainer: int | None = None
    neighbours: list[int | None] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    held: list[list[dict[str, Any]]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    pid: int = 0
    stderr: str = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What the training said of one kind."""
        return [event for event in self.events if event["kind"] == kind]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """The changes of its micro-batch."""
        return self.of("changed")


Neighbour = Callable[[Stage, int], dict[str, Any]]
"""From the stage and what the training holds then to what the neighbour is told: `amount`, `rate`, `hold_s`."""


def over_free(share: float, rate: int, hold_s: float, of: str | None = None) -> Neighbour:
    """A neighbour that wants all that is free, and a share of what the training holds.

    Args:
        share: Of what the training holds.
        rate: Bytes per second that it takes.
        hold_s: How long it keeps everything.
        of: Whose memory is meant: "gpu" or "host"; that of the stage if left out.
    """

    def told(stage: Stage, held_bytes: int) -> dict[str, Any]:
        # Of a group the last bytes are left alone, see `Host`.
        amount = stage.free_bytes() + int(share * held_bytes) - (RESERVE_BYTES if stage.name == "cpu" else 0)
        return {"amount": amount, "rate": rate, "hold_s": hold_s, **({"of": of} if of else {})}

    return told


def play(
    stage: Stage,
    neighbours: list[Neighbour],
    *,
    size: int,
    shared: bool = True,
    most: int | None = None,
    seed: int = 0,
    calibrated: bool = False,
    wait_for_growth: bool = True,
) -> Played:
    """Trains, lets the neighbours come one after another, and ends the training once it is back at its size.

    Args:
        stage: Where.
        neighbours: Who comes.
        size: The effective batch.
        shared: Whether the training calls `autobatch.share_memory()`.
        most: The largest micro-batch, `None` for any.
        seed: Of the order of samples.
        calibrated: Whether it is measured before what a sample adds to a step.
        wait_for_growth: Whether to wait, a while, until the training is back at its size.
    """
    played = Played()
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder, "stop")
        part = stage.part(size=size, shared=shared, most=most, seed=seed, calibrated=calibrated)
        part |= {"reserve": RESERVE_BYTES, "stop": str(stop), "cache": folder}
        words = [sys.executable, "-u", str(TRAINING), json.dumps(part)]
        with Actor(words) as training, Sampler(stage, training.pid) as sampler:
            played.pid = training.pid
            if training.until(lambda: len(training.of("update")) >= _CALM_UPDATES, PATIENCE_S):
                for told in neighbours:
                    _visit(stage, training, told, played, sampler)
                    if wait_for_growth:
                        training.until(lambda: _is_back(training), PATIENCE_S / 3)
            done = len(training.of("update"))
            training.until(lambda: len(training.of("update")) >= done + 2, PATIENCE_S / 3)
            stop.touch()
            training.ends(PATIENCE_S / 3)
            played.trainer = training.status
        played.events, played.samples, played.stderr = training.events, sampler.samples, training.stderr[-3000:]
    return played


def _visit(stage: Stage, training: Actor, told: Neighbour, played: Played, sampler: Sampler) -> None:
    held = sum(sampler.samples[-1].held.values()) if sampler.samples else 0
    with in_role(stage, "take", **told(stage, held)) as neighbour:
        training.until(lambda: neighbour.status is not None, PATIENCE_S)
        neighbour.ends(PATIENCE_S / 10)
        played.neighbours.append(neighbour.status)
    played.held.append(neighbour.events)


def _is_back(training: Actor) -> bool:
    """Whether the micro-batch is what it was before its first change."""
    changes = training.of("changed")
    return not changes or changes[-1]["after"] >= changes[0]["before"]
