"""What an evaluation and a prediction have in common: arguments checked, data opened, the size found and kept safe."""

from collections.abc import Callable
from os import PathLike
from types import SimpleNamespace
from typing import Any

import keras

from autobatch._arguments import require_count
from autobatch.backend import read_memory_here
from autobatch.backend.base import ForwardEngine
from autobatch.data.check import require_whole_batches
from autobatch.data.epoch import number_of_updates
from autobatch.data.images.flow import is_image_generator
from autobatch.data.model_spec import shapes_of
from autobatch.data.open import OpenedData, is_arrays, open_data
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError
from autobatch.probing.probe import open_cache
from autobatch.probing.request import Task, UserRequest
from autobatch.probing.trials.steps import warm_up_forward
from autobatch.results.run import EVALUATION, PREDICTION, Event
from autobatch.train.callbacks import require_callbacks
from autobatch.train.control.setup import ControllerSetup
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.opening import find_size
from autobatch.train.recorder import Recorder
from autobatch.train.schedule import first_rung


class InferenceRun:
    """The size that is found for an evaluation or a prediction, and what keeps it safe while that runs."""

    def __init__(
        self,
        engine: ForwardEngine,
        task: Task,
        *,
        cache: bool | str | PathLike[str],
        verbose: Any,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        """Finds the size, says it, and gets everything ready to run.

        Raises:
            DoesNotFitError: Not even one sample fits.
            ProbeError: The trials gave no answer.
        """
        self.task, self.engine, self._verbose = task, engine, verbose
        self.recorder = recorder = Recorder(on_event, verbose=verbose)
        recorder.note(*task.notes)
        found = find_size(task, open_cache(cache), recorder)
        self.effective_batch_size = found.samples_per_update
        micro = first_rung(self.effective_batch_size, found.batch_size)
        self.report = recorder.begin(found, self.effective_batch_size, micro, task.data.seed)
        before = read_memory_here()
        evaluates = task.request.step == "evaluate"
        if engine.compiles_once:
            warm_up_forward(engine, task.samples[:micro], evaluates=evaluates)
        if evaluates and micro < self.effective_batch_size:
            recorder.note(*engine.check_cut(task.samples, max(2, micro)).notes)
        may_cut = not task.request.only_whole
        setup = ControllerSetup(found, task.request, before, recorder, cuttable=may_cut)
        phase = EVALUATION if evaluates else PREDICTION
        self.runner = MicroBatchRunner(setup.controller(phase, self.effective_batch_size, micro))

    def callbacks(self, callbacks: Any, steps: int | None) -> Any:
        """The user's callbacks and the progress bar, as `model.evaluate` and `model.predict` put them together."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks
        return keras.callbacks.CallbackList(
            callbacks,
            add_progbar=self._verbose != 0,
            verbose=self._verbose,
            epochs=1,
            steps=self._steps(steps),
            model=self.task.model,
        )

    def _steps(self, asked: int | None) -> int | None:
        """How many steps there will be, `None` if that is not known."""
        samples = self.task.opened.samples
        if samples is None:
            return asked
        whole = number_of_updates(samples, self.effective_batch_size)
        return min(whole, asked or whole)


def total_of(task: Task, steps: int | None) -> int | None:
    """The most samples that so many steps run on, `None` where that is not known beforehand."""
    known, effective = task.opened.samples, task.request.effective_batch_size
    if steps is None or effective is None:
        return known
    return min(known or steps * effective, steps * effective)


def open_inference(request: UserRequest, *, steps: int | None, workers: int | None, callbacks: Any) -> Task:
    """Opens the data of an evaluation or a prediction, in their own order; nothing runs, the model is not touched."""
    require_count(workers=workers)
    require_callbacks(callbacks)
    predicts = request.step == "predict"

    def opens(data: Any, source: Any, asked: DataOptions) -> OpenedData:
        """All of them as they are, whatever part a generator would hold back."""
        flow: dict[str, Any] = dict(asked.flow or {})
        if is_image_generator(data):
            flow.setdefault("subset", None)
            if predicts:
                flow.setdefault("class_mode", None)
        elif predicts and isinstance(data, list) and source is None and is_arrays(data):
            data = (data,)  # nothing is compared, so they are several inputs
        # What it takes, and no loss: data that are opened for that need no targets.
        shapes = {name: known for name in ("input_shape", "output_shape") if (known := shapes_of(asked.model, name))}
        model = SimpleNamespace(compiled=True, loss=None, **shapes) if predicts else asked.model
        given = open_data(data, source, DataOptions(model, 0, flow, augment=False, shuffle=False))
        if given.infinite and steps is None:
            raise ArgumentError("These data go on for ever. Received: steps=None. Expected a number of steps.")
        return given

    task = request.open(opens)
    require_whole_batches(task.model, task.samples, total_of(task, steps))
    return task
