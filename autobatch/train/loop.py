"""The training loop: Keras' callbacks, metrics, validation and History, on updates of our own.

Keras' `fit` cannot change a batch size under way; this loop follows it call for call in everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from autobatch.data.cut import number_of_updates
from autobatch.data.loader import Loader
from autobatch.data.order import sequential, shuffled
from autobatch.data.source import Source
from autobatch.errors import ArgumentError
from autobatch.step.engine import Engine
from autobatch.train.feed import Feed
from autobatch.train.updating import Cutter
from autobatch.train.validating import Validation


@dataclass(slots=True)
class Progress:
    """Where a run stands: the epoch and the update of that epoch, both counted from 0."""

    epoch: int = 0
    update: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do.

    Attributes:
        effective: Samples behind one update.
        epochs: The epoch to end before.
        initial_epoch: The epoch to begin with.
        steps_per_epoch: Updates in an epoch; one pass over the samples if `None`.
        shuffle: Whether samples are put in a new order in every pass.
        class_weight: From class number to weight.
        validation: What to evaluate on after an epoch.
        validation_freq: After which epochs: every so many, or those numbers, counted from 1.
        callbacks: Keras callbacks, or a `CallbackList`.
        verbose: As in `model.fit`.
        workers: Threads that read.
        max_bytes: The most to read ahead.
        progress: Kept up to date for whoever wants to know.
        after_epoch: Called when an epoch has ended.
    """

    effective: int
    epochs: int = 1
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    shuffle: bool = True
    class_weight: Mapping[int, float] | None = None
    validation: Validation | None = None
    validation_freq: int | Sequence[int] = 1
    callbacks: Any = None
    verbose: Any = "auto"
    workers: int | None = None
    max_bytes: int = 64 * 2**20
    progress: Progress = field(default_factory=Progress)
    after_epoch: Callable[[], None] = lambda: None


def run(model: Any, engine: Engine, source: Source, cutter: Cutter, plan: Plan) -> Any:
    """Trains the model and returns its `History`.

    Errors of the user's callbacks, data and model pass through; no thread is left behind.
    """
    steps = plan.steps_per_epoch or number_of_updates(len(source), plan.effective)
    callbacks = _callback_list(model, plan, steps)
    model.stop_training = False
    callbacks.on_train_begin()
    first = getattr(model, "_initial_epoch", None) or plan.initial_epoch
    last_logs = None
    if first < plan.epochs:
        with _loader(source, plan, first, steps) as loader:
            last_logs = _epochs(model, engine, loader, cutter, plan, range(first, plan.epochs), steps, callbacks)
    engine.finish()
    callbacks.on_train_end(logs=last_logs)
    return model.history


def _loader(source: Source, plan: Plan, first: int, steps: int) -> Loader:
    """The samples from the first update of epoch `first` on, as a run from the beginning would have come to them."""
    per_pass = number_of_updates(len(source), plan.effective)
    first_pass, updates_done = divmod(first * steps, per_pass)
    order = shuffled(source.seed, len(source)) if plan.shuffle else sequential(len(source))

    def remaining(number: int) -> Any:
        return order(number)[updates_done * plan.effective :] if number == first_pass else order(number)

    return Loader(
        source,
        order=remaining,
        start_epoch=first_pass,
        passes=-(-plan.epochs * steps // per_pass) - first_pass,
        workers=plan.workers,
        max_bytes=plan.max_bytes,
    )


def _epochs(
    model: Any,
    engine: Engine,
    loader: Loader,
    cutter: Cutter,
    plan: Plan,
    epochs: range,
    steps: int,
    callbacks: Any,
) -> dict[str, Any] | None:
    feed = Feed(loader, plan.class_weight)
    logs: dict[str, Any] | None = None
    for epoch in epochs:
        plan.progress.epoch = epoch
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        last = _one_epoch(model, engine, loader, feed, cutter, plan, steps, callbacks)
        logs = dict(model._get_metrics_result_or_logs(last))
        if plan.validation is not None and model._should_eval(epoch, plan.validation_freq):
            results = plan.validation.run(model, engine, callbacks)
            logs.update((f"val_{name}", value) for name, value in results.items())
        plan.after_epoch()
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    return logs


def _one_epoch(
    model: Any, engine: Engine, loader: Loader, feed: Feed, cutter: Cutter, plan: Plan, steps: int, callbacks: Any
) -> Any:
    logs: Any = {}
    for step in range(steps):
        plan.progress.update = step
        callbacks.on_train_batch_begin(step)
        logs = cutter.update(engine, feed, _samples_of_next_update(loader, plan.effective))
        callbacks.on_train_batch_end(step, logs)
        if model.stop_training:
            break
    return logs


def _samples_of_next_update(loader: Loader, effective: int) -> int:
    """A full effective batch, or what the pass has left: an update never spans two passes."""
    return min(effective, loader.remaining or loader.pass_length)


def require_callbacks(callbacks: Any) -> None:
    """Refuses what `model.fit` would only stumble over once training begins.

    Raises:
        ArgumentError: Something among them is no callback of Keras.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return
    for callback in keras.tree.flatten(callbacks):
        if callback is not None and not isinstance(callback, keras.callbacks.Callback):
            msg = f"Received: callbacks with {callback!r}. Expected instances of keras.callbacks.Callback."
            raise ArgumentError(msg)


def _callback_list(model: Any, plan: Plan, steps: int) -> Any:
    if isinstance(plan.callbacks, keras.callbacks.CallbackList):
        return plan.callbacks
    return keras.callbacks.CallbackList(
        plan.callbacks,
        add_history=True,
        add_progbar=plan.verbose != 0,
        verbose=plan.verbose,
        epochs=plan.epochs,
        steps=steps,
        model=model,
    )
