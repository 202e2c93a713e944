"""Out of memory twenty times in a row: a training is as fast afterwards, and as much fits.

Each time an update does not fit, is rolled back, and is done in smaller micro-batches, in one
process whose memory on the device is limited. TensorFlow's pool waits ten seconds before it gives up, each time.
`python benchmarks/gpu_check/cycles.py --stage cpu --quick` shows that the check works, with a CPU.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check.stage import add_stage
from harness import Findings, Goal, Table, benchmark, ratio, say
from support.hard_budget import MIB, NAMES, Device, limit, parser, take_at_once, told_by

FIRST, ENOUGH = 4, 0.4
HALF, TOO_MUCH = 0.5, 1.25
NEAR = (0.95, 0.92, 0.89, 0.86, 0.83, 0.8)
"""Shares of the limit among which is looked for what fits, from the top."""


class Once:
    """Samples in order, each once."""

    def __init__(self, data: Any) -> None:
        self._data, self._start = data, 0

    def take(self, number: int) -> Any:
        self._start += number
        return self._data[self._start - number : self._start]


class Training:
    """A model in training, at any size."""

    def __init__(self, net: str, device: str) -> None:
        from support.models import AT_224, NETS

        from autobatch.backend import engine_for

        self._net, self._device = (NETS | AT_224)[net], device
        self._engine = engine_for(self._net.compiled(jit_compile=False), self.batch(2))

    def batch(self, size: int) -> Any:
        from autobatch.data.batch import Batch

        return Batch(*self._net.samples(size))

    def update(self, data: Any, micro: int | None = None) -> list[tuple[int, int]]:
        """One update, in one micro-batch if nothing is said; returns each size that ran out, and the one after it."""
        import numpy as np

        from autobatch.data.epoch import rungs
        from autobatch.train.control.controller import controller_without_sensors
        from autobatch.train.microbatch import MicroBatchRunner
        from autobatch.train.passes import Feed

        fell: list[tuple[int, int]] = []
        ladder = rungs(data.size, data.size)
        runner = MicroBatchRunner(
            controller_without_sensors(
                micro or data.size, ladder, lambda before, after, _: fell.append((before, after))
            )
        )
        logs = runner.update(self._engine, Feed(Once(data)), data.size)
        np.asarray(logs["loss"])  # waits for the device
        return fell

    def peak_bytes(self, size: int) -> int:
        """What an update in one micro-batch needs at most, with what the model holds."""
        from autobatch.backend.tensorflow.allocator import reset_peak

        data = self.batch(size)
        reset_peak(self._device)
        self.update(data)
        return self._bytes()["peak"]

    def held_bytes(self) -> int:
        return self._bytes()["current"]

    def speeds(self, size: int, turns: int, updates: int) -> list[float]:
        """Samples a second, turn by turn."""
        data, told = self.batch(size), []
        self.update(data)
        for _ in range(turns):
            began = time.perf_counter()
            for _ in range(updates):
                self.update(data)
            told.append(updates * size / (time.perf_counter() - began))
        return told

    def largest(self, sizes: list[int]) -> int | None:
        return next((size for size in sizes if not self.update(self.batch(size))), None)

    def _bytes(self) -> dict[str, int]:
        import tensorflow as tf

        figures: dict[str, int] = tf.config.experimental.get_memory_info(self._device)
        return figures


def size_at(budget_bytes: float, points: list[tuple[int, int]]) -> int:
    """The samples whose peak is a number of bytes, along the line through two sizes and their peaks.

    Example:
        >>> size_at(1000, [(4, 140), (16, 260)])
        90
    """
    (size, peak), (larger, higher) = points
    return max(1, int(size + (budget_bytes - peak) * (larger - size) / (higher - peak)))


def two_points(training: Training, limit_bytes: int) -> list[tuple[int, int]]:
    """Two sizes with their peaks, the larger one at about half of the limit: small sizes tell little of large ones.

    Raises:
        ValueError: The limit is too small for that.
    """
    points = [(FIRST, training.peak_bytes(FIRST))]
    while points[-1][1] < ENOUGH * limit_bytes:
        size = 2 * points[-1][0]
        points.append((size, training.peak_bytes(size)))
    if len(points) < 3:
        raise ValueError(
            "Beside what a step of any size needs, there is no room for sizes to tell apart. "
            f"Received: limit_bytes={limit_bytes}, of which {points[0][1]} are taken by {FIRST} samples."
        )
    return points[-2:]


def cycles(training: Training, limit_bytes: int, count: int, turns: int, updates: int) -> dict[str, Any]:
    """All of it: what fits and how fast, cycles, and the same again."""
    training.update(training.batch(FIRST), micro=FIRST // 2)  # whatever is made at the first update of its kind
    points = two_points(training, limit_bytes)
    half = size_at(HALF * limit_bytes, points)
    near = [size_at(share * limit_bytes, points) for share in NEAR]
    too_large = training.batch(size_at(TOO_MUCH * limit_bytes, points))

    def state() -> dict[str, Any]:
        # First what is certain to fit: what fits into a pool that nothing has cut up yet is more than fits later.
        speeds = training.speeds(half, turns, updates)
        return {"speeds": speeds, "largest": training.largest(near), "held": training.held_bytes()}

    def cycle() -> dict[str, Any]:
        began = time.perf_counter()
        fell = training.update(too_large)
        calm = not training.update(too_large[:half])
        return {"fell": fell, "calm": calm, "held": training.held_bytes(), "seconds": time.perf_counter() - began}

    before = state()
    told = [cycle() for _ in range(count)]
    sizes = {"half": half, "too_large": too_large.size, "near": near}
    return sizes | {"before": before, "cycles": told, "after": state()}


LEAST_SPEED = 0.98
Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    cycles: int  # how often memory runs out
    turns: int  # how often the speed is taken, before and after
    updates: int  # updates in one of these turns

    def words(self) -> list[str]:
        return ["--cycles", str(self.cycles), "--turns", str(self.turns), "--updates", str(self.updates)]


FULL, QUICK = Effort(20, 10, 10), Effort(3, 5, 5)
# A CPU's speed, with whatever else it does, says nothing of a GPU's.
LOOK = Effort(2, 2, 2)
PLACES: dict[Device, tuple[str, int]] = {"gpu": ("MobileNetV2 at 224", 4096), "cpu": ("tiny conv net", 300)}


def verdict(told: Told, cycles: int, device: Device) -> list[Goal]:
    before, after = told["before"], told["after"]
    ran_out = sum(bool(one["fell"]) for one in told["cycles"])
    calm = sum(one["calm"] for one in told["cycles"])
    speed = ratio(after["speeds"], before["speeds"])
    held = [one["held"] - before["held"] for one in told["cycles"]]
    return [
        Goal(
            f"memory runs out {cycles} times in a row, and what fits runs after each",
            ran_out == calm == cycles,
            f"{ran_out} ran out, {calm} updates that fit ran after it",
        ),
        Goal(
            "as much fits afterwards, to one step of the sizes that were tried",
            _same_size(told["near"], before["largest"], after["largest"]),
            f"{_size(before['largest'])} before, {_size(after['largest'])} after, of {_sizes(told['near'])}",
        ),
        Goal(
            f"at least {LEAST_SPEED:.0%} as fast afterwards",
            speed.middle >= LEAST_SPEED if device == "gpu" else None,
            f"{speed} of the samples a second before",
        ),
        Goal(
            "nothing more is held between updates",
            max([*held, after["held"] - before["held"]]) <= 0,
            f"{before['held'] / MIB:,.2f} MiB before, {after['held'] / MIB:,.2f} MiB after",
        ),
    ]


def _same_size(sizes: list[int], before: int | None, after: int | None) -> bool | None:
    """Whether the second is at most one place behind the first; where a pool is cut up, the last places are luck."""
    if before is None:
        return None
    return after is not None and sizes.index(after) <= sizes.index(before) + 1


def _size(size: int | None) -> str:
    return "none" if size is None else f"{size:,} samples"


def _sizes(sizes: list[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)


def table_of(told: Told, title: str) -> Table:
    rows: list[list[Any]] = [
        [
            number,
            ", ".join(f"{before:,} to {after:,}" for before, after in one["fell"]) or None,
            round(one["seconds"], 1),
            round(one["held"] / MIB, 2),
        ]
        for number, one in enumerate(told["cycles"], 1)
    ]
    return Table(title, ("cycle", "micro-batch", "s", "held after it, MiB"), rows)


def measure(args: argparse.Namespace) -> Findings:
    usual_net, usual_mib = PLACES[args.stage]
    net, limit_mib = args.net or usual_net, args.limit_mib or usual_mib
    effort = (LOOK if args.stage == "cpu" else QUICK) if args.quick else FULL
    say(f"{net} within {limit_mib} MiB: {effort.cycles} cycles of ten seconds or more")
    told = told_by(__file__, ["--scene", "--net", net, *effort.words()], args.stage, limit_mib, "bfc")
    notes = [
        f"An update is of {told['too_large']:,} samples, for a quarter more than the limit.",
        f"The speed is that of updates of {told['half']:,} samples, for half of it.",
        "The seconds of a cycle are, for the most part, the ten that TensorFlow's pool waits before it gives up.",
    ]
    title = f"{net} within {limit_mib} MiB"
    return Findings([table_of(told, title)], verdict(told, effort.cycles, args.stage), notes, told)


def options(parser: argparse.ArgumentParser) -> None:
    add_stage(parser)
    parser.add_argument("--net", help="the model to train, by its name in support/models.py")
    parser.add_argument("--limit-mib", type=int, help="what the training may take of the device")


def scene() -> None:
    reader = parser(__doc__)
    reader.add_argument("--scene", action="store_true")
    reader.add_argument("--net", required=True)
    reader.add_argument("--cycles", type=int, default=20)
    reader.add_argument("--turns", type=int, default=10)
    reader.add_argument("--updates", type=int, default=10)
    args = reader.parse_args()
    kept = limit(args.device, args.limit_mib, args.allocator)
    take_at_once(args.device, args.limit_mib)
    training = Training(args.net, NAMES[args.device])
    print(json.dumps(cycles(training, args.limit_mib * MIB, args.cycles, args.turns, args.updates)))
    del kept


if __name__ == "__main__":
    if "--scene" in sys.argv:
        scene()
    else:
        benchmark(
            "gpu_check/cycles",
            "Out of memory, again and again",
            "Do twenty out-of-memory errors in a row cost speed or room?",
            measure,
            options,
        )
