"""A user's process in a control group: looks for the largest batch size, or trains at one, and prints what happened.

`python budget_scene.py PROCS find|halved|SIZE`, where PROCS is the `cgroup.procs` of the group to join first.
`halved` looks with a worker that reports half of what it took.
"""

# ruff: noqa: E402 - the group is joined before anything is imported
import json
import sys
from pathlib import Path
from typing import Any

UPDATES = 20
READ_AHEAD_BYTES = 16 * 2**20

if __name__ == "__main__":
    # Before anything is imported: all that this process holds is to count.
    Path(sys.argv[1]).write_text("0")

import keras
import numpy as np

from autobatch.backend import engine_for
from autobatch.backend.base import BatchTotals
from autobatch.data.batch import Batch
from autobatch.memory.budget import DEFAULT_RESERVE, Reserve
from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.procfs import peak_rss_bytes, read_process, reset_peak_rss
from autobatch.probing.request import ProbeRequest
from autobatch.probing.search import peak_bounds, worth_trying
from autobatch.probing.trials.executor import Executor
from autobatch.probing.trials.measure import WORST, TrialMeasurer
from autobatch.probing.trials.measure import open_measurer as open_honest_runner
from autobatch.probing.trials.steps import warm_up_untouched
from autobatch.probing.trials.worker import Worker
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.results.probe import ProbeResult
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner

CLASSES = 10
SIDE = 160


class Endless:
    """As many samples as a run wants, made of eight."""

    seed = 1

    def __init__(self, count: int) -> None:
        draw = np.random.default_rng(0)
        labels = np.eye(CLASSES, dtype=np.float32)[draw.integers(0, CLASSES, 8)]
        self.few = Batch(draw.random((8, SIDE, SIDE, 3), np.float32), labels)
        self.sample_bytes = self.few.nbytes // 8
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, indices: Any, epoch: int) -> Batch:
        return self.few.take(np.asarray(indices) % 8)


def net() -> Any:
    """A compiled model."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 3))
    hidden = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    hidden = layers.Conv2D(8, 1, activation="relu")(hidden)
    hidden = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(hidden))
    outputs = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(hidden))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def look(model: Any, few: Batch, *, halved: bool) -> ProbeResult:
    """The largest safe size."""
    # The default is about as much as there is left here: what is measured wrongly by half would fit into it.
    reserve = Reserve(0.0, 32 * 2**20) if halved else DEFAULT_RESERVE
    question = ProbeRequest(
        "largest", cap=4096, cap_reason="enough", reserve=reserve, read_ahead_bytes=READ_AHEAD_BYTES
    )
    return find_batch_size(model, few, question, seams=TunerSeams(executor=halved_executor) if halved else None)


def too_large_by(result: ProbeResult) -> int:
    """How far what would be worth trying next is over its budget, in bytes, by what the trials tell; below 0 if not."""
    size = worth_trying(result.max_batch_size, len(result.trials))
    if any(result.max_batch_size < trial.size <= size for trial in result.trials):
        return 1  # it was tried, and is not the answer
    # What it may come to at worst may take the reserve, too.
    budgets = {**result.budgets, WORST: result.budgets["host"] + result.reserves["host"]}
    return max(int(bound.upper(size)) - budgets[name] for name, bound in peak_bounds(result.trials).items())


def train(model: Any, source: Endless, size: int) -> dict[str, int]:
    """Trains as `fit` does, then evaluates once; returns what that took at most."""
    before = read_process()[0].rss_bytes
    reset_peak_rss()
    engine = engine_for(model, source.few)
    warm_up_untouched(model, engine, source.few, accumulated=False, evaluated=True)
    ran: list[int] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ran.append(batch))
    plan = TrainingPlan(
        effective_batch_size=size, steps_per_epoch=UPDATES, callbacks=[watch], verbose=0, max_bytes=READ_AHEAD_BYTES
    )
    run(model, engine, source, MicroBatchRunner(controller_without_sensors(size, (), lambda *decision: None)), plan)
    batch = source.read(range(size), 0)
    engine.evaluate(batch, BatchTotals(batch.size))
    return {"updates": len(ran), "growth_bytes": int(peak_rss_bytes() or 0) - before}


class Halved(TrialMeasurer):
    """Reports half of what it took, so that the search believes that twice as much fits."""

    def _peaks(self, size: int) -> dict[str, int]:
        return {name: peak // 2 for name, peak in super()._peaks(size).items()}


def open_runner(payload: dict[str, Any]) -> TrialMeasurer:
    """The worker's side of `HalvedWorker`."""
    honest = open_honest_runner(payload)
    return Halved(honest._model, honest._samples)


class HalvedWorker(Worker):
    """A worker whose trials are measured wrongly."""

    def open(self, payload: Any, timeout_s: float) -> Any:
        return super().open({**payload, "measurer": "budget_scene:open_runner"}, timeout_s)


def halved_executor(*args: Any, **options: Any) -> Executor:
    """Where trials run that are measured wrongly."""
    return Executor(*args, **options, worker=HalvedWorker())


def main(task: str) -> dict[str, Any]:
    model = net()
    if task.isdigit():
        return train(model, Endless(int(task) * UPDATES), int(task))
    free_bytes = read_memory().host_budget().free_bytes
    result = look(model, Endless(8).few, halved=task == "halved")
    said = {"free_bytes": free_bytes, "too_large_by": too_large_by(result), "result": result.to_dict()}
    return said | train(model, Endless(result.batch_size * UPDATES), result.batch_size)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[2])))
