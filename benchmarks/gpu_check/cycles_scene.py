"""A training that runs out of memory again and again: `python cycles_scene.py --limit-mib 600 --net "tiny conv net"`.

Sizes are told by shares of the limit, along a line through two peaks. Each cycle is an update of samples that do not
fit at once: it runs out, is rolled back, and is done in smaller micro-batches. Before the first and after the last,
what fits and how fast it is are measured in the same process.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from capped import MIB, NAMES, limit, parser, take_at_once

FIRST, ENOUGH = 4, 0.4
HALF, TOO_MUCH = 0.5, 1.25
NEAR = (0.95, 0.92, 0.89, 0.86, 0.83, 0.8)
"""Shares of the limit among which is looked for what fits, from the top."""


class Once:
    """Samples in order, each once."""

    def __init__(self, data: Any) -> None:
        self._data, self._start = data, 0

    def take(self, number: int) -> Any:
        """The next samples."""
        self._start += number
        return self._data[self._start - number : self._start]


class Training:
    """A model in training, at any size.

    Args:
        net: Its name in `models`.
        device: What TensorFlow calls the place where it is trained.
    """

    def __init__(self, net: str, device: str) -> None:
        from models import AT_224, NETS

        from autobatch.step.backend import engine_for

        self._net, self._device = (NETS | AT_224)[net], device
        self._engine = engine_for(self._net.compiled(jit_compile=False), self.batch(2))

    def batch(self, size: int) -> Any:
        """So many random samples."""
        from autobatch.data.batch import Batch

        return Batch(*self._net.samples(size))

    def update(self, data: Any, micro: int | None = None) -> list[tuple[int, int]]:
        """One update, in one micro-batch if nothing is said; returns each size that ran out, and the one after it."""
        import numpy as np

        from autobatch.data.cut import rungs
        from autobatch.train.controller import falling
        from autobatch.train.feed import Feed
        from autobatch.train.updating import Cutter

        fell: list[tuple[int, int]] = []
        ladder = rungs(data.size, data.size)
        cutter = Cutter(falling(micro or data.size, ladder, lambda before, after, _: fell.append((before, after))))
        logs = cutter.update(self._engine, Feed(Once(data)), data.size)
        np.asarray(logs["loss"])  # waits for the device
        return fell

    def peak_bytes(self, size: int) -> int:
        """What an update in one micro-batch needs at most, with what the model holds."""
        from autobatch.step.tensorflow.memory import reset_peak

        data = self.batch(size)
        reset_peak(self._device)
        self.update(data)
        return self._bytes()["peak"]

    def held_bytes(self) -> int:
        """What is held between updates."""
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
        """The first of these sizes that runs in one micro-batch."""
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


if __name__ == "__main__":
    reader = parser(__doc__)
    reader.add_argument("--net", required=True)
    reader.add_argument("--cycles", type=int, default=20)
    reader.add_argument("--turns", type=int, default=10)
    reader.add_argument("--updates", type=int, default=10)
    args = reader.parse_args()
    kept = limit(args.device, args.limit_mib, args.allocator)
    take_at_once(args.device, args.limit_mib)
    of = Training(args.net, NAMES[args.device])
    print(json.dumps(cycles(of, args.limit_mib * MIB, args.cycles, args.turns, args.updates)))
