"""From what was opened and found to a training: its engine, controllers, saver and loop."""

from dataclasses import replace
from functools import partial
from typing import Any

from autobatch.backend import engine_for, read_memory_here
from autobatch.backend.base import CutCheck
from autobatch.data.epoch import near_equal, number_of_updates
from autobatch.errors import ModelError
from autobatch.probing.request import read_ahead_bytes
from autobatch.probing.trials.steps import warm_up_untouched
from autobatch.results.probe import ProbeResult
from autobatch.train.control.setup import ControllerSetup
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.opening import OpenedTraining
from autobatch.train.recorder import Recorder
from autobatch.train.remarks import (
    ModelTraits,
    accumulation_remarks,
    few_updates_remarks,
    resizing_remark,
    statistics_remarks,
    step_remarks,
    unused_rule_remarks,
)
from autobatch.train.schedule import first_rung
from autobatch.train.validation import Validation


class Trainer:
    """Trains the model of a task under a controller, in the sizes that were found."""

    def __init__(self, opened: OpenedTraining, found: ProbeResult, recorder: Recorder) -> None:
        self._opened, self._found, self._recorder = opened, found, recorder
        self._task, self._options, self._model = opened.task, opened.options, opened.task.model
        self._sizes, self._traits = opened.sizes(found), ModelTraits.of(opened.task.model, opened.task.request.group)
        self._resizing = opened.batching.resizing(self._sizes.reference)
        sizes, self._folder = self._sizes, opened.folder
        if self._folder is not None:
            self._folder = self._folder.begun_with(sizes.at or (lambda _: sizes.largest), opened.options.epochs)
        self._max_bytes = read_ahead_bytes(sizes.largest, opened.task.data.sample_bytes)

    def run(self) -> Any:
        """Says what the run begins with, trains, and returns Keras' `History`."""
        sizes, recorder = self._sizes, self._recorder
        recorder.note(*self._remarks())
        recorder.begin(self._found, sizes.effective_batch_size, sizes.micro_batch_size, self._task.data.seed)
        before = read_memory_here()
        group, rescaled = self._task.request.group, self._resizing is not None
        self._engine = engine_for(self._model, self._task.samples, rescaled=rescaled, group=group)
        if not self._model.trainable_variables:
            recorder.note("The model has no trainable weights: it is run, as by Keras, and learns nothing.")
        warm_up_untouched(
            self._model,
            self._engine,
            self._task.samples[: sizes.micro_batch_size],
            accumulated=not self._resizes,
            evaluated=self._opened.validation is not None,
        )
        # The engine has to be there before anything is restored, the restored run before a controller looks at it.
        self._saver = None if self._folder is None else self._folder.saver(recorder.note)
        self._setup = self._controller_setup(before)
        validation = self._validation()
        resumed = None if self._folder is None else self._folder.restore(self._model, self._options.epochs)
        plan = self._plan(validation, resumed)
        runner = MicroBatchRunner(
            self._setup.controller("training", sizes.effective_batch_size, sizes.micro_batch_size),
            partial(near_equal, group=group),
        )
        try:
            return run(self._model, self._engine, self._task.data, runner, plan)
        finally:
            if validation is not None:
                validation.close()

    @property
    def _resizes(self) -> bool:
        return self._opened.batching.resizes

    def _remarks(self) -> list[str]:
        sizes, options, batching, task = self._sizes, self._options, self._opened.batching, self._task
        effective, samples = sizes.effective_batch_size, task.opened.samples
        if self._resizes:
            cutting = [resizing_remark(sizes.largest, batching.rule)]
        else:
            cutting = accumulation_remarks(
                self._traits, first_rung(sizes.largest, self._found.batch_size, task.request.group), sizes.largest
            )
        steps = options.steps_per_epoch
        updates = steps or (samples and number_of_updates(samples, effective))
        return [
            *cutting,
            *statistics_remarks(self._traits, effective),
            *step_remarks(stream=samples is None, effective=effective, steps_per_epoch=steps),
            *few_updates_remarks(updates, effective, chosen=task.request.mode != "micro"),
            *unused_rule_remarks(batching.rule, changes=batching.varies),
        ]

    def _controller_setup(self, before: Any) -> ControllerSetup:
        sizes = self._sizes
        # Said already where the run begins with updates that are cut.
        said = self._resizes or sizes.micro_batch_size < sizes.effective_batch_size
        check = CutCheck() if self._resizes else self._require_cuttable()
        if check.why_whole is not None:
            self._recorder.note(f"Updates are run whole, even if memory gets short: {check.why_whole}.")
        elif said:
            self._recorder.note(*check.notes)

        def remarks(micro: int, effective: int) -> list[str]:
            return [*accumulation_remarks(self._traits, micro, effective), *check.notes]

        return ControllerSetup(
            self._found,
            self._task.request,
            before,
            self._recorder,
            cuttable=check.why_whole is None,
            accumulator_bytes=0 if self._resizes else self._engine.accumulator_bytes(),
            saver=self._saver,
            remarks=None if said else remarks,
        )

    def _require_cuttable(self) -> CutCheck:
        """Whether updates may be cut smaller, should memory run out; refuses a model that has to be and may not."""
        if self._task.request.only_whole:
            return CutCheck("its batch size is fixed")
        micro, effective = self._found.batch_size, self._sizes.largest
        check = self._engine.check_cut(self._task.samples, max(2, micro))
        if check.why_whole is not None and micro < effective:
            msg = (
                f"An update of this model must not be cut: {check.why_whole}. So {effective} samples cannot be run in "
                f"micro-batches of {micro}. Give a batch_size of at most {micro}, or let the loss return one value a "
                "sample and choose its reduction."
            )
            raise ModelError(msg)
        return check

    def _validation(self) -> Validation | None:
        if self._opened.validation is None:
            return None
        effective = self._opened.validating.batch_size or self._sizes.effective_batch_size
        micro = first_rung(effective, self._sizes.micro_batch_size)
        return Validation(
            self._opened.validation.data,
            effective=effective,
            runner=MicroBatchRunner(self._setup.controller("validation", effective, micro)),
            steps=self._opened.validating.steps,
            workers=self._options.workers,
            max_bytes=self._max_bytes,
        )

    def _plan(self, validation: Validation | None, resumed: Any) -> TrainingPlan:
        return TrainingPlan.of(
            replace(self._options, shuffle=self._options.shuffle and self._task.opened.shuffles),
            effective_batch_size=self._sizes.effective_batch_size,
            validation=validation,
            validation_freq=self._opened.validating.freq,
            max_bytes=self._max_bytes,
            recorder=self._recorder,
            effective_at=self._sizes.at,
            policy_for=self._setup.next_policy,
            resizing=self._resizing,
            saver=self._saver,
            resumed=resumed,
        )
