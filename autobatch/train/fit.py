"""`autobatch.fit`: finds the batch size, proves it, and trains with it."""

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Unpack

import keras

from autobatch.data.batch import Batch
from autobatch.data.cut import rungs
from autobatch.data.options import FlowOptions
from autobatch.errors import ModelError
from autobatch.memory.read import read_memory
from autobatch.memory.reading import Reserve
from autobatch.probing.arguments import BatchSize, require_count
from autobatch.probing.find import find
from autobatch.probing.run import open_cache
from autobatch.probing.task import READ_AHEAD_BYTES, prepare
from autobatch.probing.warming import warm_up_untouched
from autobatch.step.backend import engine_for
from autobatch.step.engine import Engine
from autobatch.train.held_out import held_out
from autobatch.train.loop import Plan, Progress, require_callbacks, run
from autobatch.train.report import Decision, RunReport
from autobatch.train.updating import Cutter
from autobatch.train.validating import KerasValidation, SourceValidation, Validation

_log = logging.getLogger("autobatch")


def fit(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    *,
    batch_size: BatchSize = "auto",
    epochs: int = 1,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    verbose: int | str = "auto",
    callbacks: Any = None,
    validation_data: Any = None,
    validation_freq: int | Sequence[int] = 1,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    reserve: float | Reserve | None = None,
    max_batch_size: int | None = None,
    trial_timeout_s: float = 300.0,
    cache: bool | str | PathLike[str] = True,
    **flow: Unpack[FlowOptions],
) -> Any:
    """Trains a model on a folder of pictures with a batch size that is found, proven, and kept safe.

    Every sample is used once an epoch, in an order and with an augmentation that follow from the seed and the epoch
    alone. A micro-batch that runs out of memory all the same is rolled back and run again in smaller ones; the
    effective batch, and with it what is computed, stays.

    Args:
        model: A compiled Keras model.
        datagen: An `ImageDataGenerator`. Its `validation_split` is used for training and validation.
        directory: A folder with one subfolder of pictures for each class.
        batch_size: `"auto"` for the smallest size with 95 % of the best throughput, `"largest"` for the largest safe
            one, or the effective batch in samples, run in smaller micro-batches if it does not fit at once.
        epochs: As in `model.fit`, like `initial_epoch`, `verbose`, `callbacks`, `validation_freq` and `class_weight`.
        initial_epoch: The epoch to begin with.
        steps_per_epoch: Updates in an epoch; one pass over the samples if left out.
        verbose: 0 prints nothing.
        callbacks: Keras callbacks.
        validation_data: Another folder of pictures, a pair of a generator and a folder, or anything `model.evaluate`
            takes. Pictures of a folder are not transformed at random for validation.
        validation_freq: After which epochs to validate.
        validation_steps: Steps to validate on; all samples if left out.
        validation_batch_size: Samples in such a step, run in micro-batches that fit; `batch_size` if left out.
        class_weight: From class number to weight.
        shuffle: Whether samples are put in a new order in every epoch.
        seed: What order and augmentation derive from; drawn if left out, and reported.
        workers: Threads that read pictures; by default one for each core, at most 8.
        reserve: What to leave free: a fraction of the capacity below 1, or bytes. 8 % by default, at least 128 MiB.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        **flow: Whatever `flow_from_directory` takes. What is left out is inferred from the model, and reported.

    Returns:
        Keras' `History`, with the `RunReport` of this run as `.autobatch`.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, cannot be trained in micro-batches, or does not fit the folder.
        DataError: The folder or a picture cannot be used; `.path` names it.
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.

    Example:
        ```python
        datagen = ImageDataGenerator(rescale=1 / 255, horizontal_flip=True, validation_split=0.1)
        history = autobatch.fit(model, datagen, "data/train", epochs=5)
        print(history.autobatch)
        ```
    """
    require_count(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_steps=validation_steps,
        validation_batch_size=validation_batch_size,
        workers=workers,
    )
    require_count(least=0, initial_epoch=initial_epoch)
    require_callbacks(callbacks)
    task = prepare(
        model,
        datagen,
        directory,
        flow,
        beside=fit.__kwdefaults__ or (),
        batch_size=batch_size,
        class_weight=class_weight,
        seed=seed,
        reserve=reserve,
        max_batch_size=max_batch_size,
        trial_timeout_s=trial_timeout_s,
    )
    validation, said = held_out(model, datagen, directory, validation_data, task.source, flow)
    readings = [read_memory()]
    found = find(model, task.samples, task.question, cache=open_cache(cache))
    report = RunReport(
        effective=task.question.effective or found.batch_size,
        micro=found.batch_size,
        seed=task.source.seed,
        probe=found,
        readings=readings,
        notes=(
            *task.notes,
            *said,
            *found.notes,
            *_what_cutting_means(model, found.batch_size, task.question.effective),
        ),
    )
    _say(report, verbose)
    progress = Progress()
    plan = Plan(
        effective=report.effective,
        epochs=epochs,
        initial_epoch=initial_epoch,
        steps_per_epoch=steps_per_epoch,
        shuffle=shuffle,
        class_weight=class_weight,
        validation=_validation(validation, report, progress, validation_steps, validation_batch_size, workers),
        after_epoch=lambda: readings.append(read_memory()),
        validation_freq=validation_freq,
        callbacks=callbacks,
        verbose=verbose,
        workers=workers,
        max_bytes=READ_AHEAD_BYTES,
        progress=progress,
    )
    engine = engine_for(model, task.samples)
    warm_up_untouched(
        model,
        engine,
        task.samples[: report.micro],
        accumulated=report.micro < report.effective,
        evaluated=hasattr(validation, "read"),
    )
    cuttable = _require_cuttable(engine, task.samples, report)
    history = run(model, engine, task.source, _cutter(report, progress, "training", cuttable=cuttable), plan)
    history.autobatch = report
    return history


