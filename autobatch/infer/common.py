"""What an evaluation and a prediction have in common: arguments checked, data opened, the size found and kept safe."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import keras

from autobatch._arguments import require_count, require_seconds
from autobatch.backend import current_backend, read_memory_here
from autobatch.backend.base import ForwardEngine
from autobatch.data.check import require_compatible
from autobatch.data.images.iterator import is_image_generator
from autobatch.data.open import OpenedData, few_of, is_arrays, most_samples, open_data
from autobatch.data.options import DataOptions, FlowOptions, require_options
from autobatch.data.splitting import number_of_updates
from autobatch.errors import ArgumentError
from autobatch.memory.budget import Reserve, parse_reserve
from autobatch.probing.probe import open_cache
from autobatch.probing.request import READ_AHEAD_BYTES, Task, held_bytes, parse_batch_size, request_for
from autobatch.probing.trials.steps import warm_up_forward
from autobatch.probing.tuner import find_batch_size
from autobatch.results.run import EVALUATION, PREDICTION, Event, RunReport
from autobatch.train.callbacks import require_callbacks
from autobatch.train.control.setup import ControllerSetup, ControlSeams
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.recorder import Recorder
from autobatch.train.run_log import RunLog
from autobatch.train.schedule import first_rung


@dataclass(frozen=True, slots=True)
class InferenceRun:
    """What an evaluation or a prediction runs with.

    Attributes:
        engine: What runs micro-batches.
        cutter: Keeps their size.
        effective_batch_size: Samples behind one step, as Keras counts them.
        report: What was chosen, and why.
        diary: What is decided under way.
    """

    engine: ForwardEngine
    cutter: MicroBatchRunner
    effective_batch_size: int
    report: RunReport
    diary: Recorder

    def steps(self, samples: int | None, asked: int | None) -> int | None:
        """How many steps there will be, `None` if that is not known."""
        if samples is None:
            return asked
        whole = number_of_updates(samples, self.effective_batch_size)
        return whole if asked is None else min(whole, asked)


def start(
    model: Any,
    engine: ForwardEngine,
    task: Task,
    *,
    cache: bool | str | PathLike[str],
    verbose: Any,
    on_event: Callable[[Event], None] | None,
    seams: ControlSeams | None = None,
) -> InferenceRun:
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
    found = find_batch_size(model, task.samples, task.request, cache=open_cache(cache))
    effective = found.samples_per_update
    micro = first_rung(effective, found.batch_size)
    report = RunReport(effective, micro, task.opened.data.seed, found, readings, (*task.notes, *found.notes))
    report.say(verbose)
    before = read_memory_here()
    evaluates = task.request.step == "evaluate"
    if engine.compiles_once:
        warm_up_forward(engine, task.samples[:micro], evaluates=evaluates)
    diary = Recorder(report, on_event, log=unwritten, verbose=verbose)
    steering = ControllerSetup(found, task.request, before, diary, cuttable=True, seams=seams)
    controller = steering.controller(EVALUATION if evaluates else PREDICTION, effective, micro)
    return InferenceRun(engine, MicroBatchRunner(controller), effective, report, diary)


def callback_list(model: Any, callbacks: Any, verbose: Any, steps: int | None) -> Any:
    """The user's callbacks and the progress bar, as `model.evaluate` and `model.predict` put them together."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return keras.callbacks.CallbackList(
        callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=model
    )


class InputsOnly:
    """What a model takes, and no loss: data that are opened for it need no targets.

    Args:
        model: A Keras model, compiled or not.
    """

    compiled = True
    loss = None

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def input_shape(self) -> Any:
        """As the model says; an `AttributeError` or a `ValueError` where it does not know."""
        return self._model.input_shape

    @property
    def output_shape(self) -> Any:
        """As the model says; an `AttributeError` or a `ValueError` where it does not know."""
        return self._model.output_shape


Kind = Literal["evaluate", "predict"]


def total_of(task: Task, steps: int | None) -> int | None:
    """The most samples that so many steps run on, `None` where that is not known beforehand."""
    known, effective = task.opened.samples, task.request.effective_batch_size
    if steps is None or effective is None:
        return known
    return min(known or steps * effective, steps * effective)


def prepare(
    kind: Kind,
    model: Any,
    data: Any,
    source: Any,
    flow: FlowOptions,
    *,
    beside: Iterable[str],
    batch_size: Any,
    callbacks: Any,
    steps: int | None,
    workers: int | None,
    reserve: float | Reserve | None,
    max_batch_size: int | None,
    trial_timeout_s: float,
) -> Task:
    """Checks what a user gave and makes a task of it; nothing is run, and the model is not touched.

    Most arguments are those of `autobatch.evaluate`; `beside` holds the names that the calling function takes.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model cannot be run this way, or does not fit the data.
        DataError: The data cannot be used.
    """
    require_options(flow, beside)
    mode, effective = parse_batch_size(batch_size)
    require_count(steps=steps, workers=workers, max_batch_size=max_batch_size)
    require_seconds(trial_timeout_s=trial_timeout_s)
    require_callbacks(callbacks)
    kept_free = parse_reserve(reserve)
    current_backend().require_runnable(model, evaluates=kind == "evaluate")
    given = _opened(kind, model, data, source, flow)
    if given.infinite and steps is None:
        raise ArgumentError("These data go on for ever. Received: steps=None. Expected a number of steps.")
    samples = few_of(given.data)
    require_compatible(model, samples, step=kind)
    held = held_bytes(model, given, effective, samples) if kind == "evaluate" or given.samples is None else 0
    question, said = request_for(
        mode,
        effective,
        most_samples(given.data),
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=READ_AHEAD_BYTES + held,
        trial_timeout_s=trial_timeout_s,
        step=kind,
    )
    return Task(given, samples, question, (*given.notes, *said))


def _opened(kind: Kind, model: Any, data: Any, source: Any, flow: FlowOptions) -> OpenedData:
    """The data in their own order, as they are; all of them, whatever part a generator would hold back."""
    options: dict[str, Any] = dict(flow)
    if is_image_generator(data):
        options.setdefault("subset", None)
        if kind == "predict":
            options.setdefault("class_mode", None)
    elif kind == "predict" and isinstance(data, list) and source is None and is_arrays(data):
        data = (data,)  # nothing is compared, so they are several inputs
    taking = model if kind == "evaluate" else InputsOnly(model)
    return open_data(data, source, DataOptions(taking, 0, options, augment=False, shuffle=False))
