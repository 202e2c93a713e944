"""Large batches in small parts: what accumulating costs, and whether it computes the same.

Speed: samples per second at an effective batch in micro-batches, over plain `model.fit` at the size of the micro-batch
and over Keras' own `gradient_accumulation_steps`, in turns within one run. Exactness: the weights after two epochs,
over those of plain `model.fit` with the whole batch, from the same weights and on the same samples in the same order;
ours through `autobatch.fit(batch_size=B, max_batch_size=b)`. `python benchmarks/accumulation.py`.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Cell, Findings, Goal, Ratio, Table, benchmark, interleaved, ratio, say, seconds_of
from support.models import NETS, Ours

from autobatch.data.batch import Batch

PIXELS, CLASSES = 16, 4
EPOCHS = 2

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison."""

    net: str  # what is trained
    samples: int  # samples in an epoch
    effective_batch_size: int  # samples behind one update
    micro_batch_size: int  # the most in a micro-batch
    weighted: bool = False  # whether samples have weights
    reduction: str = "sum_over_batch_size"  # how Keras' loss sums up
    quick: bool = False  # whether it belongs to the short form

    @property
    def parts(self) -> int:
        return -(-self.effective_batch_size // self.micro_batch_size)

    @property
    def promised(self) -> bool:
        return self.net != "conv net with BatchNorm"

    @property
    def title(self) -> str:
        weighted = ", sample weights" if self.weighted else ""
        return f"{self.net}{weighted}{', mean by weight' if self.reduction == 'mean_with_sample_weight' else ''}"

    @property
    def shape(self) -> str:
        return (
            f"{self.samples} samples, {self.effective_batch_size} an update, in parts of up to {self.micro_batch_size}"
        )


def conv_net(*, normalised: bool = False) -> Any:
    from keras import Sequential, layers

    between = [layers.BatchNormalization()] if normalised else []
    first, second = (layers.Conv2D(width, 3, activation="relu") for width in (8, 16))
    last = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")]
    return Sequential([layers.Input((PIXELS, PIXELS, 3)), first, *between, second, *last])


def attention_net() -> Any:
    from keras import Model, layers

    picture = layers.Input((PIXELS, PIXELS, 3))
    rows = layers.Dense(32)(layers.Reshape((PIXELS, PIXELS * 3))(picture))
    attended = layers.LayerNormalization()(rows + layers.MultiHeadAttention(2, 16)(rows, rows))
    wide = layers.Dense(64, activation="gelu")(attended)
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(attended + layers.Dense(32)(wide)))
    return Model(picture, layers.Dense(CLASSES, activation="softmax")(pooled))


SMALL_NETS = {
    "conv net": conv_net,
    "conv net with BatchNorm": lambda: conv_net(normalised=True),
    "transformer layer": attention_net,
}
_EVEN, _SHORT, _RAGGED = (72, 24, 8), (85, 24, 8), (61, 25, 8)
CASES = (
    Case("conv net", *_EVEN, quick=True),
    Case("conv net", *_SHORT, quick=True),
    Case("conv net", *_RAGGED),
    Case("conv net", *_EVEN, weighted=True),
    Case("conv net", *_SHORT, weighted=True),
    Case("conv net", *_EVEN, weighted=True, reduction="mean_with_sample_weight", quick=True),
    Case("conv net", *_SHORT, weighted=True, reduction="mean_with_sample_weight"),
    Case("transformer layer", *_EVEN),
    Case("transformer layer", *_RAGGED),
    Case("conv net with BatchNorm", *_EVEN, quick=True),
    Case("conv net with BatchNorm", *_RAGGED),
)


