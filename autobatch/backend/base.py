"""What the rest of the package asks of a backend: engines, memory figures, and plain facts about the framework."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from autobatch.data.batch import Batch
from autobatch.memory.peak_model import Allocation
from autobatch.memory.types import Allocator

Logs = Mapping[str, Any]
SHARED_SEED = "keras/shared_seed"  # the state variable that belongs to all of Keras, and to no model


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """The effective batch that micro-batches are parts of: what their gradients are divided by."""

    size: int  # in samples
    # What each compiled loss divides by, where that is not the samples: the entries that its mask leaves, or the sum of
    # their weights. `None` where nothing has counted them (`Evaluator.needs_divisors`).
    divisors: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class CutCheck:
    """What a trial on a few samples has shown of updates in several micro-batches."""

    why_whole: str | None = None  # why an update must not be cut, as a clause; `None` if it may
    notes: tuple[str, ...] = ()  # what else comes out different, in sentences


class Evaluator(Protocol):
    """What evaluation asks of an engine."""

    @property
    def needs_divisors(self) -> bool:
        """Whether a loss divides by more than samples, which `totals` must count before the first micro-batch."""

    def totals(self, *parts: Batch) -> BatchTotals:
        """What the micro-batches of one step are divided by; runs as much of the model as its masks follow from.

        Raises:
            OutOfMemoryError: A part did not fit.
        """

    def evaluate(self, batch: Batch, whole: BatchTotals) -> Logs:
        """Runs the test step on one micro-batch and returns the metrics so far.

        Raises:
            OutOfMemoryError: It did not fit; nothing has changed.
        """

    def check_cut(self, batch: Batch, most: int) -> CutCheck:
        """Whether cutting a step changes what comes of it; what is unknown is tried on at most `most` samples."""


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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends; what an error has interrupted is forgotten."""

    def read(self) -> Sequence[Allocation]:
        """What was asked for, in order; empty where that could not be recorded."""


class Measured(Protocol):
    """What an engine tells of its framework's memory."""

    fixed_batch_size: int | None  # the only number of samples that the model takes at once, `None` where it takes any

    @property
    def compiles_once(self) -> bool:
        """Whether one compiled step serves all sizes, so that it may be compiled ahead, on a few samples."""

    def recording(self) -> Recording:
        """Where steps are to be run whose allocations are wanted."""

    def device_peak_bytes(self) -> int | None:
        """Peak bytes in use in the framework's allocator on an accelerator; `None` on a CPU."""

    def allocator_bytes(self) -> tuple[int, int] | None:
        """Current and peak bytes in use in the framework's allocator, `None` where it keeps no count."""

    def reset_peak(self) -> bool:
        """Starts a new peak measurement of the framework's allocator; whether it could.

        Where it could not, peaks are those since the process began: never too small.
        """


class ForwardEngine(Evaluator, Predictor, Measured, Protocol):
    """One model's evaluation and prediction, in micro-batches that can be undone; it trains nothing."""

    def trace(self, batch: Batch) -> None:
        """Compiles the step without running it, so that what does not fit the model shows at once."""

    def output_bytes(self, batch: Batch) -> int | None:
        """Bytes that the predictions of one sample take, before any is made; `None` where that cannot be told."""

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

        `optimizer.learning_rate` shows and takes the user's own rate all along. A learning-rate schedule is asked for
        the rate at `updates`, rounded down, instead of at `optimizer.iterations`: how many updates of the reference
        batch the samples so far would have made, a fraction perhaps. It stands still until the next call.
        """

    def accumulator_bytes(self) -> int:
        """Bytes that gradients take while they are kept for an update in several micro-batches."""

    def empty(self) -> None:
        """Frees what gradients that were kept have left; call it when none are."""

    def finish(self) -> None:
        """Lets the optimizer write its final values (averaged weights), once, after the last update."""


@dataclass(frozen=True, slots=True)
class StateVariable:
    """A variable that a training changes; `read` copies its values as bytes in C order, `write` takes such bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    read: Callable[[], Any]
    write: Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The GPU that steps run on, and what the framework's allocator does there now."""

    name: str  # what the framework calls it, among those that it uses: "GPU:0"
    number: int  # as the driver counts those that this process may use: k of "GPU:k" in a reading
    in_use_bytes: int = 0  # what tensors take of it
    limit_bytes: int | None = None  # the most that its allocator may take, `None` where nobody has set a limit
    grows: bool = True  # whether its allocator takes memory as it needs it, instead of all of it at its start


