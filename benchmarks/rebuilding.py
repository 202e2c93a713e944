"""The same flow at another size: `autobatch.rebuild` and the training's own cut, beside walking the folder again.

The folder holds 50,000 names of one small picture, in ten classes. `python benchmarks/rebuilding.py`.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from harness import Cell, Findings, Goal, Table, benchmark, interleaved, ratio, say, seconds_of

import autobatch

QUESTION = "How much faster is the same flow at another size than flow_from_directory again?"
LEAST = 1_000
FILES, CLASSES, PIXELS = 50_000, 10, 8
EFFECTIVE = 96
SIZES = (48, 32, 24, 16)
CALLS = 200
WALK, WALK_AND_DRAW = "flow_from_directory again", "flow_from_directory again, and its first batch"
REBUILD, REBUILD_AND_DRAW = "autobatch.rebuild", "autobatch.rebuild, and its first batch"
NEXT = "the training's next update, cut anew"
OVER = {WALK: WALK, WALK_AND_DRAW: WALK_AND_DRAW, REBUILD: WALK, REBUILD_AND_DRAW: WALK_AND_DRAW, NEXT: WALK}


def fill(folder: Path, files: int = FILES) -> None:
    from PIL import Image

    picture = folder.parent / "picture.png"
    Image.fromarray(np.zeros((PIXELS, PIXELS, 3), np.uint8)).save(picture)
    for number in range(CLASSES):
        (folder / str(number)).mkdir(parents=True)
    for number in range(files):
        (folder / str(number % CLASSES) / f"{number:06}.png").hardlink_to(picture)


def each_of(function: Callable[[], Any], calls: int) -> Callable[[], float]:
    """Seconds of one call, over so many of them: a single one is too short for the clock."""

    def seconds() -> float:
        return seconds_of(lambda: [function() for _ in range(calls)]) / calls

    return seconds


def sides(folder: Path) -> dict[str, Callable[[], float]]:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from autobatch.data.epoch import near_equal
    from autobatch.data.images.flow import without_printing

    datagen, size = ImageDataGenerator(rescale=1 / 255), cycle(SIZES)

    def walk() -> Any:
        with without_printing():
            return datagen.flow_from_directory(folder, target_size=(PIXELS, PIXELS), batch_size=next(size))

    flow = walk()

    def rebuild() -> Any:
        return autobatch.rebuild(flow, batch_size=next(size))

    return {
        WALK: each_of(walk, 1),
        WALK_AND_DRAW: each_of(lambda: next(walk()), 1),
        REBUILD: each_of(rebuild, CALLS),
        REBUILD_AND_DRAW: each_of(lambda: next(rebuild()), CALLS // 10),
        NEXT: each_of(lambda: near_equal(EFFECTIVE, next(size)), CALLS),
    }


def row(name: str, samples: dict[str, list[float]]) -> list[Cell]:
    faster = str(ratio(samples[OVER[name]], samples[name])) if OVER[name] != name else "-"
    return [name, float(f"{statistics.median(samples[name]) * 1e3:.3g}"), faster]


def measure(args: argparse.Namespace) -> Findings:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        say(f"giving a picture {FILES:,} names")
        fill(folder)
        say("walking and rebuilding in turns")
        compared = sides(folder)
        interleaved(compared, 1)
        samples = interleaved(compared, 3 if args.quick else 9)
    faster = ratio(samples[WALK], samples[REBUILD])
    columns = ("how", "ms", "times faster than walking")
    table = Table(f"A flow of {FILES:,} files at another size", columns, [row(one, samples) for one in OVER])
    goal = Goal(f"rebuild at least {LEAST:,} times faster", faster.low >= LEAST, f"{faster} times")
    notes = [
        "The files' names were read a moment before each walk: it finds all of them in the system's cache.",
        "With the first batch, what is left is Keras' own: it puts all samples in order and reads the batch.",
    ]
    return Findings([table], [goal], notes, {name: {"seconds": values} for name, values in samples.items()})


if __name__ == "__main__":
    benchmark("rebuilding", "Rebuilding", QUESTION, measure)
