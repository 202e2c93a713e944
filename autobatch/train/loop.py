"""The training loop: Keras' callbacks, metrics, validation and History, on updates of our own.

Keras' `fit` cannot change a batch size under way; this loop follows it call for call in everything else.

An epoch is a sequence of windows: as many samples as the effective batch has. With the effective batch held, a window
is an update. With an effective batch that follows memory, a window of the reference size is cut into as many updates as
it takes, so that epochs, positions and the clock of a learning-rate schedule stay where they were.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any

import keras

from autobatch._arguments import require_count
from autobatch._text import format_count
from autobatch.backend.base import Engine
from autobatch.data.epoch import number_of_updates
from autobatch.data.source import Source, Stream
from autobatch.train.callbacks import Executions, callback_list, require_callbacks, steps_to_run
from autobatch.train.checkpoint.saver import Saver
from autobatch.train.checkpoint.store import CheckpointState
from autobatch.train.control.policy import Policy
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed, PassOptions, passes_of
from autobatch.train.recorder import Recorder
from autobatch.train.schedule import Resizing
from autobatch.train.validation import Validation

_DRY = "The data come to an end"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The arguments of `fit` that say how long it trains, and how that is shown; checked."""

    epochs: int = 1  # the epoch to end before
    initial_epoch: int = 0  # the epoch to begin with
    steps_per_epoch: int | None = None  # updates in an epoch; one pass over the samples if `None`
    shuffle: bool = True  # whether samples are put in a new order in every pass
    class_weight: Mapping[int, float] | None = None  # from class number to weight
    callbacks: Any = None  # Keras callbacks, or a `CallbackList`
    verbose: Any = "auto"  # as in `model.fit`
    workers: int | None = None  # threads that read
    log_memory: bool = False  # whether Keras' logs get the sizes and the headroom

    def __post_init__(self) -> None:
        require_count(epochs=self.epochs, steps_per_epoch=self.steps_per_epoch, workers=self.workers)
        require_count(least=0, initial_epoch=self.initial_epoch)
        require_callbacks(self.callbacks)

    def limited(self, model: Any) -> "RunOptions":
        """As Keras would run it: within its own limits, in whole executions."""
        most, epochs = keras.config.max_epochs(), self.epochs
        if most and most < epochs:
            warnings.warn(f"keras.config.max_epochs() limits the epochs to {most}.", stacklevel=3)
            epochs = most
        return replace(self, epochs=epochs, steps_per_epoch=steps_to_run(model, steps_per_epoch=self.steps_per_epoch))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan(RunOptions):
    effective_batch_size: int  # samples behind one update
    validation: Validation | None = None  # what to evaluate on after an epoch
    validation_freq: int | Sequence[int] = 1  # after which epochs: every so many, or those numbers, counted from 1
    max_bytes: int = 64 * 2**20  # the most to read ahead
    recorder: Recorder = field(default_factory=Recorder)  # told where the run stands, and of every epoch
    effective_at: Callable[[int], int] | None = None  # from the epoch to its effective batch, if that changes
    policy_for: Callable[[int], Policy] | None = None  # from another effective batch to the policy for it
    resizing: Resizing | None = None  # how learning rate and updates follow the effective batch, if they do
    saver: Saver | None = None  # saves the run every now and then
    resumed: CheckpointState | None = None  # where to go on; from the beginning if `None`

    @classmethod
    def of(cls, options: RunOptions, **more: Any) -> "TrainingPlan":
        return cls(**{entry.name: getattr(options, entry.name) for entry in fields(RunOptions)}, **more)

    def effective_of(self, epoch: int) -> int:
        return self.effective_batch_size if self.effective_at is None else self.effective_at(epoch)

    def reading(self) -> PassOptions:
        return PassOptions(self.effective_of, self.steps_per_epoch, self.shuffle, self.workers, self.max_bytes)


def run(model: Any, engine: Engine, data: Source | Stream, runner: MicroBatchRunner, plan: TrainingPlan) -> Any:
    """Trains the model and returns its `History`.

    Where data come to an end before the last epoch does, training ends there, with a warning, as in Keras.

    Errors of the user's callbacks, data and model pass through; no thread is left behind.
    """
    return _Loop(model, engine, data, runner, plan).go()