@dataclass(frozen=True, slots=True)
class FrameworkGpu:
    """A GPU that the framework can use: k of "GPU:k", its maker's name for it, and what it can do, as "8.6"."""

    index: int
    name: str | None = None
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class Framework:
    """Keras and its backend: what it was built for, and what it can use."""

    error: str | None = None  # why they cannot be imported, `None` if they can
    keras_version: str | None = None
    backend: str | None = None
    backend_version: str | None = None  # `None` for a backend without an engine
    cuda_build: bool = False
    cuda_version: str | None = None
    cudnn_version: str | None = None
    compute_capabilities: tuple[str, ...] = ()
    onednn: bool | None = None
    gpus: tuple[FrameworkGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class AllocatorChoice:
    """Which allocator the framework takes memory from."""

    name: str
    because: str = ""  # the environment variables that choose it, as "NAME=value"; empty for the default
    gives_back: bool = False  # whether memory can be given back to others while the process lives
    takes_all: bool = False  # whether it takes nearly all of the device at its first use


@dataclass(frozen=True, slots=True)
class SharingPlan:
    """The environment that makes a framework's allocators release memory."""

    missing: Mapping[str, str]  # the variables to set
    in_force: Mapping[str, str]  # those and the ones that are set already
    contradicted: tuple[str, ...]  # notes on what somebody has set otherwise, which is theirs to decide
    host: bool  # whether memory on the CPU can then be released


@dataclass(frozen=True, slots=True)
class Hints:
    """What a backend advises, as sentences for messages."""

    install: str  # how to install it in a version that works
    statistics: str  # how its allocator comes to count what it holds
    gpu_build: str  # how to get a build that can use a GPU
    gpu_libraries: str  # what to do where a GPU is there and the libraries are not


class Backend(Protocol):
    """One framework that Keras runs on: all that the rest of the package wants of it.

    An implementation is a folder beside this module, named as Keras names the backend, whose package has a `BACKEND`.
    Making one imports no framework: methods do, when they are called.
    """

    name: str  # Keras' name: `"tensorflow"`
    title: str  # its name for people: "TensorFlow"
    packages: tuple[str, ...]  # the distributions, named like the modules, whose versions a step's memory depends on
    environment: tuple[str, ...]  # how the environment variables begin that change a step's memory, speed or device
    pool_growth: float  # resident bytes of its pool on the host, in the long run, over those in use at their peak
    hints: Hints

    def require_trainable(self, model: Any, group: int = 1) -> None:
        """Refuses a model that no engine can train, without building anything.

        That is one that isn't compiled, has several replicas, or an optimizer that accumulates; or
        whose batch statistics cannot be taken over groups, where they are to be.
        """

    def require_runnable(self, model: Any, *, evaluates: bool) -> None:
        """Refuses a model that cannot be evaluated, or cannot predict, without building anything.

        That is no Keras model, one with several replicas, or one to be evaluated that is not compiled.
        """

    def divides_by_counts(self, model: Any, *, weighted: bool) -> bool:
        """Whether a loss of a compiled model may divide by what a mask leaves, or by sample weights if it has any.

        Nothing is built to find out.
        """

    def engine(self, model: Any, example: Batch, *, rescaled: bool = False, group: int = 1) -> Engine:
        """The engine that trains a compiled model, which is built from `example` if need be.

        With `rescaled` its learning rate is to follow the effective batch, through `Engine.rescale`. Layers with batch
        statistics take them over groups of so many samples in the order in which they come; 1 is for the micro-batch.
        """

    def forward_engine(self, model: Any, example: Batch, *, evaluates: bool) -> ForwardEngine:
        """The engine that evaluates a model, compiled then, or predicts with it; built from `example` if need be."""

    def preserved(self, model: Any) -> AbstractContextManager[None]:
        """Puts a model back, bit for bit, when the context ends: weights, state, metrics, optimizer and random states.

        Model, metrics and optimizer must be built: variables that are created inside the context stay as they end up.
        """

    def preserved_random_states(self) -> AbstractContextManager[None]:
        """Puts Python's, numpy's and the framework's global random states back when the context ends."""

    def state_variables(self, model: Any, *, shared_seed: bool | None = None) -> list[StateVariable]:
        """Everything that a training changes of a model whose engine has been made, in the same order in any process.

        With `shared_seed` the seed that all of Keras shares (`SHARED_SEED`) is the last of them, made if need be; by
        default it is if something has drawn from it.
        """

    def accelerator(self) -> Accelerator | None:
        """The GPU that steps run on, `None` on a CPU."""

    def accelerator_names(self) -> tuple[str, ...]:
        """All GPUs that the framework can use; asking does not start them."""

    def allocator_figures(self, driver: Any = None) -> Allocator | None:
        """What the framework's allocator tells of the GPU that training runs on; `driver` answers like libcuda.

        It is `None` on a CPU, where nothing is told, and before the framework has started: asking would start it.
        """

    def idle_pool_bytes(self) -> int:
        """Bytes that the framework's CPU allocator keeps for itself and will use again, as far as it tells."""

    def settings(self) -> dict[str, Any]:
        """What of the framework's global settings changes a step's memory or speed, as JSON-ready values."""

    def apply_settings(self, values: dict[str, Any]) -> None:
        """Sets what `settings` read in another process, and has a GPU's memory grow; call it before the first step."""

    def describe(self, keras_version: str) -> Framework:
        """Versions, how it was built, and the GPUs that it can use; starts nothing."""

    def has_started(self) -> bool:
        """Whether the framework has chosen its allocators, which cannot change any more."""

    def plan_sharing(self, environ: Mapping[str, str], pools: tuple[bool, ...]) -> SharingPlan:
        """What to set in an environment so that memory can be released; `pools` says which GPUs have memory pools."""

    def allocator_choices(
        self, environ: Mapping[str, str], *, onednn: bool, returns_freed: bool
    ) -> tuple[AllocatorChoice, AllocatorChoice]:
        """The allocators that the framework takes on a CPU and on a GPU when it starts in an environment.

        Whether it uses oneDNN, and whether the C library can return freed memory, is told.
        """

    def why_host_memory_stays(self) -> str | None:
        """Why the allocator on the CPU releases nothing, `None` if it does, and before the framework has started."""

    def release_device_memory(self, driver: Any = None) -> tuple[int | None, str | None]:
        """Releases what its pools on GPUs hold and do not use; `driver` answers like libcuda.

        Returns the bytes that went back, and why some may stay; both `None` without a GPU.
        """
