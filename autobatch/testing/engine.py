"""An engine that trains nothing, and a recording that is known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from autobatch.backend.base import BatchTotals, CutCheck, Logs
from autobatch.data.batch import Batch
from autobatch.errors import OutOfMemoryError
from autobatch.memory.peak_model import Allocation


class FakeEngine:
    """An `autobatch.backend.base.Engine` that keeps the samples it is handed instead of training on them.

    It follows the protocol to the letter: a call that fails has no effect, a micro-batch that is the whole effective
    batch is an update at once, and `apply` without anything to apply does nothing.

    Args:
        fails: From the number of a call of `accumulate`, `evaluate`, `predict` or `totals`, counted from 1, and its
            samples to whether it runs out of memory.
        needs_divisors: Whether it asks for what the whole effective batch is divided by.
        cuttable: Whether it finds that batches may be cut.

    Attributes:
        updates: For each update, its micro-batches in order.
        pending: The micro-batches that wait for `apply`.
        evaluated: The micro-batches that were evaluated.
        predicted: The micro-batches that were predicted.
        calls: How often it was handed samples.
        finished: How often `finish` was called.
        rescalings: For each call of `rescale`: the number of updates made before it, `rate`, `updates`.
        compiles_once: `False`: it compiles nothing.

    Example:
        >>> import numpy as np
        >>> engine = FakeEngine(fails=lambda call, size: size > 2)
        >>> batch = Batch(np.arange(4))
        >>> try:
        ...     engine.accumulate(batch, BatchTotals(4))
        ... except OutOfMemoryError as error:
        ...     print(error.size)
        4
        >>> for part in (batch[:2], batch[2:]):
        ...     logs = engine.accumulate(part, BatchTotals(4))
        >>> engine.apply()
        >>> [part.x.tolist() for part in engine.updates[0]]
        [[0, 1], [2, 3]]
    """

    compiles_once = False

    def __init__(
        self,
        fails: Callable[[int, int], bool] = lambda _call, _size: False,
        *,
        needs_divisors: bool = False,
        cuttable: bool = True,
    ) -> None:
        self.fixed_batch_size = None
        self.updates: list[list[Batch]] = []
        self.pending: list[Batch] = []
        self.evaluated: list[Batch] = []
        self.predicted: list[Batch] = []
        self.calls = 0
        self.finished = 0
        self.rescalings: list[tuple[int, float, float]] = []
        self._fails = fails
        self.needs_divisors = needs_divisors
        self._cuttable = cuttable

    def totals(self, *parts: Batch) -> BatchTotals:
        """The samples of `parts`, and as divisors the same.

        Raises:
            OutOfMemoryError: The constructor was told so.
        """
        for part in parts:
            self._maybe_fail(part)
        size = sum(part.size for part in parts)
        return BatchTotals(size, (float(size),))

    def accumulate(self, batch: Batch, whole: BatchTotals) -> Logs:
        """Keeps a micro-batch of `whole`, the effective batch.

        Raises:
            OutOfMemoryError: The constructor was told so; nothing has changed.
            ValueError: More samples than the effective batch has, or a part of one that was not counted.
        """
        self._maybe_fail(batch)
        if self.needs_divisors and whole.divisors is None and batch.size < whole.size:
            raise ValueError(f"Received: {whole}. Expected divisors.")
        size = sum(part.size for part in self.pending) + batch.size
        if size > whole.size:
            raise ValueError(f"The effective batch is full. Received: {size} samples. Expected at most {whole.size}.")
        self.pending.append(batch)
        if batch.size == whole.size:
            self.apply()
        return {"loss": 0.0}

    def apply(self) -> None:
        """Makes an update of what is pending, if anything is."""
        if self.pending:
            self.updates.append(self.pending)
            self.pending = []

    def abandon(self) -> None:
        """Forgets what is pending."""
        self.pending = []

    def rescale(self, rate: float, updates: float) -> None:
        """Keeps `rate` and `updates`, the number of updates."""
        self.rescalings.append((len(self.updates), rate, updates))

    def accumulator_bytes(self) -> int:
        """Nothing: no gradient is kept."""
        return 0

    def empty(self) -> None:
        """Does nothing."""

    def check_cut(self, batch: Batch, most: int) -> CutCheck:
        """What the constructor was told, whatever the batch and `most`, the number of its samples to try."""
        del batch, most
        return CutCheck(None if self._cuttable else "it was told so")

    def evaluate(self, batch: Batch, whole: BatchTotals) -> Logs:
        """Keeps a micro-batch of `whole`, what is evaluated in one step.

        Raises:
            OutOfMemoryError: The constructor was told so; nothing has changed.
        """
        del whole
        self._maybe_fail(batch)
        self.evaluated.append(batch)
        return {"loss": 0.0}

    def predict(self, batch: Batch) -> Any:
        """Keeps a micro-batch and returns its inputs as predictions.

        Raises:
            OutOfMemoryError: The constructor was told so; nothing has changed.
        """
        self._maybe_fail(batch)
        self.predicted.append(batch)
        return batch.x

    def finish(self) -> None:
        """Counts."""
        self.finished += 1

    def device_peak_bytes(self) -> int | None:
        """Nothing: there is no device."""
        return None

    def allocator_bytes(self) -> tuple[int, int] | None:
        """Nothing: there is no allocator."""
        return None

    def reset_peak(self) -> bool:
        """Does nothing."""
        return False

    def recording(self) -> "FakeRecording":
        """Nothing: there is no allocator."""
        return FakeRecording()

    def _maybe_fail(self, batch: Batch) -> None:
        self.calls += 1
        if self._fails(self.calls, batch.size):
            raise OutOfMemoryError(f"A micro-batch of {batch.size} samples was told not to fit.", batch.size)


@dataclass(frozen=True)
class FakeRecording:
    """A recording of a step's allocations that is known beforehand: those it was made with."""

    allocations: tuple[Allocation, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self) -> tuple[Allocation, ...]:
        """What it was made with."""
        return self.allocations
