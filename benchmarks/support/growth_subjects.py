"""What the growth benchmark lets grow: a folder's index, a model, and a probe that tells where its time goes."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from harness import interleaved, say, seconds_of
from support.models import Arrays, controller

from autobatch.probing.request import UserRequest
from autobatch.probing.search import next_size
from autobatch.probing.trials.executor import Executor
from autobatch.probing.trials.ipc import Reply
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial

Point = tuple[float, float]
Promise = Literal["flat", "logarithmic", "linear"]

MOST: dict[Promise, float] = {"flat": 0.1, "logarithmic": 0.4, "linear": 1.3}
"""Slopes that still count as such.

A factor of two over a thousand is 0.1. One step more for every doubling of a batch from 1 to 4,096 is 0.31. Sorting
adds a tenth to what is linear, and so does, once, what no longer fits in the processor's caches.
"""
MOST_AT_THE_END = 1.7
"""The last factor of ten may be the one that leaves the caches; a square would be 2 there."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One cost over one quantity."""

    cost: str  # what it is
    over: str  # what it is plotted against
    promise: Promise  # how it may grow
    samples: dict[int, list[float]]  # from the quantity to the seconds of each turn
    ours: bool = True  # whether it is autobatch's; otherwise it is there to compare

    @property
    def points(self) -> list[Point]:
        """Median seconds of its turns, in order of the quantity."""
        return [(float(size), statistics.median(self.samples[size])) for size in sorted(self.samples)]

    @property
    def slope(self) -> float:
        return slope(self.points)

    @property
    def at_the_end(self) -> float:
        return slope(tail(self.points))

    @property
    def kept(self) -> bool:
        """Whether it grows as it may: what is small beside a fixed part shows at the end."""
        return self.slope <= MOST[self.promise] and self.at_the_end <= MOST_AT_THE_END


