"""Costs that may grow: what files, batches and models take before a training and at a reading, at several sizes."""

import gc
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import growth_subjects as subjects
import numpy as np
from harness import interleaved, say, seconds_of
from slopes import Growth, Promise
from trainings import Arrays, controller

FILES, BATCH, PARAMETERS, LAYERS = "files", "samples in a batch", "parameters", "layers"
_ENOUGH_S, _CALLS = 0.003, 500

Action = Callable[[], Any]
Cost = tuple[Promise, Callable[[int], Action]]
"""How it may grow, and from a size to what is timed."""


def often(action: Action) -> Callable[[], float]:
    """Seconds of one call, over as many as the clock needs."""
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
    """What the index of a folder costs."""
    import autobatch
    from autobatch.data.cut import near_equal, rungs
    from autobatch.data.flow import FlowSource
    from autobatch.data.loader import Loader
    from autobatch.data.order import permutation

    say("files")
    flows = {size: subjects.flow_of(folder, size) for size in sizes}
    epoch = count()  # the same order again and again would be learnt by the processor
    sources = {size: FlowSource(flow) for size, flow in flows.items()}

    def first_batch(size: int) -> Action:
        def begin() -> None:
            with Loader(sources[size], start_epoch=next(epoch), passes=1) as loader:
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
    """What the size of a batch costs."""
    from autobatch.data.batch import Batch
    from autobatch.data.cut import near_equal, rungs
    from autobatch.data.loader import Loader

    say("batch size")
    sizes = tuple(sizes)
    data = Arrays(Batch(*subjects.numbers(2 * max(sizes))))

    def first_batch(size: int) -> Action:
        def begin() -> None:
            with Loader(data, passes=1) as loader:
                loader.take(size)

        return begin

    return grown(
        {
            "a reading": ("flat", reading),
            "cutting the next update in 8": ("flat", lambda size: lambda: near_equal(size, max(1, size // 8))),
            "cutting the next update in parts of 1": ("linear", lambda size: lambda: near_equal(size, 1)),
            "the sizes to choose from": ("logarithmic", lambda size: lambda: rungs(size, size)),
            "choosing all sizes of a probe, running none": (
                "logarithmic",
                lambda size: lambda: subjects.searched(size),
            ),
            "an epoch's start, with its first batch": ("linear", first_batch),
        },
        BATCH,
        sizes,
        turns,
    )


def over_model(over: str, make: Callable[[int], Any], sizes: Iterable[int], turns: int) -> list[Growth]:
    """What the size of a model costs before its first update, and at a reading."""
    from autobatch.data.batch import Batch
    from autobatch.probing.warming import warm_up_untouched
    from autobatch.step.backend import engine_for

    x, y = subjects.numbers(4)
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
    """Seconds of a reading while a model is there."""
    read = often(reading())
    seconds = [read() for _ in range(turns)]
    del model
    return seconds
