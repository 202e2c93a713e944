"""`autobatch.fit`: finds the batch size, proves it, and trains with it."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Unpack

from autobatch._arguments import require_seconds
from autobatch.data.options import FlowOptions, ImageBackend, require_options
from autobatch.memory.budget import Reserve
from autobatch.memory.sensors.nvml import nvml_session
from autobatch.probing.probe import open_cache
from autobatch.probing.request import UserRequest
from autobatch.results.run import Event
from autobatch.train.callbacks import steps_to_run
from autobatch.train.checkpoint.resume import open_run_folder
from autobatch.train.learning_rate import Rule
from autobatch.train.loop import RunOptions
from autobatch.train.opening import find_size, open_training
from autobatch.train.recorder import Recorder
from autobatch.train.schedule import Batching, BatchStatistics, EffectiveBatch, OnMemoryPressure
from autobatch.train.trainer import Trainer
from autobatch.train.validation import ValidationOptions


def fit(
    model: Any,
    data: Any,
    source: Any = None,
    *,
    batch_size: EffectiveBatch = "auto",
    on_memory_pressure: OnMemoryPressure = "accumulate",
    scale_learning_rate: Rule | None = None,
    batch_statistics: BatchStatistics = "micro",
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
    log_memory: bool = False,
    **flow: Unpack[FlowOptions],
) -> Any:
    """Trains a model with a batch size that is found, proven, and kept safe.

    Every sample is used once an epoch, in an order and with an augmentation that follow from seed and epoch alone.
    Micro-batches shrink when others need memory and grow back; what runs out is rolled back and run in smaller ones.

    Args:
        model: A compiled Keras model.
        data: An `ImageDataGenerator`, a flow of one, arrays `(x, y)` or `(x, y, sample_weight)`, a `PyDataset`, a
            `tf.data.Dataset`, a Python generator of batches, or `autobatch.mix([...])`.
        source: What the generator reads: a folder with one subfolder a class, arrays or a dataframe; or targets.
        batch_size: `"auto"` (smallest with 95 % of the best throughput), `"largest"`, the effective batch in samples
            or, for each epoch, pairs `[(0, 64), (5, 128)]` or a function (Smith et al. 2018, arXiv 1711.00489).
        on_memory_pressure: `"accumulate"` gradients over micro-batches, or `"resize"`: each one is an update.
        scale_learning_rate: How the rate follows the effective batch: `"linear"` (SGD) or `"sqrt"` (Adam).
        batch_statistics: What BatchNorm sees: `"micro"`-batches, or groups of so many samples (arXiv 1705.08741).
        epochs: As in `model.fit`.
        initial_epoch: The epoch to begin with.
        steps_per_epoch: Updates in an epoch, which ends with its pass as in Keras; one pass if left out.
        verbose: 0 prints nothing.
        callbacks: Keras callbacks.
        validation_data: A folder, a dataframe, `(generator, source)`, or any data as above.
        validation_split: The part of arrays, from their end, to validate on; above 0 and below 1.
        validation_freq: After which epochs to validate.
        validation_steps: Steps to validate on; all samples if left out.
        validation_batch_size: Samples in such a step; `batch_size` if left out.
        class_weight: From class number to weight.
        shuffle: Whether the samples of a pass come in a new order; streams have one of their own.
        seed: What order and augmentation derive from; drawn if left out, and reported.
        workers: Threads that read; one a core, at most 8, if left out.
        image_backend: What transforms pictures: `"scipy"` as Keras, or `"opencv"`, faster and almost equal.
        reserve: What to leave free: a fraction of the capacity, or bytes; 8 %, at least 128 MiB, if left out.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        checkpoint: A folder to save the run in, and to resume it from; not for streams.
        checkpoint_every_s: Seconds between two such saves within an epoch.
        on_event: Called with every `Decision` and `Observation`; what it raises ends the training.
        log_dir: A folder for the log of this run, of which `autobatch report` makes a page.
        log_memory: Whether Keras' logs get the micro-batch size, the accumulation steps and the headroom, too.
        **flow: Arguments of the generator's flow; what is left out is inferred from the model, and reported.

    Returns:
        Keras' `History`, with the `RunReport` of this run as `.autobatch`.

    Raises:
        AutobatchError: `ArgumentError`, `ModelError`, `DataError`, `DoesNotFitError` (not one sample) or `ProbeError`.

    Example:
        ```python
        datagen = ImageDataGenerator(rescale=1 / 255, horizontal_flip=True, validation_split=0.1)
        print(autobatch.fit(model, datagen, "data/train", epochs=5).autobatch)
        ```
    """
    require_options(flow, fit.__kwdefaults__ or ())
    require_seconds(checkpoint_every_s=checkpoint_every_s)
    options = RunOptions(
        epochs, initial_epoch, steps_per_epoch, shuffle, class_weight, callbacks, verbose, workers, log_memory
    ).limited(model)
    batching = Batching(batch_size, on_memory_pressure, scale_learning_rate, batch_statistics)
    validation_steps = steps_to_run(model, validation_steps=validation_steps)
    validating = ValidationOptions(
        validation_data, validation_split, validation_freq, validation_steps, validation_batch_size
    )
    request = UserRequest(
        model=model,
        data=data,
        source=source,
        flow=flow,
        batch_size=batching.sought(options.epochs, initial_epoch),
        class_weight=class_weight,
        seed=seed,
        reserve=reserve,
        max_batch_size=max_batch_size,
        trial_timeout_s=trial_timeout_s,
        shuffle=shuffle,
        image_backend=image_backend,
        group=batching.group,
    )
    run_folder = open_run_folder(checkpoint, checkpoint_every_s)
    with nvml_session(), Recorder.open(log_dir, on_event, verbose) as recorder, run_folder as folder:
        opened = open_training(request, options, batching, validating, folder, recorder)
        found = find_size(opened.task, open_cache(cache), recorder)
        history = Trainer(opened, found, recorder).run()
        history.autobatch = recorder.report
    return history