def slope(points: Sequence[Point]) -> float:
    """The exponent that fits best: `y ~ x ** slope`, by least squares of the logarithms.

    Raises:
        ValueError: Fewer than two different x, or a number that is not above 0.

    Example:
        >>> round(slope([(10, 3.0), (100, 300.0), (1000, 30000.0)]), 3)
        2.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    middle_x, middle_y = (statistics.fmean(values) for values in zip(*logs, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in logs)
    if not spread:
        raise ValueError(f"A slope needs two different places. Received: points={points!r}. Expected several x.")
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / spread


def tail(points: Sequence[Point], factor: float = 10) -> list[Point]:
    """The last point, and those before it down to the first that lies a factor below; all if none does.

    Example:
        >>> tail([(1, 1.0), (10, 1.0), (100, 1.0), (200, 1.0), (1000, 2.0)])
        [(100, 1.0), (200, 1.0), (1000, 2.0)]
    """
    last = points[-1][0]
    start = max((place for place, (x, _) in enumerate(points) if x * factor <= last), default=0)
    return list(points[start:])


FILES, BATCH, PARAMETERS, LAYERS = "files", "samples in a batch", "parameters", "layers"
_ENOUGH_S, _CALLS = 0.003, 500

Action = Callable[[], Any]
Cost = tuple[Promise, Callable[[int], Action]]
"""How it may grow, and from a size to what is timed."""


def often(action: Action) -> Callable[[], float]:
    calls = max(1, min(_CALLS, int(_ENOUGH_S / max(1e-9, seconds_of(action)))))
    return lambda: seconds_of(lambda: [action() for _ in range(calls)]) / calls


def grown(costs: dict[str, Cost], over: str, sizes: Iterable[int], turns: int) -> list[Growth]:
    """The growth of several costs over the same sizes; what each needs is made before any is timed."""
    sizes = tuple(sizes)
    sides = {f"{name} {size}": often(make(size)) for name, (_, make) in costs.items() for size in sizes}
    interleaved(sides, 1)
    samples = interleaved(sides, turns)

    def growth(name: str, promise: Promise) -> Growth:
        seconds = {size: samples[f"{name} {size}"] for size in sizes}
        return Growth(name, over, promise, seconds, ours=not name.startswith("Keras"))

    return [growth(name, promise) for name, (promise, _) in costs.items()]


def reading(effective: int = 64) -> Action:
    """A reading of the memory, and what the controller makes of it."""
    steered = controller(effective, effective)

    def look() -> None:
        steered.pause()  # so that it is time for a reading
        steered.look()

    return look


def over_files(folder: Path, sizes: Iterable[int], turns: int) -> list[Growth]:
    import autobatch
    from autobatch.data.epoch import near_equal, permutation, rungs
    from autobatch.data.images.flow_source import FlowSource
    from autobatch.data.prefetch.source_loader import SourceLoader

    say("files")
    flows = {size: flow_of(folder, size) for size in sizes}
    epoch = count()  # the same order again and again would be learnt by the processor
    sources = {size: FlowSource(flow) for size, flow in flows.items()}

    def first_batch(size: int) -> Action:
        def begin() -> None:
            with SourceLoader(sources[size], start_epoch=next(epoch), passes=1) as loader:
                loader.take(32)

        return begin

    return grown(
        {
            "a reading": ("flat", lambda _: reading()),
            "cutting the next update anew": ("flat", lambda _: lambda: (rungs(96, 48), near_equal(96, 32))),
            "rebuild at another size": ("flat", lambda size: lambda: autobatch.rebuild(flows[size], batch_size=48)),
            "opening a flow that is given": ("linear", lambda size: lambda: FlowSource(flows[size])),
            "an epoch's order": ("linear", lambda size: lambda: permutation(0, next(epoch), size)),
            "an epoch's start, with its first batch": ("linear", first_batch),
            "Keras: an epoch's order": ("linear", lambda size: lambda: np.random.permutation(size)),
        },
        FILES,
        flows,
        turns,
    )


def over_batch(sizes: Iterable[int], turns: int) -> list[Growth]:
    from autobatch.data.batch import Batch
    from autobatch.data.epoch import near_equal, rungs
    from autobatch.data.prefetch.source_loader import SourceLoader

    say("batch size")
    sizes = tuple(sizes)
    data = Arrays(Batch(*numbers(2 * max(sizes))))

    def first_batch(size: int) -> Action:
        def begin() -> None:
            with SourceLoader(data, passes=1) as loader:
                loader.take(size)

        return begin

    return grown(
        {
            "a reading": ("flat", reading),
            "cutting the next update in 8": ("flat", lambda size: lambda: near_equal(size, max(1, size // 8))),
            "cutting the next update in parts of 1": ("linear", lambda size: lambda: near_equal(size, 1)),
            "the sizes to choose from": ("logarithmic", lambda size: lambda: rungs(size, size)),
            "choosing all sizes of a probe, running none": ("logarithmic", lambda size: lambda: searched(size)),
            "an epoch's start, with its first batch": ("linear", first_batch),
        },
        BATCH,
        sizes,
        turns,
    )


def over_model(over: str, make: Callable[[int], Any], sizes: Iterable[int], turns: int) -> list[Growth]:
    """What the size of a model costs before its first update, and at a reading."""
    from autobatch.backend import engine_for
    from autobatch.data.batch import Batch
    from autobatch.probing.trials.steps import warm_up_untouched

    x, y = numbers(4)
    few = Batch(x, y)

    def ours(model: Any) -> None:
        engine = engine_for(model, few)
        warm_up_untouched(model, engine, few, accumulated=True, evaluated=False)

    def keras_own(model: Any) -> None:
        model.train_on_batch(x, y)

    readings: dict[int, list[float]] = {}
    starts: dict[str, dict[int, list[float]]] = {"start of a training": {}, "Keras: its first update": {}}
    for size in sizes:
        say(f"{size:,} {over}")
        for name, start in zip(starts, (ours, keras_own), strict=True):
            starts[name][size] = [_seconds_with(make(size), start) for _ in range(turns)]
        readings[size] = _readings_beside(make(size), 5 * turns)
    return [Growth("a reading", over, "flat", readings)] + [
        Growth(name, over, "linear", samples, ours=not name.startswith("Keras")) for name, samples in starts.items()
    ]


def _seconds_with(model: Any, start: Callable[[Any], None]) -> float:
    gc.collect()  # what another model has left is not its business
    return seconds_of(lambda: start(model))


def _readings_beside(model: Any, turns: int) -> list[float]:
    read = often(reading())
    seconds = [read() for _ in range(turns)]
    del model
    return seconds


PIXELS, CLASSES, INPUTS = 8, 2, 64


def folder_of_two(folder: Path) -> Path:
    from PIL import Image

    for name in ("0", "1"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((PIXELS, PIXELS, 3), np.uint8)).save(folder / name / "picture.png")
    return folder


def flow_of(folder: Path, files: int) -> Any:
    """Keras' flow of a folder as if it held so many files: its index is as long, and names the same two over and over.

    A million real files would measure the file system; what is of interest is what happens once they are known.
    """
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from autobatch.data.images.flow import without_printing

    with without_printing():
        flow = ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder, target_size=(PIXELS, PIXELS))
    flow.n = flow.samples = files
    flow.filenames = [flow.filenames[number % CLASSES] for number in range(files)]
    flow._filepaths = [flow._filepaths[number % CLASSES] for number in range(files)]
    flow.classes = np.resize(flow.classes, files)
    return flow


def wide_net(parameters: int) -> Any:
    """A net of three dense layers with about so many parameters, compiled."""
    return dense_net(layers=3, width=max(4, round(math.sqrt(parameters))))


def deep_net(layers: int) -> Any:
    return dense_net(layers=layers, width=32)


def dense_net(layers: int, width: int) -> Any:
    """Dense layers of a width, of which the last tells classes apart, with Adam."""
    import keras

    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(layers - 1)]
    last = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Sequential([keras.Input((INPUTS,)), *hidden, last])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def picture_net() -> Any:
    import keras

    layers = [keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation="softmax")]
    model = keras.Sequential([keras.Input((PIXELS, PIXELS, 3)), *layers])
    model.compile("adam", "categorical_crossentropy")
    return model


def numbers(samples: int) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    return draw.random((samples, INPUTS), dtype=np.float32), draw.integers(0, CLASSES, samples)


@dataclass(slots=True)
class Probed:
    """Where the time of a probe goes, in seconds."""

    total_s: float = 0.0  # all of it
    start_s: float = 0.0  # starting worker processes, which import TensorFlow and rebuild the model, and ending them
    trials_s: float = 0.0  # trials, with what they compile
    steps_s: float = 0.0  # the model's own steps in them
    trials: int = 0  # how many there were
    largest: int = 0  # the answer

    @property
    def beside_steps_s(self) -> float:
        return self.total_s - self.steps_s

    @property
    def compiling_s(self) -> float:
        """What trials take beside steps: compiling them, and an evaluation."""
        return self.trials_s - self.steps_s

    @property
    def here_s(self) -> float:
        """What is done in the calling process: packing the model, reading the memory, choosing sizes."""
        return self.total_s - self.start_s - self.trials_s


def probed(model: Any, data: Any, most: int) -> Probed:
    """Looks for the largest size up to `most`, as `autobatch.probe` does without a cache."""
    found = Probed()
    began = time.perf_counter()
    task = UserRequest(model=model, data=data, batch_size="largest", seed=0, max_batch_size=most).open()
    result: ProbeResult = find_batch_size(model, task.samples, task.request, seams=TunerSeams(executor=_clocked(found)))
    found.total_s = time.perf_counter() - began
    found.trials, found.largest = len(result.trials), result.max_batch_size
    return found


def _clocked(found: Probed) -> Callable[..., Executor]:
    class Clocked(Executor):
        """A place for trials that notes what they take."""

        def __init__(self, *args: Any, **options: Any) -> None:
            began = time.perf_counter()
            super().__init__(*args, **options)
            found.start_s += time.perf_counter() - began

        def trial(self, *args: Any, **options: Any) -> Reply:
            began, started_s = time.perf_counter(), found.start_s
            answer = super().trial(*args, **options)
            found.trials_s += time.perf_counter() - began - (found.start_s - started_s)
            if answer.outcome is Outcome.RAN:
                found.steps_s += sum(answer.payload["seconds"])
            return answer

        def renew(self) -> None:
            began = time.perf_counter()
            super().renew()
            found.start_s += time.perf_counter() - began

        def close(self) -> None:
            began = time.perf_counter()
            super().close()
            found.start_s += time.perf_counter() - began

    return Clocked


def searched(limit: int, cap: int = 2**16) -> list[Trial]:
    """The trials of a search in a memory in which exactly `limit` samples fit; nothing is run."""
    fixed, each = 2**28, 2**20
    budgets, trials = {"host": fixed + each * limit}, list[Trial]()
    while (size := next_size(trials, budgets, cap)) is not None:
        outcome = Outcome.RAN if size <= limit else Outcome.OVER_BUDGET
        trials.append(Trial(size, outcome, {"host": fixed + each * size}))
    return trials
