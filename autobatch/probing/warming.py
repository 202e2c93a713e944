"""Compiles the steps of a model on a few samples, before memory is measured or a large batch is run.

Compiling a step takes memory of its own, which has nothing to do with the size: for a deep model several hundred MiB,
most of which is free again afterwards, but stays with the process. In a first step at full size both would be needed
at once. So trials and training warm up the same way, and what was measured in a trial holds in training.
"""

import gc
from typing import Any

from autobatch.backend import preserved
from autobatch.backend.base import BatchTotals, Engine, ForwardEngine
from autobatch.data.batch import Batch
from autobatch.data.splitting import near_equal
from autobatch.memory.sensors.malloc import return_freed_memory

WARM_UP_SIZE = 2


def warm_up(engine: Engine, samples: Batch, *, accumulated: bool, evaluated: bool) -> None:
    """Runs an update and gives back what compiling it has left over. The model is trained by it.

    Args:
        engine: The engine whose steps are to be compiled.
        samples: A few samples.
        accumulated: Whether updates will consist of several micro-batches.
        evaluated: Whether the engine will evaluate, too.
    """
    few = samples[:WARM_UP_SIZE]
    update(engine, few, accumulated=accumulated)
    if evaluated:
        engine.evaluate(few, BatchTotals.of(few))
    gc.collect()
    return_freed_memory()


def warm_up_forward(engine: ForwardEngine, samples: Batch, *, evaluates: bool) -> None:
    """As `warm_up`, for an engine that evaluates or predicts; the model stays as it is.

    Args:
        engine: The engine whose step is to be compiled.
        samples: A few samples.
        evaluates: Whether it will evaluate, or predict.
    """
    few = samples[:WARM_UP_SIZE]
    engine.untouched(lambda: engine.evaluate(few, BatchTotals.of(few)) if evaluates else engine.predict(few))
    gc.collect()
    return_freed_memory()


def warm_up_untouched(model: Any, engine: Engine, samples: Batch, *, accumulated: bool, evaluated: bool) -> None:
    """As `warm_up`, but the model stays as it is, bit for bit.

    With XLA nothing is done: each size is compiled for itself. Without compiling nothing is left over.

    Args:
        model: The engine's model.
        engine: The engine whose steps are to be compiled.
        samples: A few samples.
        accumulated: Whether updates will consist of several micro-batches.
        evaluated: Whether the engine will evaluate, too.
    """
    if model.jit_compile or model.run_eagerly:
        return
    with preserved(model):
        warm_up(engine, samples, accumulated=accumulated, evaluated=evaluated)
    engine.empty()


def update(engine: Engine, batch: Batch, *, accumulated: bool) -> Any:
    """One update; returns its logs.

    Args:
        engine: What runs it.
        batch: The samples of each micro-batch.
        accumulated: Two micro-batches, which is enough to fill the accumulators and to add to them, instead of one.
    """
    whole = BatchTotals.of(batch, batch) if accumulated else BatchTotals.of(batch)
    logs: Any = {}
    for _ in near_equal(whole.size, batch.size):
        logs = engine.accumulate(batch, whole)
    engine.apply()
    return logs