def _what_cutting_means(model: Any, micro: int, effective: int | None) -> list[str]:
    """What a user should know whose updates are run in several micro-batches."""
    if effective is None or micro >= effective:
        return []
    said = []
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers())
    if norms:
        said.append(
            f"The model's {norms} BatchNormalization layers normalise by the statistics of the micro-batch, {micro} "
            f"samples, not of all {effective}; their moving averages keep their time constant."
        )
    if type(model).train_step.__module__.partition(".")[0] != "keras":
        said.append(
            "The model has a train_step of its own: updates in several micro-batches are exact if its loss is a mean "
            "over samples, and if it changes gradients only through the optimizer."
        )
    return said


def _validation(
    data: Any, report: RunReport, progress: Progress, steps: int | None, size: int | None, workers: int | None
) -> Validation | None:
    if data is None:
        return None
    if not hasattr(data, "read"):
        cutter = _cutter(report, progress, "validation", first=min(size or report.micro, report.micro))
        return KerasValidation(data, cutter=cutter, steps=steps)
    return SourceValidation(
        data,
        effective=size or report.effective,
        cutter=_cutter(report, progress, "validation"),
        steps=steps,
        workers=workers,
        max_bytes=READ_AHEAD_BYTES,
    )


def _require_cuttable(engine: Engine, samples: Batch, report: RunReport) -> bool:
    """Whether updates may be cut smaller, should memory run out.

    Raises:
        ModelError: They have to be cut, and the loss does not allow it.
    """
    cuttable = engine.can_be_cut(samples[: max(2, report.micro)])
    if not cuttable and report.micro < report.effective:
        msg = (
            "The loss is neither a mean nor a sum over samples (on a few samples, cutting them changed the gradient), "
            f"so {report.effective} samples cannot be run in micro-batches of {report.micro}. Give a batch_size of at "
            f"most {report.micro}, or let the loss return one value a sample and choose its reduction."
        )
        raise ModelError(msg)
    return cuttable


def _cutter(
    report: RunReport, progress: Progress, phase: str, *, first: int | None = None, cuttable: bool = True
) -> Cutter:
    def shrunk(before: int, after: int, reason: str) -> None:
        report.decisions.append(Decision(progress.epoch, progress.update, phase, before, after, reason))
        _log.warning("%s", report.decisions[-1])

    ladder = rungs(report.effective, report.micro) if cuttable else ()
    return Cutter(first or report.micro, ladder, shrunk)


def _say(report: RunReport, verbose: Any) -> None:
    for line in (report.chosen(), *report.notes):
        _log.info("%s", line)
    if verbose != 0:
        print(report.chosen(), *report.notes, sep="\n", flush=True)  # noqa: T201 - as Keras prints its progress
