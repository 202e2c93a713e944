"""What the training loop and the trials ask of a backend."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from autobatch.data.batch import Batch, leaves
from autobatch.memory.peak_model import Allocation

Logs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """The effective batch that micro-batches are parts of: what their gradients are divided by.

    Attributes:
        size: Samples in the effective batch.
        weights: Sum of the sample weights for each output, `None` where it is not known beforehand. Only losses with
            `reduction="mean_with_sample_weight"` need it (`Engine.needs_weights`).
    """

    size: int
    weights: tuple[float, ...] | None = None

    @classmethod
    def of(cls, *parts: Batch) -> "Whole":
        """The effective batch that `parts` make up, with its weights."""
        sums = [part_weights(part) for part in parts]
        totals = tuple(map(sum, zip(*sums, strict=True))) if all(sums) else None
        return cls(sum(part.size for part in parts), totals)


def part_weights(batch: Batch) -> tuple[float, ...]:
    """The sum of the sample weights of each output; empty where the batch carries none."""
    return tuple(float(array.sum()) for array in leaves(batch.sample_weight))


class Evaluating(Protocol):
    """What evaluation asks of an engine."""

    @property
    def needs_weights(self) -> bool:
        """Whether the weights of all samples of a step must be known before its first micro-batch."""

    def evaluate(self, batch: Batch, whole: Whole) -> Logs:
        """Runs the test step on one micro-batch and returns the metrics so far.

        Raises:
            OutOfMemoryError: It did not fit; nothing has changed.
        """


class Predicting(Protocol):
    """What prediction asks of an engine."""

    def predict(self, batch: Batch) -> Any:
        """Runs the predict step on one micro-batch.

        Returns:
            The outputs as numpy arrays, in the nest that the model returns.

        Raises:
            OutOfMemoryError: It did not fit; nothing has changed.
        """


class Recording(Protocol):
    """Records what the steps in its context ask the framework's allocator for."""

    def __enter__(self) -> Self:
        """Begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends; what an error has interrupted is forgotten."""

    def read(self) -> Sequence[Allocation]:
        """What was asked for, in order; empty where that could not be recorded."""


class Measured(Protocol):
    """What an engine tells of its framework's memory."""

    def recording(self) -> Recording:
        """Where steps are to be run whose allocations are wanted."""

    def device_peak_bytes(self) -> int | None:
        """Peak bytes in use in the framework's allocator on an accelerator; `None` on a CPU."""

    def allocator_bytes(self) -> tuple[int, int] | None:
        """Current and peak bytes in use in the framework's allocator, `None` where it keeps no count."""

    def reset_peak(self) -> None:
        """Starts a new peak measurement of the framework's allocator."""


class ForwardEngine(Evaluating, Predicting, Measured, Protocol):
    """One model's evaluation and prediction, in micro-batches that can be undone; it trains nothing."""

    def trace(self, batch: Batch) -> None:
        """Compiles the step without running it, so that what does not fit the model shows at once.

        Args:
            batch: A few samples in the form that is going to be used.
        """

    def output_bytes(self, batch: Batch) -> int | None:
        """Bytes that the predictions of one sample take, before any is made; `None` where that cannot be told.

        Args:
            batch: A few samples in the form that is going to be used.
        """

    def untouched(self, run: Callable[[], Any]) -> None:
        """Calls `run`, which runs one micro-batch, and puts back what that has changed of the model."""


class Engine(Evaluating, Measured, Protocol):
    """One compiled model's updates, in micro-batches that can be undone.

    An update is `accumulate` for each micro-batch, then `apply` once. Every call either does all of its work or leaves
    the model as it was: when `accumulate` raises, the weights, BatchNorm averages, dropout seeds, metrics and the
    gradients accumulated so far are those from before the call, and its samples can be handed in again in smaller
    parts.
    """

    def accumulate(self, batch: Batch, whole: Whole) -> Logs:
        """Adds one micro-batch's share of the gradient and returns the metrics so far.

        A micro-batch that is the whole effective batch needs no accumulators: its update is done at once, and `apply`
        has nothing left to do.

        Raises:
            OutOfMemoryError: It did not fit; nothing has changed.
            UpdateInterruptedError: It failed while weights were being written.
        """

    def apply(self) -> None:
        """Updates the weights with the accumulated gradient; counts as one optimizer step.

        Raises:
            UpdateInterruptedError: Memory ran out while weights were being written.
        """

    def abandon(self) -> None:
        """Forgets the gradient accumulated since the last `apply`."""

    def rescale(self, rate: float, updates: float) -> None:
        """Multiplies the learning rate of coming updates by `rate`, on an engine that was made for it.

        `optimizer.learning_rate` shows and takes the user's own rate all along.

        Args:
            rate: Above 0. It is 1 until the first call.
            updates: How many updates of the reference batch the samples so far would have made; it may be a fraction.
                A learning-rate schedule is asked for the rate at that update, rounded down, instead of at
                `optimizer.iterations`. It stands still until the next call.

        Raises:
            ArgumentError: The engine was not made for it, or the numbers cannot be meant.
        """

    def accumulator_bytes(self) -> int:
        """Bytes that gradients take while they are kept for an update in several micro-batches."""

    def empty(self) -> None:
        """Frees what gradients that were kept have left; call it when none are."""

    def can_be_cut(self, batch: Batch) -> bool:
        """Whether cutting a batch leaves its gradient as it is, tried out on a few samples.

        It does for losses that are means or sums over samples. A loss of the user's own may be anything.
        """

    def finish(self) -> None:
        """Lets the optimizer write its final values (averaged weights), once, after the last update."""