def difference(case: Case, cache: str) -> dict[str, dict[str, float | None]]:
    """How far both ways of accumulating end from the whole batch: weights, and BatchNorm's averages."""
    import keras

    import autobatch

    say(f"{case.title}: {case.shape}")
    data = _samples(case)
    keras.utils.set_random_seed(0)
    first = SMALL_NETS[case.net]()
    start = first.get_weights()

    def trained(parts: int | None, train: Any) -> dict[str, Arrays]:
        model = keras.models.clone_model(first)
        model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=case.reduction)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=parts), loss)
        train(model)
        return {
            "weights": [variable.numpy() for variable in model.trainable_variables],
            "averages": [variable.numpy() for variable in model.non_trainable_variables],
        }

    x, y, weight = data
    plain: dict[str, Any] = {"epochs": EPOCHS, "shuffle": False, "verbose": 0}
    micro = max(1, round(case.effective_batch_size / case.parts))
    before = trained(None, lambda _: None)
    whole = trained(None, lambda model: model.fit(x, y, case.effective_batch_size, sample_weight=weight, **plain))
    keras_own = trained(case.parts, lambda model: model.fit(x, y, micro, sample_weight=weight, **plain))
    given = (x, y) if weight is None else (x, y, weight)
    cut: dict[str, Any] = {
        "batch_size": case.effective_batch_size,
        "max_batch_size": case.micro_batch_size,
        "seed": 0,
        "cache": cache,
    }
    ours = trained(None, lambda model: autobatch.fit(model, given, **cut, **plain))
    sides = {"keras": keras_own, "autobatch": ours}
    return {
        name: {what: relative_difference(side[what], whole[what], before[what]) for what in whole}
        for name, side in sides.items()
    }


def _samples(case: Case) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(0)
    x = draw.random((case.samples, PIXELS, PIXELS, 3), dtype=np.float32)
    weight = draw.uniform(0.1, 3.0, case.samples).astype(np.float32) if case.weighted else None
    return x, draw.integers(0, CLASSES, case.samples), weight


def relative_difference(found: Arrays, whole: Arrays, before: Arrays) -> float | None:
    """The largest difference between two ends, over the largest change from the beginning; `None` without values.

    Example:
        >>> ones = np.ones(2)
        >>> relative_difference([ones * 3.5], [ones * 3], [ones])
        0.25
    """
    if not whole:
        return None
    change = max(float(np.abs(end - start).max()) for end, start in zip(whole, before, strict=True))
    apart = max(float(np.abs(one - end).max()) for one, end in zip(found, whole, strict=True))
    return apart / change


QUESTION = "What does a large batch in small parts cost, and is it the same update?"
LEAST, ROUNDING = 0.98, 1e-4
PLAIN, KERAS, OURS = "plain Keras", "Keras, accumulating", "autobatch"

