"""`autobatch.fit`: finds the batch size, proves it, and trains with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, Unpack, get_args

from autobatch._arguments import require_count, require_seconds
from autobatch.backend import engine_for, read_memory_here
from autobatch.backend.base import Engine
from autobatch.data.batch import Batch
from autobatch.data.check import require_compatible
from autobatch.data.images.transform import require_image_backend
from autobatch.data.open import OpenedData, few_of, open_data
from autobatch.data.options import DataOptions, FlowOptions, ImageBackend
from autobatch.data.splitting import number_of_updates
from autobatch.errors import ArgumentError, ModelError
from autobatch.memory.budget import Reserve
from autobatch.memory.sensors.nvml import hold_nvml
from autobatch.probing.probe import open_cache
from autobatch.probing.request import BatchSize, Task, prepare, read_ahead_bytes
from autobatch.probing.trials.steps import warm_up_untouched
from autobatch.probing.tuner import find_batch_size
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Event, RunReport
from autobatch.train.callbacks import require_callbacks
from autobatch.train.checkpoint.resume import RunFolder, open_run_folder, run_facts
from autobatch.train.checkpoint.saver import Saver
from autobatch.train.control.setup import ControllerSetup
from autobatch.train.learning_rate import Rule, parse_rule, scale
from autobatch.train.loop import Resizing, TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.recorder import Recorder
from autobatch.train.remarks import (
    accumulation_remarks,
    few_updates_remarks,
    resizing_remark,
    step_remarks,
    unused_rule_remarks,
)
from autobatch.train.run_log import run_log
from autobatch.train.schedule import Schedule, Sizes, choose_sizes, first_rung, parse_schedule
from autobatch.train.validation import (
    DataValidation,
    Validation,
    open_validation,
    parse_validation_split,
    require_random_access,
    require_steps,
)

OnMemoryPressure = Literal["accumulate", "resize"]
EffectiveBatch = BatchSize | Sequence[tuple[int, int]] | Callable[[int], int]


def fit(
    model: Any,
    data: Any,
    source: Any = None,
    *,
    batch_size: EffectiveBatch = "auto",
    on_memory_pressure: OnMemoryPressure = "accumulate",
    scale_learning_rate: Rule | None = None,
    epochs: int = 1,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    verbose: int | str = "auto",
    callbacks: Any = None,
    validation_data: Any = None,
    validation_split: float | None = None,
    validation_freq: int | Sequence[int] = 1,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    workers: int | None = None,
    image_backend: ImageBackend = "scipy",
    reserve: float | Reserve | None = None,
    max_batch_size: int | None = None,
    trial_timeout_s: float = 300.0,
    cache: bool | str | PathLike[str] = True,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every_s: float = 60.0,
    on_event: Callable[[Event], None] | None = None,
    log_dir: str | PathLike[str] | None = None,
    **flow: Unpack[FlowOptions],
) -> Any:
    """Trains a model with a batch size that is found, proven, and kept safe.

    Every sample is used once an epoch, in an order and with an augmentation that follow from the seed and the epoch
    alone; data that come as a stream keep their own order, and are cut and joined as they come. Memory is read between
    micro-batches: when others take of it, the next micro-batch is as small as it has to be, and when they leave it
    grows again. A micro-batch that runs out of memory all the same is rolled back and run again in smaller ones. The
    effective batch, and with it what is computed, stays.

    Keras' logs get `autobatch/micro_batch`, `autobatch/accumulation_steps` and `autobatch/headroom_bytes` (of the last
    reading, NaN where it is not known).

    Args:
        model: A compiled Keras model.
        data: An `ImageDataGenerator`, whose `validation_split` is used for training and validation; or data by
            themselves: a flow that such a generator has made (its fixed batch size is replaced), arrays `(x, y)` or
            `(x, y, sample_weight)` in whatever nests the model takes, a `keras.utils.PyDataset`, a `tf.data.Dataset`,
            batched or not, a Python generator of batches, or `autobatch.mix([...])` of several.
        source: What the generator reads: a folder with one subfolder of pictures for each class, arrays, or a dataframe
            (with `x_col`, `y_col` and `directory`). Targets, where `data` are arrays of inputs.
        batch_size: `"auto"` for the smallest size with 95 % of the best throughput, `"largest"` for the largest safe
            one, or the effective batch in samples, run in smaller micro-batches if it does not fit at once. Pairs
            `[(0, 64), (5, 128)]` of an epoch and the effective batch from then on, or a function from the epoch to it,
            change it under way, as Smith et al. (2018, arXiv 1711.00489) do instead of lowering the learning rate.
        on_memory_pressure: `"accumulate"` keeps the effective batch and accumulates gradients over smaller
            micro-batches. `"resize"` makes every micro-batch an update of its own: more and smaller ones while memory
            is tight, never more samples than `batch_size`.
        scale_learning_rate: How the learning rate follows an effective batch that changes: `"linear"` (for SGD) or
            `"sqrt"` (for Adam), relative to `batch_size` or that of the first epoch; it stays if left out. The rate
            that callbacks see and set stays the one for that reference; a schedule goes by updates of that size.
            Momentum is not corrected; `autobatch.train.learning_rate` says why.
        epochs: As in `model.fit`, like `initial_epoch`, `verbose`, `callbacks`, `validation_freq` and `class_weight`.
        initial_epoch: The epoch to begin with.
        steps_per_epoch: Updates in an epoch; one pass over the samples if left out, which data without end cannot do.
        verbose: 0 prints nothing.
        callbacks: Keras callbacks.
        validation_data: Another folder or dataframe of pictures, a pair of a generator and what it reads, or data in
            any of the forms above. Pictures are not transformed at random for validation, but by flows of your own.
        validation_split: The part of arrays, from their end, to validate on; above 0 and below 1.
        validation_freq: After which epochs to validate.
        validation_steps: Steps to validate on; all samples if left out.
        validation_batch_size: Samples in such a step, run in micro-batches that fit; `batch_size` if left out.
        class_weight: From class number to weight.
        shuffle: Whether samples are put in a new order in every epoch; a `PyDataset` its batches, a flow if it says so
            itself, too. Other streams have an order of their own.
        seed: What order and augmentation derive from; drawn if left out, and reported.
        workers: Threads that read pictures; by default one for each core, at most 8.
        image_backend: What rotates, shifts, shears and zooms pictures: `"scipy"`, which gives Keras' own, or
            `"opencv"`, faster and equal within a small tolerance (`pip install 'keras-autobatch[opencv]'`).
        reserve: What to leave free: a fraction of the capacity below 1, or bytes. 8 % by default, at least 128 MiB.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        checkpoint: A folder to save the run in, mid-epoch too, and to go on from if it holds a run that did not end.
            What callbacks remember of their own is not in it. It is emptied when the training is done. Not for streams.
        checkpoint_every_s: Seconds between two such saves within an epoch.
        on_event: Called with every `Decision` and every `Observation` of memory; what it raises ends the training.
        log_dir: A folder for the log of this run, which `autobatch report` makes a page of: a file of its own, one JSON
            object a line, whole at any moment. Its name is in `history.autobatch.log_file`.
        **flow: Whatever the generator's flow takes. What is left out is inferred from the model, and reported.

    Returns:
        Keras' `History`, with the `RunReport` of this run as `.autobatch`.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, cannot be trained in micro-batches, or does not fit the data.
        DataError: The data cannot be used; `.path` names the file.
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.
        MissingExtraError: OpenCV was asked for and is not installed.

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
    require_seconds(checkpoint_every_s=checkpoint_every_s)
    require_callbacks(callbacks)
    require_image_backend(image_backend)
    resizes = _require_when(on_memory_pressure) == "resize"
    rule, schedule = parse_rule(scale_learning_rate), parse_schedule(batch_size)
    with hold_nvml(), run_log(log_dir, verbose) as log, open_run_folder(checkpoint) as earlier:
        split = parse_validation_split(validation_split, validation_data)

        def opening(data: Any, source: Any, asked: DataOptions) -> OpenedData:
            given = open_data(data, source, asked) if split is None else split.open(data, source, asked)
            require_steps(given, steps_per_epoch=steps_per_epoch)  # before anything is taken from a generator
            return given

        task = prepare(
            model,
            data,
            source,
            flow,
            beside=fit.__kwdefaults__ or (),
            batch_size=_asked(batch_size, schedule, earlier, range(initial_epoch, epochs)),
            class_weight=class_weight,
            seed=seed if earlier is None else earlier.seed(seed),
            reserve=reserve,
            max_batch_size=max_batch_size if earlier is None else earlier.max_batch_size(max_batch_size),
            trial_timeout_s=trial_timeout_s,
            shuffle=shuffle,
            image_backend=image_backend,
            opens=opening,
        )
        if earlier is not None:
            facts = run_facts(
                require_random_access(task.opened),
                source,
                class_weight,
                shuffle=bool(shuffle),
                steps_per_epoch=steps_per_epoch,
                on_memory_pressure=on_memory_pressure,
                scale_learning_rate=rule,
                image_backend=getattr(task.data, "image_backend", image_backend),
            )
            earlier.require_same(facts, task.opened.samples or 0, initial_epoch)
            earlier.require_model(model)
        asked = DataOptions(model, task.data.seed, flow, shuffle=shuffle, image_backend=image_backend)
        if split is None:
            validation, said = open_validation(data, source, validation_data, task.opened, asked)
        else:
            validation, said = split.open_held_back(data, source, asked), ()
        if validation is not None:
            require_steps(validation, validation_steps=validation_steps)
            require_compatible(model, few_of(validation.data), "validation_data", step="evaluate")
        readings = [read_memory_here()]
        found = find_batch_size(model, task.samples, task.request, cache=open_cache(cache), on_trial=log.tried)
        log.found(found)
        sizes = choose_sizes(
            task.request.effective_batch_size,
            found.batch_size,
            schedule,
            samples=task.opened.samples,
            first_epoch=initial_epoch if earlier is None else earlier.first_epoch(initial_epoch, epochs),
        )
        saved = None
        if earlier is not None:
            saved = earlier.begun_with(facts, sizes.at or (lambda _: sizes.largest), epochs)
        resizing = Resizing(resizes, lambda size: scale(rule, size, sizes.reference), sizes.reference)
        report = RunReport(
            effective_batch_size=sizes.effective_batch_size,
            micro_batch_size=sizes.micro_batch_size,
            seed=task.data.seed,
            probe=found,
            readings=readings,
            notes=(
                *task.notes,
                *(() if earlier is None else earlier.notes),
                *said,
                *found.notes,
                *([resizing_remark(sizes.largest, rule)] if resizes else _what_cutting_means(model, sizes, found)),
                *step_remarks(
                    model,
                    stream=task.opened.samples is None,
                    effective=sizes.effective_batch_size,
                    steps_per_epoch=steps_per_epoch,
                ),
                *few_updates_remarks(
                    steps_per_epoch
                    or (task.opened.samples and number_of_updates(task.opened.samples, sizes.effective_batch_size)),
                    sizes.effective_batch_size,
                    chosen=task.request.mode != "micro",
                ),
                *unused_rule_remarks(rule, changes=resizes or schedule is not None),
            ),
            log_file=None if log.path is None else str(log.path),
        )
        report.say(verbose)
        log.begins(report)
        plan = TrainingPlan(
            effective_batch_size=sizes.effective_batch_size,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle and task.opened.shuffles,
            class_weight=class_weight,
            validation_freq=validation_freq,
            callbacks=callbacks,
            verbose=verbose,
            workers=workers,
            max_bytes=read_ahead_bytes(sizes.largest, task.data.sample_bytes),
            effective_at=sizes.at,
            resizing=resizing if resizes or (rule is not None and schedule is not None) else None,
        )
        diary = Recorder(report, on_event, log=log, verbose=verbose)
        beside = _Beside(validation, validation_steps, validation_batch_size, saved, checkpoint_every_s, diary)
        history = _train(model, task, sizes, report, plan, beside)
    history.autobatch = report
    return history


