"""The size that is found for an evaluation or a prediction, and what keeps it safe while that runs."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import keras

from autobatch.data.splitting import number_of_updates
from autobatch.probing.find import find
from autobatch.probing.run import open_cache
from autobatch.probing.task import Task
from autobatch.probing.warming import warm_up_forward
from autobatch.results.run import EVALUATION, PREDICTION, Event, RunReport
from autobatch.step.backend import read_memory_here
from autobatch.step.engine import ForwardEngine
from autobatch.train.diary import Diary
from autobatch.train.run_log import RunLog
from autobatch.train.sizes import first_rung
from autobatch.train.steering import Seams, Steering
from autobatch.train.updating import Cutter


@dataclass(frozen=True, slots=True)
class Running:
    """What an evaluation or a prediction runs with.

    Attributes:
        engine: What runs micro-batches.
        cutter: Keeps their size.
        effective: Samples behind one step, as Keras counts them.
        report: What was chosen, and why.
        diary: What is decided under way.
    """

    engine: ForwardEngine
    cutter: Cutter
    effective: int
    report: RunReport
    diary: Diary

    def steps(self, samples: int | None, asked: int | None) -> int | None:
        """How many steps there will be, `None` if that is not known."""
        if samples is None:
            return asked
        whole = number_of_updates(samples, self.effective)
        return whole if asked is None else min(whole, asked)


def start(
    model: Any,
    engine: ForwardEngine,
    task: Task,
    *,
    cache: bool | str | PathLike[str],
    verbose: Any,
    on_event: Callable[[Event], None] | None,
    seams: Seams | None = None,
) -> Running:
    """Finds the size, says it, and gets everything ready to run.

    Args:
        model: The engine's model.
        engine: What is going to run it.
        task: The data, and what to look for.
        cache: Whether to use and keep earlier answers, or where.
        verbose: 0 prints nothing.
        on_event: Called with every decision and every observation of memory.
        seams: What is asked of the world.

    Raises:
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.
    """
    unwritten = RunLog()  # a run begins with its search
    readings = [read_memory_here()]
    found = find(model, task.samples, task.question, cache=open_cache(cache))
    effective = found.samples_per_update
    micro = first_rung(effective, found.batch_size)
    report = RunReport(effective, micro, task.given.data.seed, found, readings, (*task.notes, *found.notes))
    report.say(verbose)
    before = read_memory_here()
    evaluates = task.question.step == "evaluate"
    if not (model.jit_compile or model.run_eagerly):
        warm_up_forward(engine, task.samples[:micro], evaluates=evaluates)
    diary = Diary(report, on_event, log=unwritten, verbose=verbose)
    steering = Steering(found, task.question, before, diary, cuttable=True, seams=seams)
    controller = steering.controller(EVALUATION if evaluates else PREDICTION, effective, micro)
    return Running(engine, Cutter(controller), effective, report, diary)


def callback_list(model: Any, callbacks: Any, verbose: Any, steps: int | None) -> Any:
    """The user's callbacks and the progress bar, as `model.evaluate` and `model.predict` put them together."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return keras.callbacks.CallbackList(
        callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=model
    )
