"""The world around a run, as a test tells it: memory, time, and samples that say which they are."""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np

from autobatch._atomic_file import Disk
from autobatch.data.batch import Batch
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.memory.budget import Reserve
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Device
from autobatch.results.run import Decision
from autobatch.testing import memory_reading
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.controller import Controller, ControllerHooks
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import PolicyDecision
from autobatch.train.control.watcher import RunBudgets, Watcher

LADDER = (8, 4, 2, 1)
PER_SAMPLE = 100
ROOMY = 8 * PER_SAMPLE
NOTHING_RESERVED = Reserve(fraction=0.0, floor_bytes=0)
# Numbers that are easy to follow: no margins, and nothing for what others may go on taking.
PLAIN = ControllerConfig(patience=2, margin=0.0, foresight=0.0, clearly=0.1)


class Clock:
    """Seconds that pass when they are told to: by `step_s` at every question, and while sleeping."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s, self.step_s = 0.0, step_s
        self.slept: list[float] = []

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Sensor:
    """Readings of a host on which this process may occupy so many bytes; an exception among them is raised.

    The last entry goes on for good. With `gpu_budgets` there is a GPU too, `None` for one that is lost.
    """

    def __init__(
        self,
        *budgets: int | Exception,
        rss_bytes: int = 0,
        takes_s: float = 0.0,
        clock: Clock | None = None,
        gpu_budgets: Iterable[int | None] = (),
    ) -> None:
        self.budgets, self.rss_bytes, self.count = list(budgets), rss_bytes, 0
        self._takes_s, self._clock = takes_s, clock
        self._gpu_budgets = list(gpu_budgets)

    def __call__(self) -> MemoryReading:
        self.count += 1
        if self._clock is not None:
            self._clock.now_s += self._takes_s
        answer = _nth(self.budgets, self.count)
        if isinstance(answer, Exception):
            raise answer
        return memory_reading(
            host_available_bytes=max(0, answer - self.rss_bytes), rss_bytes=self.rss_bytes, devices=self._devices()
        )

    def _devices(self) -> tuple[Device, ...]:
        free = _nth(self._gpu_budgets, self.count) if self._gpu_budgets else None
        return () if free is None else (Device(0, "GPU-0", "Fake GPU", 10**6, free, 0),)


def _nth(entries: list[Any], number: int) -> Any:
    return entries[min(number, len(entries)) - 1]


class Eager(Watcher):
    """Reads before every micro-batch, however long an interval is."""

    @property
    def due(self) -> bool:
        return True


def need(size: int) -> int:
    """What a micro-batch needs."""
    return PER_SAMPLE * size


class Run:
    """A controller with everything that it said and did; it reads before every micro-batch, unless given `least_s`."""

    def __init__(
        self,
        sensor: Callable[[], MemoryReading] | None,
        *,
        micro: int = 8,
        ladder: tuple[int, ...] = LADDER,
        config: ControllerConfig = PLAIN,
        clock: Clock | None = None,
        least_s: float | None = None,
        watch: Watcher | None = None,
        footprints: dict[str, Callable[[int], int]] | None = None,
        gpu: int | None = None,
        **outside: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.changes: list[Any] = []
        self.seen: list[tuple[int, int | None]] = []
        self.notes: list[str] = []
        if watch is None and sensor is not None:
            kind, interval_s = (Eager, 0.5) if least_s is None else (Watcher, least_s)
            watch = kind(sensor, RunBudgets(NOTHING_RESERVED, gpu), clock=self.clock, least_s=interval_s)
        self.watch = watch
        outside = {
            "decided": self._decided,
            "seen": lambda snapshot, size, headroom: self.seen.append((size, headroom)),
            "note": self._note,
            "sleep": self.clock.sleep,
        } | outside
        policy = Policy(ladder, {"host": need} if footprints is None else footprints, config)
        self.controller = Controller(policy, micro, ControllerHooks(watch=watch, **outside))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Before and after of each change."""
        return [(change.before, change.after) for change in self.changes]

    def _decided(self, decision: PolicyDecision, *figures: int | None) -> None:
        self.changes.append(Decision(0, 0, "", decision.before, decision.after, decision.reason, None, *figures))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class Numbered:
    """Samples that say which they are, and in which pass they were read; a tiny net can be trained on them."""

    seed = 5
    sample_bytes = 12

    def __init__(self, count: int, before: Callable[[], None] = lambda: None) -> None:
        self._count, self._before = count, before

    def __len__(self) -> int:
        return self._count

    def read(self, indices: Any, epoch: int) -> Batch:
        self._before()
        chosen = np.asarray(indices)
        x = np.stack([chosen, np.full(len(chosen), epoch)], axis=1).astype(np.float32)
        return Batch(x / [[self._count, 10]], (chosen % 3 == 0).astype(np.float32)[:, None])

    def numbers(self, batch: Batch) -> list[tuple[int, int]]:
        """Index and pass of each sample."""
        return [tuple(row) for row in np.rint(batch.x * [[self._count, 10]]).astype(int).tolist()]


def updates(samples: int, effective: int) -> list[tuple[int, int]]:
    """The windows `(start, stop)` of a pass, one for each update; only the last may be short."""
    return [(start, min(start + effective, samples)) for start in range(0, samples, effective)]


def expected_samples(count: int, passes: int, *, shuffle: bool = True) -> list[tuple[int, int]]:
    """Index and pass of the samples of some passes, as a run from the beginning comes to them."""
    source = Numbered(count)
    with SourceLoader(source, passes=passes, workers=1, shuffle=shuffle) as loader:
        return [pair for _ in range(passes) for pair in source.numbers(loader.take(count))]


def small_net(*, seed: int = 1, stateful: bool = False, optimizer: Any = None, **options: Any) -> Any:
    """A compiled net for `Numbered`; with `stateful`, one with BatchNorm averages and dropout seeds as well."""
    keras.utils.set_random_seed(seed)
    extra = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3, seed=3)] if stateful else []
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4, activation="tanh"), *extra, keras.layers.Dense(1)]
    )
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss="mse", **{"metrics": ["mae"]} | options)
    return model


class FailingDisk(Disk):
    """A disk whose operations first ask `fails`, with their name, for the error to raise; removing works always."""

    def __init__(self, fails: Callable[[str], OSError | None]) -> None:
        self._fails = fails

    def make_folder(self, folder: Path) -> None:
        self._maybe_fail("make_folder")
        super().make_folder(folder)

    def open(self, path: Path) -> BinaryIO:
        self._maybe_fail("open")
        return super().open(path)

    def write(self, file: BinaryIO, data: bytes | memoryview) -> None:
        self._maybe_fail("write")
        super().write(file, data)

    def sync(self, file: BinaryIO) -> None:
        self._maybe_fail("sync")
        super().sync(file)

    def replace(self, draft: Path, path: Path) -> None:
        self._maybe_fail("replace")
        super().replace(draft, path)

    def sync_folder(self, folder: Path) -> None:
        self._maybe_fail("sync_folder")
        super().sync_folder(folder)

    def _maybe_fail(self, operation: str) -> None:
        error = self._fails(operation)
        if error is not None:
            raise error


def full_disk(_operation: str) -> OSError:
    """What a full disk answers to everything."""
    return OSError(errno.ENOSPC, "No space left on device")
