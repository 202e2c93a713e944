"""How others look for a batch size: their search, driving a trial of ours.

A trial is a function that takes a size and raises the error that each of them knows where it runs out of memory. The
packages themselves drive it where they can: accelerate's decorator, and Lightning's tuner with a real trainer. Where a
tool only works on models of its own, its published algorithm is written anew here, and the name says so.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from support.hard_budget import HardBudget, Tried

from autobatch.data.batch import Batch
from autobatch.memory.budget import DEFAULT_RESERVE, Reserve
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials.ipc import Reply
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.results.probe import Mode
from autobatch.results.trial import Outcome
from autobatch.testing import memory_reading

# Builds of PyTorch for GPUs bring it along, and it crashes where TensorFlow has been loaded before it.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

Attempt = Callable[[int], Any]
"""Runs a size; raises `OutOfMemoryError` where it does not fit."""

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate more than there is."


class OutOfMemoryError(RuntimeError):
    """What PyTorch raises, in its words: the others look for them."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_MEMORY)


class DiedError(RuntimeError):
    """The process that a trial ran in is gone: a search that lives in it is over."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a search may know."""

    attempt: Attempt  # runs a size
    peak_bytes: Callable[[int], int]  # what a size that ran has needed at most
    budget_bytes: int  # how much there is
    samples: int  # how many samples there are


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to a batch size."""

    name: str  # for the tables
    search: Callable[[Situation], int]  # returns its answer; raises what the tool raises where it has none
    fresh_process: bool = False  # whether each of its trials is a process of its own
    package: str | None = None  # what must be installed, `None` for nothing


def accelerate(situation: Situation) -> int:
    """`find_executable_batch_size`, as it comes: from 128 down, a tenth less each time."""
    from accelerate.utils import find_executable_batch_size

    def train(batch_size: int) -> int:
        situation.attempt(batch_size)
        return batch_size

    answer: int = find_executable_batch_size(train)()
    return answer


def lightning(mode: str) -> Callable[[Situation], int]:
    """`Tuner.scale_batch_size` with a real trainer, whose training step asks for a trial."""

    def search(situation: Situation) -> int:
        import torch
        from lightning.pytorch import LightningModule, Trainer
        from lightning.pytorch.tuner import Tuner

        class Foreign(LightningModule):
            """A model whose first step of each trial is a trial of ours."""

            batch_size = 2

            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def train_dataloader(self) -> Any:
                data = torch.utils.data.TensorDataset(torch.zeros(situation.samples, 1))
                return torch.utils.data.DataLoader(data, batch_size=self.batch_size)

            def training_step(self, _: Any, number: int) -> Any:
                if number == 0:
                    situation.attempt(self.batch_size)
                return self.weight.sum()

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        with quiet(), tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                accelerator="cpu",
                default_root_dir=folder,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                max_epochs=1,
            )
            answer = Tuner(trainer).scale_batch_size(Foreign(), mode=mode)
        return int(answer or 0)

    return search


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def ultralytics(situation: Situation, fraction: float = 0.60, default: int = 16) -> int:
    """As in ultralytics 8.4: a line through the peaks of 1 to 16 samples, solved for 60 % of the memory, and not run.

    Never more than 1,024, nor than the last size before one that failed. From 16 GiB on it looks at 32 and 64, too.
    """
    import numpy as np

    points: list[tuple[int, int]] = []
    for size in (1, 2, 4, 8, 16):
        try:
            situation.attempt(size)
        except OutOfMemoryError:
            break
        points.append((size, situation.peak_bytes(size)))
    rising = [point for i, point in enumerate(points) if i == 0 or point[1] > points[i - 1][1]]
    if len(rising) < 2:
        return default
    sizes, peaks = zip(*rising, strict=True)
    slope, fixed = np.polyfit(sizes, peaks, deg=1)
    answer = int((situation.budget_bytes * fraction - fixed) / slope)
    most = 1024 if len(points) == 5 else points[-1][0]
    return min(max(answer, 1), most, situation.samples)


def opennmt(situation: Situation, scale: float = 0.7) -> int:
    """As in OpenNMT-tf 2.32 for batches of examples: bisection of 1 to 512 to a gap of 16; 0.7 of what it finds."""
    low, high, ran = 1, 512, None
    while high - low > 16:
        size = (low + high) // 2
        try:
            situation.attempt(size)
        except OutOfMemoryError:
            high = size - 1
        else:
            low = ran = size
    if ran is None:
        raise RuntimeError("no size of the range ran")
    return max(1, int(ran * scale))


def by_hand(situation: Situation) -> int:
    """Doubling from 1 until it runs out, then bisection to the last sample."""
    low, high = 0, 1
    while high <= situation.samples and _runs(situation.attempt, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _runs(situation.attempt, middle) else (low, middle)
    return low


def _runs(attempt: Attempt, size: int) -> bool:
    try:
        attempt(size)
    except OutOfMemoryError:
        return False
    return True


PEERS = (
    Peer("Lightning, power", lightning("power"), package="lightning"),
    Peer("Lightning, binsearch", lightning("binsearch"), package="lightning"),
    Peer("accelerate", accelerate, package="accelerate"),
    Peer("ultralytics' algorithm", ultralytics),
    Peer("OpenNMT-tf's algorithm", opennmt, fresh_process=True),
    Peer("doubling, bisection", by_hand),
)


RESERVES = {"autobatch": Reserve(DEFAULT_RESERVE.fraction, 0), "autobatch, no reserve": Reserve(0.0, 0)}


class ForeignExecutor:
    """Where trials run, as the finder asks for it."""

    where = "worker"

    def __init__(self, attempt: Callable[[int], Tried], base_bytes: int) -> None:
        self._attempt, self._base_bytes = attempt, base_bytes
        self.notes: list[str] = []
        self.held: Mapping[str, int] = {}
        self.starts = 1
        self._largest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def trial(self, size: int, *_: Any, fresh: bool = False, **__: Any) -> Reply:
        """Runs a size; where the product would start its worker anew before that, it is counted."""
        self.starts += fresh and size < self._largest
        self._largest = size if fresh else max(size, self._largest)
        try:
            tried = self._attempt(size)
        except OutOfMemoryError as error:
            return Reply(Outcome.OUT_OF_MEMORY, detail=str(error))
        except DiedError as error:
            self.starts += 1
            return Reply(Outcome.CRASHED, detail=str(error))
        peak_bytes, profiles = tried.peak_bytes - self._base_bytes, {"host": tried.profile} if tried.profile else {}
        told = {"seconds": tried.step_s, "peaks": {"host": peak_bytes}, "profiles": profiles, "held": {}}
        return Reply(Outcome.RAN, told, wall_s=tried.seconds)

    def renew(self) -> None:
        self.starts += 1


def own_search(situation: Situation, budget: HardBudget, reserve: Reserve, mode: Mode = "largest") -> tuple[int, int]:
    """The size that a mode asks for, with so much left free, and how many workers would have been started for it."""
    left_bytes = budget.limit_bytes - budget.base_bytes
    executors: list[ForeignExecutor] = []

    def reading() -> Any:
        return memory_reading(
            host_total_bytes=budget.limit_bytes, host_available_bytes=left_bytes, rss_bytes=budget.base_bytes
        )

    def executor(*_: Any, **__: Any) -> Any:
        executors.append(ForeignExecutor(situation.attempt, budget.base_bytes))
        return executors[-1]

    request = ProbeRequest(mode, situation.samples, reserve=reserve)
    nothing = Batch(np.zeros((1, 1)))
    # The device belongs to the process of the trials; asking for it here would take memory from it.
    seams = TunerSeams(read=reading, executor=executor, gpu=lambda: None)
    found = find_batch_size(None, nothing, request, seams=seams)
    return found.batch_size, sum(one.starts for one in executors)