class _Loop:
    def __init__(
        self, model: Any, engine: Engine, data: Source | Stream, runner: MicroBatchRunner, plan: TrainingPlan
    ) -> None:
        self._model, self._engine, self._runner, self._plan = model, engine, runner, plan
        self._passes = passes_of(data, plan.reading())
        self._controller = runner.controller
        self._effective = plan.effective_batch_size
        steps = self._passes.updates(plan.initial_epoch)
        self._callbacks, self._bar = callback_list(
            model, plan.callbacks, verbose=plan.verbose, epochs=plan.epochs, steps=steps
        )
        hooks = self._callbacks.on_train_batch_begin, self._callbacks.on_train_batch_end
        self._executions = Executions(model, *hooks)

    def go(self) -> Any:
        model, plan, resumed = self._model, self._plan, self._plan.resumed
        model.stop_training = False
        self._callbacks.on_train_begin()
        first = plan.initial_epoch if resumed is None else resumed.epoch
        first = getattr(model, "_initial_epoch", None) or first
        if resumed is not None:
            model.history.epoch = list(resumed.epochs_done)
            model.history.history = {name: list(values) for name, values in resumed.history.items()}
        last_logs, ended = None, resumed
        if first < plan.epochs and (resumed is None or not resumed.finished):
            # Updates of the reference batch that the optimizer has behind it.
            iterations = keras.ops.convert_to_tensor(model.optimizer.iterations)
            self._clock = float(iterations) if resumed is None else resumed.clock
            self._begun = resumed.update if resumed is not None and resumed.epoch == first else 0
            with self._passes.open(first, plan.epochs, resumed) as self._supply:
                skipped = 0.0 if plan.resizing is None else self._passes.skipped / plan.resizing.reference
                self._pass_clock = self._clock - skipped
                self._feed = Feed(self._supply, plan.class_weight)
                # Killed before the next save, the run would begin anew with another seed.
                self._save(first, self._begun, at_once=True)
                last_logs = self._epochs(range(first, plan.epochs))
                ended = None if plan.saver is None else self._checkpoint(plan.recorder.progress.epoch + 1, 0)
        self._engine.finish()
        self._callbacks.on_train_end(logs=last_logs)
        if plan.saver is not None:
            plan.saver.finish(model, ended)
        return model.history

    def _epochs(self, epochs: range) -> dict[str, Any] | None:
        model, plan, logs = self._model, self._plan, None
        for epoch in epochs:
            if self._passes.only_one and not self._supply.window(1):
                warnings.warn(f"{_DRY} before epoch {epoch + 1}, and so does the training.", stacklevel=1)
                break
            plan.recorder.progress.epoch, plan.recorder.progress.update = epoch, self._begun
            if not self._begun:
                model.reset_metrics()
            self._adopt(epoch)
            self._callbacks.on_epoch_begin(epoch)
            last = self._one_epoch(epoch)
            logs = dict(model._get_metrics_result_or_logs(last)) | self._own_logs()
            if plan.validation is not None and model._should_eval(epoch, plan.validation_freq):
                results = plan.validation.run(model, self._engine, self._callbacks)
                logs.update((f"val_{name}", value) for name, value in results.items())
            plan.recorder.end_epoch(epoch, logs)
            self._callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
            self._save(epoch + 1, 0, at_once=True)
        return logs

    def _adopt(self, epoch: int) -> None:
        """Goes over to the effective batch of an epoch."""
        plan, effective = self._plan, self._plan.effective_of(epoch)
        self._controller.pause()
        if effective != self._effective and plan.policy_for is not None:
            self._controller.adopt(
                plan.policy_for(effective), f"the effective batch is {format_count(effective, 'sample')} now"
            )
        self._effective = effective
        self._expect(self._begun, self._windows_left(epoch, self._begun))

    def _one_epoch(self, epoch: int) -> Any:
        most = self._passes.updates(epoch)
        begun, self._begun = self._begun, 0
        # All updates of an epoch may have been done before the run was interrupted.
        logs: Any = self._model.get_metrics_result() if begun else {}
        step = begun
        for window in count(begun) if most is None else range(begun, most):
            # A full effective batch, or what the pass has left: an update never spans two passes.
            whole = left = self._supply.window(self._effective)
            if not whole:
                warnings.warn(
                    f"{_DRY} after {step} updates of epoch {epoch + 1}, and so does the training.", stacklevel=1
                )
                self._model.stop_training = True
            while left and not self._model.stop_training:
                self._expect(step, self._windows_left(epoch, window + 1), left)
                logs, size = self._update(step, whole, left)
                left, step = left - size, step + 1
            if self._model.stop_training:
                break
            self._clock += self._updates_of(whole)
            # To look further than is needed would be to wait for what a slow batch generator makes next.
            if not self._passes.only_one and self._supply.ended:
                self._end_pass()
            self._save(epoch, window + 1)
            if (most is None or not self._passes.only_one) and self._supply.ended:
                self._warn_if_short(window + 1)
                break
        self._executions.finish()
        return logs

    def _warn_if_short(self, updates: int) -> None:
        """Says that an epoch ends with its pass, as in Keras, where more updates were asked for."""
        steps = self._plan.steps_per_epoch
        if steps is not None and updates < steps:
            warnings.warn(f"{_DRY} after {updates} of {steps} updates, and so does the epoch.", stacklevel=1)

    def _windows_left(self, epoch: int, done: int) -> int | None:
        """How many windows an epoch has left after `done`; for streams as in the pass before, `None` in the first."""
        windows = self._passes.updates(epoch)
        if windows is None and self._passes.length is not None:
            windows = max(done, number_of_updates(self._passes.length, self._effective))
        return None if windows is None else windows - done

    def _update(self, step: int, whole: int, left: int) -> tuple[Any, int]:
        """Runs the next update of a window of `whole` samples, of which `left` are left; returns how many it took."""
        self._plan.recorder.progress.update = step
        self._executions.begin(step)
        done = self._updates_of(whole) * (whole - left) / whole
        if self._follows_memory:
            # The short window at the end of a pass is no smaller batch: plain Keras keeps the rate there, too.
            short = whole < self._effective
            logs, size = self._runner.step(
                self._engine, self._feed, left, lambda part: self._rescale(done, self._in_force if short else part)
            )
        else:
            self._rescale(done, self._effective)
            logs, size = self._runner.update(self._engine, self._feed, left), left
        self._executions.end(step, lambda: {**logs, **self._own_logs()})
        return logs, size

    def _updates_of(self, window: int) -> float:
        resizing = self._plan.resizing
        return 1.0 if resizing is None else resizing.updates_of(window, self._effective)

    def _end_pass(self) -> None:
        """Sets the clock to what the reference batch would have made of the pass, whatever it was cut into."""
        samples_of_pass, resizing = self._passes.end_pass(), self._plan.resizing
        if resizing is not None:
            self._clock = self._pass_clock + math.ceil(samples_of_pass / resizing.reference)
            self._pass_clock = self._clock

    @property
    def _follows_memory(self) -> bool:
        return self._plan.resizing is not None and self._plan.resizing.follows_memory

    @property
    def _in_force(self) -> int:
        """The effective batch as it is now, whatever the last updates of a window come to."""
        if not self._follows_memory:
            return self._effective
        return self._runner.cut(self._effective, self._controller.micro_batch_size)[0]

    def _rescale(self, done: float, size: int) -> None:
        if self._plan.resizing is not None:
            self._engine.rescale(self._plan.resizing.rate(size), self._clock + done)

    def _expect(self, steps_done: int, windows_left: int | None, samples_left: int = 0) -> None:
        """Tells the progress bar and the callbacks how many updates this epoch comes to, as things stand."""
        steps = None
        if windows_left is not None:
            steps = steps_done + windows_left * -(-self._effective // self._in_force)
            steps += -(-samples_left // self._in_force)
        if self._callbacks.params.get("steps") != steps:
            self._callbacks.set_params({**self._callbacks.params, "steps": steps})
            if self._bar is not None:
                self._bar.expect(steps)

    def _own_logs(self) -> dict[str, Any]:
        if not self._plan.log_memory:
            return {}
        micro, headroom = min(self._controller.micro_batch_size, self._in_force), self._controller.headroom_bytes
        return {
            "autobatch/micro_batch": micro,
            "autobatch/accumulation_steps": -(-self._in_force // micro),
            "autobatch/headroom_bytes": math.nan if headroom is None else float(headroom),
        }

    def _save(self, epoch: int, update: int, *, at_once: bool = False) -> None:
        saver = self._plan.saver
        if saver is not None and (at_once or saver.due):
            saver.save(self._model, self._checkpoint(epoch, update))

    def _checkpoint(self, epoch: int, update: int) -> CheckpointState:
        number, position = self._passes.position()
        history = self._model.history
        return CheckpointState(
            epoch=epoch,
            update=update,
            pass_number=number,
            position=position,
            effective_batch_size=self._plan.effective_of(min(epoch, self._plan.epochs - 1)),
            max_micro_batch_size=self._controller.max_micro_batch_size,
            seed=self._passes.seed,
            samples=self._passes.length or 0,
            history=history.history,
            epochs_done=list(history.epoch),
            clock=self._clock,
        )
