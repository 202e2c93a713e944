"""What the growth benchmark lets grow: a folder's index, a model, and a probe that tells where its time goes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autobatch.probing.answer import Answer
from autobatch.probing.find import Seams, find
from autobatch.probing.search import next_size
from autobatch.probing.site import Site
from autobatch.probing.task import prepare
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial

PIXELS, CLASSES, INPUTS = 8, 2, 64


def folder_of_two(folder: Path) -> Path:
    """A folder of two classes with a picture each."""
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

    from autobatch.data.quiet import without_printing

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
    """A net of so many narrow dense layers, compiled."""
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
    """A net for the pictures of `flow_of`, compiled."""
    import keras

    layers = [keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation="softmax")]
    model = keras.Sequential([keras.Input((PIXELS, PIXELS, 3)), *layers])
    model.compile("adam", "categorical_crossentropy")
    return model


def numbers(samples: int) -> tuple[Any, Any]:
    """Random samples for the dense nets."""
    draw = np.random.default_rng(0)
    return draw.random((samples, INPUTS), dtype=np.float32), draw.integers(0, CLASSES, samples)


@dataclass(slots=True)
class Probed:
    """Where the time of a probe goes, in seconds.

    Attributes:
        total_s: All of it.
        start_s: Starting worker processes, which import TensorFlow and rebuild the model, and ending them.
        trials_s: Trials, with what they compile.
        steps_s: The model's own steps in them.
        trials: How many there were.
        largest: The answer.
    """

    total_s: float = 0.0
    start_s: float = 0.0
    trials_s: float = 0.0
    steps_s: float = 0.0
    trials: int = 0
    largest: int = 0

    @property
    def beside_steps_s(self) -> float:
        """Everything but the model's own steps."""
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
    task = prepare(
        model,
        data,
        None,
        {},
        beside=(),
        batch_size="largest",
        class_weight=None,
        seed=0,
        reserve=None,
        max_batch_size=most,
        trial_timeout_s=300.0,
    )
    result: ProbeResult = find(model, task.samples, task.question, seams=Seams(site=_clocked(found)))
    found.total_s = time.perf_counter() - began
    found.trials, found.largest = len(result.trials), result.largest
    return found


def _clocked(found: Probed) -> Callable[..., Site]:
    class Clocked(Site):
        """A place for trials that notes what they take."""

        def __init__(self, *args: Any, **options: Any) -> None:
            began = time.perf_counter()
            super().__init__(*args, **options)
            found.start_s += time.perf_counter() - began

        def trial(self, *args: Any, **options: Any) -> Answer:
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