@dataclass(frozen=True, slots=True)
class _Beside:
    """What goes on beside the updates: validation in steps of a size, saving, writing down."""

    validation: OpenedData | None
    steps: int | None
    size: int | None
    saved: RunFolder | None
    every_s: float
    diary: Recorder


def _train(model: Any, task: Task, sizes: Sizes, report: RunReport, plan: TrainingPlan, beside: _Beside) -> Any:
    """Trains as planned, under a controller, and returns Keras' `History`."""
    before, saved, diary = read_memory_here(), beside.saved, beside.diary
    resizes = plan.resizing is not None and plan.resizing.follows_memory
    engine = engine_for(model, task.samples, rescaled=plan.resizing is not None)
    evaluated = beside.validation is not None
    warm_up_untouched(
        model, engine, task.samples[: sizes.micro_batch_size], accumulated=not resizes, evaluated=evaluated
    )
    keeper = None if saved is None else _keeper(saved, beside.every_s, diary)
    steering = ControllerSetup(
        report.probe,
        task.request,
        before,
        diary,
        cuttable=resizes or _require_cuttable(engine, task.samples, sizes.largest, report.probe.batch_size),
        accumulator_bytes=0 if resizes else engine.accumulator_bytes(),
        running=None if saved is None else saved.journal.write,
        urge=None if keeper is None else keeper.urge,
        # Said already where the run begins with updates that are cut.
        cut=None
        if resizes or sizes.micro_batch_size < sizes.effective_batch_size
        else lambda micro, effective: accumulation_remarks(model, micro, effective),
    )
    validation = _validation(beside, report, steering, plan)
    plan = replace(
        plan,
        validation=validation,
        progress=diary.progress,
        after_epoch=lambda epoch, logs: _after_epoch(report, diary, epoch, logs),
        policy_for=steering.next_policy,
        keeper=keeper,
        standing=None if saved is None else saved.restore(model, plan.epochs),
    )
    cutter = MicroBatchRunner(steering.controller("training", sizes.effective_batch_size, sizes.micro_batch_size))
    try:
        return run(model, engine, task.data, cutter, plan)
    finally:
        if validation is not None:
            validation.close()


