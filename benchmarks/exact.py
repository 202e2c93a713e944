"""What it costs that an update which is cut equals the whole one: masks that are counted, BatchNorm by groups.

Masks: an update of a net whose loss is divided by what a mask leaves, over one of the same net without a mask; what we
add is that ratio over the same one of Keras' own steps, since a mask costs in its layers, too. BatchNorm: a step that
takes batch statistics over groups of samples, over one that takes them over micro-batches. The sides of a row take
turns. `python benchmarks/exact.py`.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from harness import Cell, Findings, Goal, Ratio, Table, benchmark, interleaved, ratio, say, seconds_of
from support.models import CLASSES, NETS, TOKENS, VOCABULARY, Ours

from autobatch.data.batch import Batch

MOST_MASKED, MOST_GROUPED = 1.03, 1.10
WIDTH, GROUP = 128, 16


@dataclass(frozen=True, slots=True)
class Load:
    """What is timed."""

    net: str  # of `_TAGGERS`, or of the benchmarks' models
    effective_batch_size: int  # samples behind one update
    parts: int  # micro-batches of an update
    updates: int  # updates in a turn
    turns: int  # how often each side is timed
    quick: bool = False  # whether it belongs to the short form

    @property
    def micro_batch_size(self) -> int:
        return self.effective_batch_size // self.parts

    @property
    def samples(self) -> int:
        return self.effective_batch_size * self.updates


MASKED = (
    Load("dense layers", 64, 1, 4, 25, quick=True),
    Load("dense layers", 64, 4, 4, 25, quick=True),
    Load("GRU", 64, 1, 4, 25),
    Load("GRU", 64, 4, 4, 25),
)
GROUPED = (
    Load("MobileNetV2", 48, 1, 1, 11, quick=True),
    Load("MobileNetV2", 48, 3, 1, 11),
)


def tagger(between: str, *, masked: bool) -> Any:
    """A net that says a class for each of 128 tokens."""
    from keras import Sequential, layers

    middle = {
        "dense layers": lambda: [layers.Dense(4 * WIDTH, activation="gelu"), layers.Dense(WIDTH, activation="gelu")],
        "GRU": lambda: [layers.GRU(WIDTH, return_sequences=True)],
    }
    first = layers.Embedding(VOCABULARY, WIDTH, mask_zero=masked)
    last = layers.Dense(CLASSES, activation="softmax")
    model = Sequential([layers.Input((TOKENS,), dtype="int32"), first, *middle[between](), last])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def padded(count: int) -> Batch:
    """Tokens in sentences of 16 to 128, and a class for each."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(TOKENS // 8, TOKENS + 1, (count, 1))
    tokens = draw.integers(1, VOCABULARY, (count, TOKENS)) * (np.arange(TOKENS) < lengths)
    return Batch(tokens.astype(np.int32), draw.integers(0, CLASSES, (count, TOKENS)))


def timed(load: Load, sides: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Seconds of a turn of each side; all of them see the same samples."""
    say(f"{load.net}, {load.effective_batch_size} samples an update in {load.parts}: {load.turns} turns")
    clocked = {name: partial(seconds_of, side) for name, side in sides.items()}
    interleaved(clocked, 1)  # compiles
    facts = {"net": load.net, "effective": load.effective_batch_size, "micro": load.micro_batch_size}
    return facts | {"updates": load.updates, "seconds": interleaved(clocked, load.turns)}


def keras_steps(model: Any, data: Batch, size: int) -> Callable[[], None]:
    """Keras' own compiled steps over the samples, without what a call of `fit` costs around them."""
    from tensorflow.data import Dataset

    model._symbolic_build(data_batch=(data.x, data.y))
    model.make_train_function()
    batches = iter(Dataset.from_tensor_slices((data.x, data.y)).batch(size).cache().repeat())

    def run() -> None:
        for _ in range(data.size // size):
            model.train_function(batches)

    return run


def masked(load: Load) -> dict[str, Any]:
    data = padded(load.samples)
    sides: dict[str, Callable[[], Any]] = {}
    for name, mask in (("plain", False), ("masked", True)):
        sides[f"Keras, {name}"] = keras_steps(tagger(load.net, masked=mask), data, load.micro_batch_size)
        model = tagger(load.net, masked=mask)
        sides[f"autobatch, {name}"] = Ours(model, data, load.effective_batch_size, load.micro_batch_size)
    return timed(load, sides)


def grouped(load: Load) -> dict[str, Any]:
    net = NETS[load.net]
    data = Batch(*net.samples(load.samples))
    sizes = load.effective_batch_size, load.micro_batch_size
    groups = {"micro-batches": 1, "groups": GROUP}
    return timed(load, {name: Ours(net.compiled(), data, *sizes, group=group) for name, group in groups.items()})


def over(result: dict[str, Any], side: str, other: str) -> Ratio:
    return ratio(result["seconds"][side], result["seconds"][other])


def mask_costs(result: dict[str, Any]) -> tuple[Ratio, Ratio, Ratio]:
    """Ours, Keras' own, and the one over the other, turn by turn."""
    seconds = result["seconds"]
    turns = {
        who: [a / b for a, b in zip(seconds[f"{who}, masked"], seconds[f"{who}, plain"], strict=True)]
        for who in ("autobatch", "Keras")
    }
    ours, keras_own = (over(result, f"{who}, masked", f"{who}, plain") for who in turns)
    return ours, keras_own, ratio(turns["autobatch"], turns["Keras"])


def row(result: dict[str, Any], sides: tuple[str, str], *ratios: Ratio) -> list[Cell]:
    each_s = (float(f"{statistics.median(result['seconds'][side]) / result['updates']:.3g}") for side in sides)
    return [result["net"], result["effective"], result["micro"], *each_s, *map(str, ratios)]


def goal(text: str, most: float, costs: list[tuple[dict[str, Any], Ratio]]) -> Goal:
    result, worst = max(costs, key=lambda one: one[1].middle)
    measured = f"at most {worst}, of {result['net']} in micro-batches of {result['micro']}"
    return Goal(f"at most {most} times {text}", worst.middle <= most, measured)


QUESTION = "What does it cost that an update which is cut equals the whole one?"
NOTES = (
    "Keras' side runs as many steps of the size of the micro-batch, each an update.",
    f"The groups of BatchNorm are of {GROUP} samples.",
)


def measure(args: argparse.Namespace) -> Findings:
    masks = [masked(load) for load in MASKED if load.quick or not args.quick]
    groups = [grouped(load) for load in GROUPED if load.quick or not args.quick]
    first = "net", "samples an update", "micro-batch"
    mask_table = Table(
        "Masks",
        (
            *first,
            "without, s an update",
            "masked, s an update",
            "masked over without",
            "the same of Keras",
            "over that",
        ),
        [row(one, ("autobatch, plain", "autobatch, masked"), *mask_costs(one)) for one in masks],
    )
    group_costs = [(one, over(one, "groups", "micro-batches")) for one in groups]
    group_table = Table(
        "BatchNorm",
        (*first, "by micro-batches, s an update", "by groups, s an update", "groups over micro-batches"),
        [row(one, ("micro-batches", "groups"), cost) for one, cost in group_costs],
    )
    goals = [
        goal("what a mask costs in Keras", MOST_MASKED, [(one, mask_costs(one)[2]) for one in masks]),
        goal("the step that takes statistics over micro-batches", MOST_GROUPED, group_costs),
    ]
    return Findings([mask_table, group_table], goals, list(NOTES), {"masks": masks, "groups": groups})


if __name__ == "__main__":
    benchmark("exact", "Exact updates", QUESTION, measure)
