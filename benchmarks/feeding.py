"""How fast pictures are read and transformed: pictures per second of autobatch's loader over plain Keras.

All sides read the same JPEG files in batches of 32, with the same transformations, on two threads (or processes) where
they have any: a pass over a folder, from asking for its first batch to having its last.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from harness import Chart, Findings, Goal, Ratio, Table, benchmark, interleaved, ratio, say
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.utils import img_to_array, load_img
from PIL import Image
from scipy import ndimage

from autobatch.data.images.from_folder import DirectorySource
from autobatch.data.images.transform import PixelMover, require_image_backend
from autobatch.data.options import ImageBackend
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.errors import MissingExtraError

BATCH = 32
WORKERS = 2
GOAL = 3.0
DEADLINE_S = 60
PLAIN, THREADS, PROCESSES = "Keras, plain", "Keras, workers=2", "Keras, workers=2, processes"
SCIPY, OPENCV = "autobatch, scipy", "autobatch, opencv"
AFFINE: dict[str, Any] = {
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
}
BESIDE: dict[str, Any] = {"rescale": 1 / 255, "horizontal_flip": True}


@dataclass(frozen=True, slots=True)
class Case:
    """Pictures of one size, transformed in one way."""

    side: int  # height and width of what is handed out, in pixels
    pictures: int  # how many are read in a turn
    affine: bool  # whether they are rotated, shifted, sheared and zoomed, beside being flipped

    @property
    def name(self) -> str:
        return f"{self.side} pixels, {'affine' if self.affine else 'flip only'}"

    def generator(self) -> ImageDataGenerator:
        return ImageDataGenerator(**BESIDE, **(AFFINE if self.affine else {}))


FULL = ((100, 512), (150, 320), (224, 224), (350, 128), (500, 96))
QUICK = ((150, 192), (350, 96))


def cases(*, quick: bool) -> list[Case]:
    sizes = QUICK if quick else FULL
    return [Case(side, pictures, affine) for affine in (True, False) for side, pictures in sizes]


def natural(numbers: np.random.Generator, height: int, width: int) -> Any:
    """A picture with as much detail at each scale as a photograph has: noise of several grains, the coarse stronger."""
    picture = np.zeros((height, width, 3))
    for grain in (1, 4, 16, 64):
        noise = numbers.normal(size=(height // grain + 2, width // grain + 2, 3))
        picture += grain**0.7 * ndimage.zoom(noise, (grain, grain, 1), order=1)[:height, :width]
    return np.clip(128 + 6 * picture, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, side: int, count: int) -> None:
    numbers = np.random.default_rng(side)
    for number in range(count):
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        height, width = numbers.integers(round(0.8 * side), round(1.2 * side) + 1, 2)
        Image.fromarray(natural(numbers, height, width)).save(place / f"{number}.jpg", quality=90)


def a_pass(batches: Iterator[Any], expected: int) -> float:
    """Pictures per second of going through all batches."""
    began = time.perf_counter()
    seen = sum(len(batch[0]) for batch in batches)
    if seen != expected:
        raise RuntimeError(f"{seen} pictures were handed out, of {expected}.")
    return seen / (time.perf_counter() - began)


def keras_side(case: Case, folder: Path, **how: Any) -> Callable[[], float]:
    """What Keras' own `fit` goes through: batch by batch, or through its queue where there are workers."""
    size = (case.side, case.side)
    flow = case.generator().flow_from_directory(str(folder), target_size=size, batch_size=BATCH, seed=1)
    for name, value in how.items():
        setattr(flow, name, value)

    def run() -> float:
        adapter = PyDatasetAdapter(flow, shuffle=False)
        return a_pass(within_epoch(adapter), flow.n)

    return run


def within_epoch(adapter: PyDatasetAdapter) -> Iterator[Any]:
    """The batches of an epoch, with what Keras does at its beginning and its end."""
    adapter.on_epoch_begin()
    try:
        yield from adapter.get_numpy_iterator()
    finally:
        adapter.on_epoch_end()


def our_side(case: Case, folder: Path, backend: ImageBackend) -> Callable[[], float]:
    size = (case.side, case.side)
    source = DirectorySource(case.generator(), folder, seed=1, image_backend=backend, target_size=size)

    def batches() -> Iterator[Any]:
        with SourceLoader(source, passes=1, workers=WORKERS) as loader:
            while taken := loader.window(BATCH):
                batch = loader.take(taken)
                yield batch.x, batch.y

    return lambda: a_pass(batches(), len(source))


def sides_of(case: Case, folder: Path, *, opencv: bool) -> dict[str, Callable[[], float]]:
    sides = {
        PLAIN: keras_side(case, folder),
        THREADS: keras_side(case, folder, workers=WORKERS),
        PROCESSES: patient(keras_side(case, folder, workers=WORKERS, use_multiprocessing=True)),
        SCIPY: our_side(case, folder, "scipy"),
    }
    return {**sides, OPENCV: our_side(case, folder, "opencv")} if opencv else sides