def _keeper(saved: RunFolder, every_s: float, diary: Recorder) -> Saver:
    return Saver(
        saved.checkpoint,
        every_s,
        saved.journal,
        run=saved.run,
        ceiling=saved.max_micro_batch_size,
        lasting=saved.lasting,
        note=diary.note,
    )


def _require_when(when: Any) -> OnMemoryPressure:
    if when in get_args(OnMemoryPressure):
        return when  # type: ignore[no-any-return]
    msg = (
        "A training cannot respond to memory pressure this way. "
        f"Received: on_memory_pressure={when!r}. Expected 'accumulate' or 'resize'."
    )
    raise ArgumentError(msg)


def _asked(batch_size: Any, schedule: Schedule | None, saved: RunFolder | None, epochs: range) -> Any:
    """The effective batch to look for: the largest of a schedule, that of the run that goes on, or what was given."""
    if schedule is not None:
        if saved is not None:
            saved.require_schedule(schedule, epochs.stop)
        return schedule.largest(epochs.stop, epochs.start)
    return batch_size if saved is None else saved.batch_size(batch_size)


def _what_cutting_means(model: Any, sizes: Sizes, found: ProbeResult) -> list[str]:
    return accumulation_remarks(model, first_rung(sizes.largest, found.batch_size), sizes.largest)


