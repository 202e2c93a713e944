"""Where a check is played: on a GPU, or for a rehearsal in a control group that stands for one.

What a check asks is the same on both: what is there, what is free, and what a process and its children hold, always
seen from a second process. On a GPU NVML tells; in a group it is what is resident.
"""

import argparse
import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import actor
import psutil
from groups import memory_group

from autobatch.memory.gpu import hold_nvml, read_devices
from autobatch.memory.gpu_uses import read_device_uses
from gpu_check.cuda import group_free, group_limit
from gpu_check.words import add_stage

MIB = 1 << 20
HERE = Path(__file__).resolve().parent
ACTORS = HERE / "actors.py"


@dataclass(frozen=True, slots=True)
class Stage:
    """A GPU, or a group that stands for one.

    Attributes:
        name: `"gpu"` or `"cpu"`.
        group: The control group that all processes of a check are in, `None` for none.
    """

    name: str
    group: Path | None = None

    @property
    def resource(self) -> str:
        """What autobatch calls the memory that is played with."""
        return "device" if self.name == "gpu" else "host"

    def part(self, **own: Any) -> dict[str, Any]:
        """What an actor or a training is told, with facts of its own."""
        return {"group": str(self.group) if self.group else None, "of": "gpu" if self.name == "gpu" else "host", **own}

    def total_bytes(self) -> int:
        """All there is."""
        return group_limit(self.group) if self.group and self.name == "cpu" else read_devices(0)[0][0].total_bytes

    def free_bytes(self) -> int:
        """What nobody has taken."""
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
        with hold_nvml():
            yield Stage("gpu")
        return
    with memory_group(limit_mib * MIB) as group:
        yield Stage("cpu", group)


def options(parser: argparse.ArgumentParser) -> None:
    """What all checks take."""
    add_stage(parser)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen from outside at one moment.

    Attributes:
        at_s: When, on the clock of all processes; the reading had ended by then.
        free_bytes: What nobody had taken.
        held: Bytes of each process that was watched and its children.
    """

    at_s: float
    free_bytes: int
    held: Mapping[int, int] = field(default_factory=dict)


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

    Args:
        words: Its program and what it is given.
        environ: Its environment; that of this process if left out.

    Attributes:
        events: What it has said so far.
    """

    def __init__(self, words: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(words, self._take_down, environ)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What it has said of one kind."""
        return [event for event in list(self.events) if event["kind"] == kind]

    def _take_down(self, line: str) -> None:
        if line.startswith("{"):
            self.events.append(json.loads(line))


def in_role(stage: Stage, role: str, **part: Any) -> Actor:
    """An actor of this stage, by its role in `actors.py`."""
    return Actor([sys.executable, "-u", str(ACTORS), role, json.dumps(stage.part(**part))])
