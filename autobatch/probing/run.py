"""`autobatch.probe`: the answer alone, without training."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from autobatch._arguments import require_seconds
from autobatch.data.options import FlowOptions
from autobatch.errors import ArgumentError
from autobatch.memory.reading import Reserve
from autobatch.memory.sensors.nvml import hold_nvml
from autobatch.probing.arguments import BatchSize
from autobatch.probing.cache import Cache
from autobatch.probing.deadline import Deadline
from autobatch.probing.find import Seams, find
from autobatch.probing.task import Task, prepare
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Trial

_USED_UP = ("The generator has one batch less now: its samples were looked at, and it cannot be put back.",)


def probe(
    model: Any,
    data: Any,
    source: Any = None,
    *,
    batch_size: BatchSize = "auto",
    class_weight: Mapping[int, float] | None = None,
    seed: int | None = None,
    reserve: float | Reserve | None = None,
    max_batch_size: int | None = None,
    trial_timeout_s: float = 300.0,
    timeout_s: float | None = None,
    limit: int | None = None,
    cache: bool | str | PathLike[str] = True,
    on_trial: Callable[[Trial], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    **flow: Unpack[FlowOptions],
) -> ProbeResult:
    """Returns the batch size for a model and its data, proven by real training steps; trains nothing.

    Trials run in a process of their own where the model can be rebuilt there, and the model is the same, bit for bit,
    afterwards. A size is tried only if the peaks measured so far say that it fits, so nothing runs out of memory on
    purpose.

    Args:
        model: A compiled Keras model.
        data: An `ImageDataGenerator`, or anything else that `autobatch.fit` takes.
        source: What the generator reads: a folder, arrays or a dataframe.
        batch_size: `"auto"` for the smallest size with 95 % of the best throughput, `"largest"` for the largest safe
            one, or the effective batch in samples, for the largest micro-batch that it can be cut into.
        class_weight: From class number to weight, as in `model.fit`.
        seed: What order and augmentation derive from; drawn if left out.
        reserve: What to leave free: a fraction of the capacity below 1, or bytes. 8 % by default, at least 128 MiB.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        timeout_s: Seconds the whole probe may take; as long as it needs if left out. No trial is started after that,
            and one that runs is ended, unless it runs in this process: then it is waited for.
        limit: Bytes of memory to pretend there are: of the GPU where trials run on one, else of the host.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        on_trial: Called with each `Trial` when it has ended.
        on_start: Called with the size of each trial before it runs, in samples.
        **flow: Whatever the generator's flow takes. What is left out is inferred from the model.

    Returns:
        The size with its proof: every trial, the fitted memory model, the budget, and the reasons.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the data.
        DataError: The data cannot be used.
        DoesNotFitError: Not even one sample fits.
        ProbeTimeoutError: `timeout_s` passed first; `.best_size` is the largest size that ran so far.
        ProbeError: The trials gave no answer.
        DeviceError: The GPU that a limit is for cannot be read.

    Example:
        ```python
        datagen = ImageDataGenerator(rescale=1 / 255)
        result = autobatch.probe(model, datagen, "data/train")
        print(result)
        size = model.input_shape[1:3]
        model.fit(datagen.flow_from_directory("data/train", target_size=size, batch_size=result.batch_size))
        ```
    """
    if timeout_s is not None:
        require_seconds(timeout_s=timeout_s)
    seams = Seams(deadline=Deadline.after(timeout_s))
    task = prepare(
        model,
        data,
        source,
        flow,
        beside=probe.__kwdefaults__ or (),
        batch_size=batch_size,
        class_weight=class_weight,
        seed=seed,
        reserve=reserve,
        max_batch_size=max_batch_size,
        trial_timeout_s=trial_timeout_s,
        limit=limit,
    )
    with hold_nvml():
        found = find(
            model,
            task.samples,
            task.question,
            cache=open_cache(cache),
            on_trial=on_trial,
            on_start=on_start,
            seams=seams,
        )
    return found.with_notes(*notes_of(task))


def notes_of(task: Task) -> tuple[str, ...]:
    """What is to be said of a task whose data were looked at and not trained on."""
    return _USED_UP if task.given.ends_for_good else task.notes


def open_cache(cache: Any) -> Cache | None:
    """The folder of earlier answers that was asked for, `None` if none is to be used.

    Raises:
        ArgumentError: Neither yes, no nor a path.
    """
    if isinstance(cache, bool):
        return Cache() if cache else None
    if not isinstance(cache, str | PathLike):
        raise ArgumentError(f"Received: cache={cache!r}. Expected True, False, or the path of a folder.")
    return Cache(Path(cache))