def patient(run: Callable[[], float]) -> Callable[[], float]:
    """The same, but a side that hangs (forks beside threads may) measures nothing, and is not tried again."""
    hung = False

    def bounded() -> float:
        nonlocal hung
        if hung:
            return float("nan")
        try:
            with deadline(DEADLINE_S):
                return run()
        except TimeoutError:
            hung = True
            return float("nan")

    return bounded


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the main thread when they have passed."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def stages(case: Case, folder: Path, *, opencv: bool) -> dict[str, float]:
    """Where the time of a picture goes, on one thread, in milliseconds: the median over some of them."""
    generator = case.generator()
    files = sorted(folder.rglob("*.jpg"))[:24]
    size = (case.side, case.side)
    pictures = [img_to_array(load_img(file, target_size=size)) for file in files]
    drawn = [generator.get_random_transform(picture.shape) for picture in pictures]
    steps: dict[str, Callable[[int], Any]] = {
        "decode": lambda i: img_to_array(load_img(files[i], target_size=size)),
        "Keras' transform": lambda i: generator.apply_transform(pictures[i], drawn[i]),
        SCIPY: _moving(generator, "scipy", pictures, drawn),
    }
    if opencv:
        steps[OPENCV] = _moving(generator, "opencv", pictures, drawn)
    return {
        name: 1e3 * float(np.median([_seconds(step, i) for i in range(len(files))])) for name, step in steps.items()
    }


def _moving(generator: Any, backend: ImageBackend, pictures: Any, drawn: Any) -> Callable[[int], Any]:
    mover = PixelMover(generator, backend)
    mover(pictures[0], drawn[0])  # looks at its scipy first
    return lambda i: generator.apply_transform(*mover(pictures[i], drawn[i]))


def _seconds(step: Callable[[int], Any], number: int) -> float:
    began = time.perf_counter()
    step(number)
    return time.perf_counter() - began


def measure(args: argparse.Namespace) -> Findings:
    random.seed(0)
    opencv = _has_opencv()
    turns = 3 if args.quick else 5
    speeds: dict[str, dict[str, list[float]]] = {}
    times: dict[str, dict[str, float]] = {}
    measured = cases(quick=args.quick)
    with tempfile.TemporaryDirectory() as place:
        for case in measured:
            folder = Path(place) / str(case.side)
            if not folder.exists():
                say(f"writing {case.pictures} pictures of about {case.side} pixels")
                write_pictures(folder, case.side, case.pictures)
            say(case.name)
            sides = sides_of(case, folder, opencv=opencv)
            for run in sides.values():
                run()
            speeds[case.name] = interleaved(sides, turns)
            if case.affine:
                times[case.name] = stages(case, folder, opencv=opencv)
    return findings(measured, speeds, times)


def findings(
    measured: list[Case], speeds: Mapping[str, Mapping[str, list[float]]], times: Mapping[str, Mapping[str, float]]
) -> Findings:
    sides = [side for side in next(iter(speeds.values())) if side != PLAIN]
    over = {
        case.name: {side: ratio(speeds[case.name][side], speeds[case.name][PLAIN]) for side in sides}
        for case in measured
    }
    rows = [
        [case.name, _round(speeds[case.name][PLAIN]), *(_cell(over[case.name][side]) for side in sides)]
        for case in measured
    ]
    rates = [[case.name, *(_round(speeds[case.name][side]) for side in (PLAIN, *sides))] for case in measured]
    stage_names = list(next(iter(times.values())))
    return Findings(
        tables=[
            Table("Times as many pictures as plain Keras", ("pictures", f"{PLAIN}, pictures/s", *sides), rows),
            Table("Pictures per second", ("pictures", PLAIN, *sides), rates),
            Table(
                "Milliseconds for a picture, on one thread: decoding, and the transformation by each",
                ("pictures", *stage_names),
                [[name, *(round(of[stage], 2) for stage in stage_names)] for name, of in times.items()],
            ),
        ],
        goals=[_goal(over, [case for case in measured if case.affine])],
        notes=[
            f"Plain is one thread, as Keras' fit feeds itself by default; ours are {WORKERS}.",
            "A pass includes the start of the workers, which every epoch of Keras pays for, too.",
            "With scipy they are Keras' own pictures, bit for bit; with OpenCV within what docs/feeding.md states.",
        ],
        samples={"pictures_per_s": speeds, "stage_ms": times},
        charts=[_chart(measured, over, sides)],
    )


def _goal(over: Mapping[str, Mapping[str, Ratio]], affine: list[Case]) -> Goal:
    best = OPENCV if OPENCV in over[affine[0].name] else SCIPY
    least = min((over[case.name][best] for case in affine), key=lambda one: one.middle)
    most = max((over[case.name][best] for case in affine), key=lambda one: one.middle)
    text = f"at least {GOAL:g} times plain ImageDataGenerator with affine augmentation, on two cores, at every size"
    return Goal(text, least.middle >= GOAL, f"{best}: from {least} to {most} times")


def _chart(measured: list[Case], over: Mapping[str, Mapping[str, Ratio]], sides: list[str]) -> Chart:
    affine = [case for case in measured if case.affine]
    series = {side: [(float(case.side), over[case.name][side].middle) for case in affine] for side in sides}
    return Chart(
        "Pictures per second over plain Keras, with affine augmentation", "side (pixels)", "times plain", series
    )


def _round(values: list[float]) -> int | None:
    middle = float(np.median(values))
    return None if np.isnan(middle) else round(middle)


def _cell(value: Ratio) -> str | None:
    return None if np.isnan(value.middle) else str(value)


def _has_opencv() -> bool:
    try:
        require_image_backend("opencv")
    except MissingExtraError as error:
        say(f"without OpenCV: {error}")
        return False
    return True


if __name__ == "__main__":
    benchmark(
        "feeding", "Feeding", "How many pictures a second does each way of reading and transforming hand out?", measure
    )
