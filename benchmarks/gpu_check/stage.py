"""Where a check is played: on a GPU, or for a rehearsal in a control group that stands for one.

What a check asks is the same on both: what is there, what is free, and what a process and its children hold, always
seen from a second process. On a GPU NVML tells; in a group it is what is resident.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import actor
import psutil
from gpu_check.actors import group_free, group_limit
from groups import memory_group

from autobatch.memory.sensors.gpu import read_device_uses, read_devices
from autobatch.memory.sensors.nvml import nvml_session

MIB = 1 << 20
HERE = Path(__file__).resolve().parent
ACTORS, PROBE = HERE / "actors.py", HERE / "probing.py"
TRAINING = HERE.parent / "support" / "adapting_training.py"
PATIENCE_S = 150.0
RESERVE_BYTES = 256 * MIB
_CALM_UPDATES = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """A GPU, or a group that stands for one."""

    name: str  # `"gpu"` or `"cpu"`
    group: Path | None = None  # the control group that all processes of a check are in, `None` for none

    @property
    def resource(self) -> str:
        return "device" if self.name == "gpu" else "host"

    def part(self, **own: Any) -> dict[str, Any]:
        """What an actor or a training is told, with facts of its own."""
        return {"group": str(self.group) if self.group else None, "of": "gpu" if self.name == "gpu" else "host", **own}

    def total_bytes(self) -> int:
        return group_limit(self.group) if self.group and self.name == "cpu" else read_devices(0)[0][0].total_bytes

    def free_bytes(self) -> int:
        return group_free(self.group) if self.group and self.name == "cpu" else read_devices(0)[0][0].free_bytes

    def held(self, pid: int) -> dict[int, int]:
        """What a process and those that it has started hold, by their numbers; those that hold nothing are left out."""
        try:
            family = [(one := psutil.Process(pid)), *one.children(recursive=True)]
            if self.name == "cpu":
                return {one.pid: one.memory_info().rss for one in family if one.is_running()}
            pids = {one.pid for one in family}
        except psutil.Error:
            return {}
        uses, _ = read_device_uses()
        return {use.pid: use.used_bytes for use in uses if use.pid in pids and use.index == 0 and use.used_bytes}


@contextlib.contextmanager
def opened(name: str, limit_mib: int) -> Iterator[Stage]:
    """The stage that was asked for; on a CPU a group of `limit_mib`.

    Raises:
        NoGroupError: No control group can be made here, and there is no GPU.
    """
    if name == "gpu":
        with nvml_session():
            yield Stage("gpu")
        return
    with memory_group(limit_mib * MIB) as group:
        yield Stage("cpu", group)


def options(parser: argparse.ArgumentParser) -> None:
    add_stage(parser)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen from outside at one moment."""

    at_s: float  # when, on the clock of all processes; the reading had ended by then
    free_bytes: int  # what nobody had taken
    held: Mapping[int, int] = field(default_factory=dict)  # bytes of each process that was watched and its children


class Sampler:
    """Looks again and again at what a process holds; its samples are whole when the block has ended."""

    def __init__(self, stage: Stage, pid: int, every_s: float | None = None) -> None:
        self.samples: list[Sample] = []
        # What is resident is read from a file for each process: dearer than a question to the driver.
        every_s = every_s or (0.005 if stage.name == "gpu" else 0.02)
        self._stage, self._pid, self._every_s = stage, pid, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(self._every_s):
            held, free = self._stage.held(self._pid), self._stage.free_bytes()
            self.samples.append(Sample(time.monotonic(), free, held))


class Actor(actor.Actor):
    """A process that says what happens, a line of JSON each; it is gone when the block ends.

    Attributes:
        events: What it has said so far.
    """

    def __init__(self, words: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(words, self._take_down, environ)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["kind"] == kind]

    def _take_down(self, line: str) -> None:
        if line.startswith("{"):
            self.events.append(json.loads(line))


def in_role(stage: Stage, role: str, **part: Any) -> Actor:
    return Actor([sys.executable, "-u", str(ACTORS), role, json.dumps(stage.part(**part))])


def add_stage(parser: argparse.ArgumentParser) -> None:
    """Where a check runs: on the GPU, or on the CPU to see that it works at all."""
    parser.add_argument(
        "--stage",
        choices=("gpu", "cpu"),
        default="gpu",
        help="cpu runs the same on a CPU, with a limit: to see that the check works, not to measure",
    )


@dataclass(slots=True)
class Played:
    """What happened.

    Attributes:
        neighbours: Exit status of each neighbour; `None` for one that had not ended.
    """

    trainer: int | None = None  # exit status of the training
    neighbours: list[int | None] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)  # what the training said
    held: list[list[dict[str, Any]]] = field(default_factory=list)  # what the neighbours said, of each
    samples: list[Sample] = field(default_factory=list)  # what was seen from outside
    pid: int = 0  # the number of the training's process
    stderr: str = ""  # the end of what the training printed

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return self.of("changed")


Neighbour = Callable[[Stage, int], dict[str, Any]]
"""From the stage and what the training holds then to what the neighbour is told: `amount`, `rate`, `hold_s`."""


def over_free(share: float, rate: int, hold_s: float, of: str | None = None) -> Neighbour:
    """A neighbour that wants all that is free, and a share of what the training holds."""

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
    """Trains, lets the neighbours come one after another, and ends the training once it is back at its size."""
    played = Played()
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder, "stop")
        part = stage.part(size=size, shared=shared, most=most, seed=seed, calibrated=calibrated)
        part |= {"trainer": "autobatch", "reserve": RESERVE_BYTES, "stop": str(stop), "cache": folder}
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