def _validation(beside: _Beside, report: RunReport, steering: ControllerSetup, plan: TrainingPlan) -> Validation | None:
    if beside.validation is None:
        return None
    effective = beside.size or report.effective_batch_size
    return DataValidation(
        beside.validation.data,
        effective=effective,
        cutter=MicroBatchRunner(
            steering.controller("validation", effective, first_rung(effective, report.micro_batch_size))
        ),
        steps=beside.steps,
        workers=plan.workers,
        max_bytes=plan.max_bytes,
    )


def _require_cuttable(engine: Engine, samples: Batch, effective: int, micro: int) -> bool:
    """Whether updates may be cut smaller, should memory run out.

    Raises:
        ModelError: They have to be cut, and the loss does not allow it.
    """
    cuttable = engine.can_be_cut(samples[: max(2, micro)])
    if not cuttable and micro < effective:
        msg = (
            "The loss is neither a mean nor a sum over samples (on a few samples, cutting them changed the gradient), "
            f"so {effective} samples cannot be run in micro-batches of {micro}. Give a batch_size of at most {micro}, "
            "or let the loss return one value a sample and choose its reduction."
        )
        raise ModelError(msg)
    return cuttable


def _after_epoch(report: RunReport, diary: Recorder, epoch: int, logs: Mapping[str, Any]) -> None:
    diary.epoch_ended(epoch, logs)
    try:
        report.readings.append(read_memory_here())
    except Exception as error:  # noqa: BLE001 - whatever a sensor raises, the training does not depend on it
        diary.note(f"Memory could not be read after the epoch ({error!r}).")