NOTES = (
    "Keras' own accumulation counts micro-batches: what an epoch leaves over goes into the next one, or nowhere.",
    "A batch that cannot be cut evenly gets the nearest number of samples from it.",
    "The averages are BatchNorm's moving ones; with batch statistics a layer sees but the micro-batch, on both sides.",
    "Exactness is looked at with momentum: Adam divides by the size of a gradient, and so makes a change of rounding.",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is timed."""

    model: str  # its name among the benchmarks' models
    effective_batch_size: int  # samples behind one update
    parts: int  # micro-batches of an update
    updates: int  # updates in a turn
    turns: int  # how often each side is timed

    @property
    def micro_batch_size(self) -> int:
        return self.effective_batch_size // self.parts


FULL = (
    Load("small conv net", 128, 4, 4, 11),
    Load("small conv net", 128, 16, 2, 9),
    Load("MobileNetV2", 64, 4, 1, 9),
    Load("transformer", 64, 4, 2, 9),
    Load("transformer", 64, 16, 1, 9),
)
QUICK = (Load("small conv net", 64, 4, 4, 5), Load("transformer", 32, 4, 2, 5))


def compiled(name: str, parts: int | None = None) -> Any:
    """The model with Adam, which accumulates by itself where `parts` says so."""
    import keras

    net, model = NETS[name], NETS[name].build()
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=parts), net.loss)
    return model


def timed(load: Load) -> dict[str, Any]:
    """Seconds of a turn of each side; all of them see the same samples."""
    say(f"{load.model}, {load.effective_batch_size} samples an update in {load.parts}: {load.turns} turns")
    x, y = NETS[load.model].samples(load.effective_batch_size * load.updates)
    plain, keras_own = compiled(load.model), compiled(load.model, load.parts)
    sides = {
        PLAIN: lambda: plain.fit(x, y, batch_size=load.micro_batch_size, verbose=0),
        KERAS: lambda: keras_own.fit(x, y, batch_size=load.micro_batch_size, verbose=0),
        OURS: Ours(compiled(load.model), Batch(x, y), load.effective_batch_size, load.micro_batch_size),
    }
    clocked = {name: lambda side=side: seconds_of(side) for name, side in sides.items()}
    interleaved(clocked, 1)  # compiles
    facts = {
        "model": load.model,
        "effective": load.effective_batch_size,
        "micro": load.micro_batch_size,
        "samples": len(y),
    }
    return facts | {"seconds": interleaved(clocked, load.turns)}


def speed_over(result: dict[str, Any], other: str) -> Ratio:
    """Our samples per second over another side's."""
    return ratio(result["seconds"][other], result["seconds"][OURS])


def speed_row(result: dict[str, Any]) -> list[Cell]:
    sides = (PLAIN, KERAS, OURS)
    speeds = [float(f"{result['samples'] / statistics.median(result['seconds'][side]):.3g}") for side in sides]
    over = (str(speed_over(result, other)) for other in (PLAIN, KERAS))
    return [result["model"], result["effective"], result["micro"], *speeds, *over]


def speed_goal(results: list[dict[str, Any]]) -> Goal:
    worst = min(results, key=lambda result: speed_over(result, PLAIN).middle)
    over = speed_over(worst, PLAIN)
    measured = f"at least {over}, of {worst['model']} in micro-batches of {worst['micro']}"
    return Goal(f"at least {LEAST} times the samples/s of plain Keras in every row", over.middle >= LEAST, measured)


def exact_row(case: Case, found: dict[str, Any]) -> list[Cell]:
    differences = (found[side][what] for what in ("weights", "averages") for side in ("keras", "autobatch"))
    return [case.title, case.shape, *(None if one is None else f"{one:.1e}" for one in differences)]


def exact_goal(cases: dict[Case, dict[str, Any]]) -> Goal:
    """Whether ours is the whole-batch update wherever that is promised."""
    worst = max(found["autobatch"]["weights"] for case, found in cases.items() if case.promised)
    text = f"the same update as with the whole batch, to {ROUNDING:g}, where no layer has batch statistics"
    return Goal(text, worst < ROUNDING, f"at most {worst:.1e}")


def measure(args: argparse.Namespace) -> Findings:
    results = [timed(load) for load in (QUICK if args.quick else FULL)]
    with tempfile.TemporaryDirectory() as cache:
        cases = {case: difference(case, cache) for case in CASES if case.quick or not args.quick}
    per_s = tuple(f"{side}, samples/s" for side in (PLAIN, KERAS, OURS))
    speed = Table(
        "Speed, with Adam",
        ("model", "samples an update", "micro-batch", *per_s, "autobatch over plain", "autobatch over Keras' own"),
        [speed_row(result) for result in results],
    )
    exact = Table(
        "Largest difference from the whole-batch update, over the largest change of any weight",
        ("net and loss", "cut", "weights: Keras' own", "autobatch", "averages: Keras' own", "autobatch"),
        [exact_row(case, found) for case, found in cases.items()],
    )
    samples = {
        "speed": results,
        "exactness": [{"case": case.title, "cut": case.shape, **cases[case]} for case in cases],
    }
    return Findings([speed, exact], [speed_goal(results), exact_goal(cases)], list(NOTES), samples)


if __name__ == "__main__":
    benchmark("accumulation", "Accumulation", QUESTION, measure)
