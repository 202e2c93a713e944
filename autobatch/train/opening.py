"""Everything that a training works on, opened together: its data, those to validate on, and the run that goes on."""

from dataclasses import dataclass, replace
from typing import Any

from autobatch.data.check import require_compatible, require_fixed_size, require_whole_batches
from autobatch.data.open import OpenedData, few_of, keep_apart
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError
from autobatch.probing.cache import Cache
from autobatch.probing.request import Task, UserRequest
from autobatch.probing.tuner import find_batch_size
from autobatch.results.probe import ProbeResult
from autobatch.train.checkpoint.resume import RunFolder, run_facts
from autobatch.train.loop import RunOptions
from autobatch.train.recorder import Recorder
from autobatch.train.schedule import Batching, Sizes, choose_sizes
from autobatch.train.validation import ValidationOptions, require_random_access, require_steps


@dataclass(frozen=True, slots=True)
class OpenedTraining:
    task: Task  # the model, its data and the question of their batch size
    validation: OpenedData | None  # what it is validated on
    folder: RunFolder | None  # where it is saved, with what an earlier process has left
    options: RunOptions
    batching: Batching
    validating: ValidationOptions

    def sizes(self, found: ProbeResult) -> Sizes:
        first, epochs = self.options.initial_epoch, self.options.epochs
        return choose_sizes(
            self.task.request.effective_batch_size,
            found.batch_size,
            self.batching.schedule,
            samples=self.task.opened.samples,
            group=self.task.request.group,
            first_epoch=first if self.folder is None else self.folder.first_epoch(first, epochs),
        )


def open_training(
    request: UserRequest,
    options: RunOptions,
    batching: Batching,
    validating: ValidationOptions,
    folder: RunFolder | None,
    recorder: Recorder,
) -> OpenedTraining:
    """Opens what a training works on, and notes what was inferred."""
    if folder is not None:
        request = folder.continued(request, batching.schedule, options.epochs)

    def opens(data: Any, source: Any, data_options: DataOptions) -> OpenedData:
        given = validating.open_training(data, source, data_options)
        # Before anything is taken from a batch generator, which may end: as in Keras, that is the end of the training.
        require_steps(never_ends=given.infinite, steps_per_epoch=options.steps_per_epoch)
        return given

    task = request.open(opens)
    if task.request.only_whole:
        _require_whole(task, options, batching, validating)
    recorder.note(*task.notes)
    if folder is not None:
        folder = _checked(folder, request, task, options, batching)
        recorder.note(*folder.notes)
    validation, notes = validating.open(request, task.opened)
    recorder.note(*notes)
    if validation is not None:
        never_ends = validation.infinite or validation.ends_for_good
        require_steps(never_ends=never_ends, validation_steps=validating.steps)
        few = few_of(validation.data)
        require_compatible(request.model, few, "validation_data", step="evaluate")
        recorder.note(*(f"validation: {n}" for n in keep_apart(validation.data, request.model, validating.batch_size)))
        require_whole_batches(request.model, few, validation.samples, "validation_data")
    return OpenedTraining(task, validation, folder, options, batching, validating)


def find_size(task: Task, cache: Cache | None, recorder: Recorder) -> ProbeResult:
    """The batch size of a task, proven by trials.

    Raises:
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.
    """
    recorder.add_reading()
    found = find_batch_size(task.model, task.samples, task.request, cache=cache, on_trial=recorder.add_trial)
    recorder.add_probe(found)
    return found


def _require_whole(task: Task, options: RunOptions, batching: Batching, validating: ValidationOptions) -> None:
    """Refuses what would have a model that is fixed to one size run on another."""
    size, schedule = task.request.cap, batching.schedule
    for each in schedule.sizes(options.epochs, options.initial_epoch) if schedule else ():
        require_fixed_size(size, batch_size=each)
    require_fixed_size(size, validation_batch_size=validating.batch_size)
    if batching.resizes:
        msg = f"The model takes batches of {size} samples and no others, so no update can follow memory. "
        raise ArgumentError(f"{msg}Received: on_memory_pressure='resize'. Expected 'accumulate'.")
    require_whole_batches(task.model, task.samples, task.opened.samples)


def _checked(folder: RunFolder, request: UserRequest, task: Task, options: RunOptions, batching: Batching) -> RunFolder:
    """The folder with what this run is begun with; refuses a run that was begun with something else."""
    facts = run_facts(
        require_random_access(task.opened),
        request.source,
        request.class_weight,
        shuffle=bool(request.shuffle),
        steps_per_epoch=options.steps_per_epoch,
        on_memory_pressure=batching.on_memory_pressure,
        scale_learning_rate=batching.rule,
        batch_statistics="micro" if batching.group == 1 else batching.group,
        image_backend=getattr(task.data, "image_backend", request.image_backend),
    )
    folder.require_same(facts, task.opened.samples or 0, options.initial_epoch)
    folder.require_model(request.model)
    return replace(folder, run=facts)
