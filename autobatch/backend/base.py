"""What the rest of the package asks of a backend: engines, memory figures, and plain facts about the framework."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from autobatch.data.batch import Batch, leaves
from autobatch.memory.peak_model import Allocation

Logs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """The effective batch that micro-batches are parts of: what their gradients are divided by.

    Attributes:
        size: Samples in the effective batch.
        weights: Sum of the sample weights for each output, `None` where it is not known beforehand. Only losses with
            `reduction="mean_with_sample_weight"` need it (`Engine.needs_weights`).
    """

    size: int
    weights: tuple[float, ...] | None = None

    @classmethod
    def of(cls, *parts: Batch) -> "BatchTotals":
        """The effective batch that `parts` make up, with its weights."""
        sums = [part_weights(part) for part in parts]
        totals = tuple(map(sum, zip(*sums, strict=True))) if all(sums) else None
        return cls(sum(part.size for part in parts), totals)


def part_weights(batch: Batch) -> tuple[float, ...]:
    """The sum of the sample weights of each output; empty where the batch carries none."""
    return tuple(float(array.sum()) for array in leaves(batch.sample_weight))


class Evaluator(Protocol):
    """What evaluation asks of an engine."""

    @property
    def needs_weights(self) -> bool:
        """Whether the weights of all samples of a step must be known before its first micro-batch."""

    def evaluate(self, batch: Batch, whole: BatchTotals) -> Logs:
        """Runs the test step on one micro-batch and returns the metrics so far.

        Raises:
            OutOfMemoryError: It did not fit; nothing has changed.
        """


class Predictor(Protocol):
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


class ForwardEngine(Evaluator, Predictor, Measured, Protocol):
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


class Engine(Evaluator, Measured, Protocol):
    """One compiled model's updates, in micro-batches that can be undone.

    An update is `accumulate` for each micro-batch, then `apply` once. Every call either does all of its work or leaves
    the model as it was: when `accumulate` raises, the weights, BatchNorm averages, dropout seeds, metrics and the
    gradients accumulated so far are those from before the call, and its samples can be handed in again in smaller
    parts.
    """

    def accumulate(self, batch: Batch, whole: BatchTotals) -> Logs:
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


@dataclass(frozen=True, slots=True)
class StateVariable:
    """A variable that a training changes.

    Attributes:
        name: Its path in the model.
        shape: Its shape.
        dtype: The name of its numbers' type (`"float32"`, `"bfloat16"`).
        nbytes: What its values take.
        read: Returns its values as bytes, in C order; they are a copy.
        write: Takes such bytes as its values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    read: Callable[[], Any]
    write: Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The GPU that steps run on, and what the framework's allocator does there now.

    Attributes:
        name: How the framework calls it, among those that it uses: "GPU:0".
        number: Its number as the driver counts those that this process may use: k of "GPU:k" in a reading.
        in_use_bytes: What tensors take of it.
        limit_bytes: The most that its allocator may take, `None` where nobody has set a limit.
        grows: Whether its allocator takes memory as it needs it, instead of all of it at its start.
    """

    name: str
    number: int
    in_use_bytes: int = 0
    limit_bytes: int | None = None
    grows: bool = True


@dataclass(frozen=True, slots=True)
class FrameworkGpu:
    """A GPU that the framework can use.

    Attributes:
        index: k of "GPU:k".
        name: What the maker calls it, `None` where the framework doesn't tell.
        compute_capability: What it can do, as "8.6".
    """

    index: int
    name: str | None = None
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class Framework:
    """Keras and its backend.

    Attributes:
        error: Why they cannot be imported, `None` if they can.
        keras_version: Of Keras.
        backend: What Keras runs on.
        backend_version: Of that, `None` where it is none that has an engine.
        cuda_build: Whether the backend was built with CUDA.
        cuda_version: The CUDA that it was built for.
        cudnn_version: The cuDNN that it was built for.
        compute_capabilities: The GPUs that it was built for.
        onednn: Whether it uses oneDNN on the CPU.
        gpus: The GPUs that it can use.
    """

    error: str | None = None
    keras_version: str | None = None
    backend: str | None = None
    backend_version: str | None = None
    cuda_build: bool = False
    cuda_version: str | None = None
    cudnn_version: str | None = None
    compute_capabilities: tuple[str, ...] = ()
    onednn: bool | None = None
    gpus: tuple[FrameworkGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class AllocatorChoice:
    """Which allocator the framework takes memory from.

    Attributes:
        name: What it is.
        because: The environment variables that choose it, as "NAME=value"; empty for the default.
        gives_back: Whether memory can be given back to others while the process lives.
        takes_all: Whether it takes nearly all of the device at its first use.
    """

    name: str
    because: str = ""
    gives_back: bool = False
    takes_all: bool = False
