"""`autobatch.probe`: the answer alone, without training; and what it would do, without any trial."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from autobatch._arguments import require_seconds
from autobatch._text import format_bytes, format_count
from autobatch.data.options import FlowOptions, require_options
from autobatch.errors import ArgumentError
from autobatch.memory.budget import Reserve
from autobatch.memory.sensors.nvml import nvml_session
from autobatch.probing.cache import Cache
from autobatch.probing.request import BatchSize, Task, UserRequest
from autobatch.probing.search import next_size
from autobatch.probing.trials.executor import find_caller_reason
from autobatch.probing.trials.ipc import Deadline
from autobatch.probing.tuner import Tuner, TunerSeams, find_batch_size
from autobatch.results.probe import Mode, ProbeResult
from autobatch.results.trial import Trial, Where

_USED_UP = ("The batch generator has one batch less now: its samples were looked at, and it cannot be put back.",)


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
    seams = TunerSeams(deadline=Deadline.after(timeout_s))
    require_options(flow, probe.__kwdefaults__ or ())
    task = UserRequest(
        model=model,
        data=data,
        source=source,
        flow=flow,
        batch_size=batch_size,
        class_weight=class_weight,
        seed=seed,
        reserve=reserve,
        max_batch_size=max_batch_size,
        trial_timeout_s=trial_timeout_s,
        limit=limit,
    ).open()
    with nvml_session():
        found = find_batch_size(
            model,
            task.samples,
            task.request,
            cache=open_cache(cache),
            on_trial=on_trial,
            on_start=on_start,
            seams=seams,
        )
    return found.with_notes(*notes_of(task))


def notes_of(task: Task) -> tuple[str, ...]:
    """What is to be said of a task whose data were looked at and not trained on."""
    return _USED_UP if task.opened.ends_for_good else task.notes


def open_cache(cache: Any) -> Cache | None:
    """The folder of earlier answers that was asked for, `None` if none is to be used."""
    if isinstance(cache, bool):
        return Cache() if cache else None
    if not isinstance(cache, str | PathLike):
        raise ArgumentError(f"Received: cache={cache!r}. Expected True, False, or the path of a folder.")
    return Cache(Path(cache))


_OF_TRIALS = ("timeout_s", "cache", "on_trial", "on_start")
_SOUGHT = {
    "auto": "the smallest size that is about as fast as any",
    "largest": "the largest safe size",
    "micro": "the largest micro-batch",
}


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would be looked for, and under which budget."""

    mode: Mode  # as in `ProbeResult`, like `budgets`, `limits` and `reserves`
    cap: int  # the largest size that makes sense
    cap_reason: str  # why that, in words
    effective_batch_size: int | None = None  # the effective batch, if one was given, in samples
    # Per resource, bytes that a step may add to what its process holds.
    budgets: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)  # per resource, what sets that budget, for people
    reserves: Mapping[str, int] = field(default_factory=dict)  # per resource, bytes kept free on purpose
    # What would be tried first, in samples; what comes after depends on what that measures.
    first_size: int | None = None
    # The batch size of an earlier answer that would be used as it is, `None` without one.
    earlier_size: int | None = None
    where: Where = "worker"  # where trials would run: `"worker"` for a process of its own, `"caller"` for this one
    # Why they would run in this process, `None` if not. A worker that cannot rebuild the model may move them here, too.
    why_here: str | None = None
    notes: tuple[str, ...] = ()  # what was inferred, or could not be read

    def to_dict(self) -> dict[str, Any]:
        """The dry run as JSON-ready values, in bytes."""
        return asdict(self) | {"notes": list(self.notes)}

    def __str__(self) -> str:
        place = "in a process of its own" if self.why_here is None else f"in this process, because {self.why_here}"
        first = format_count(self.first_size or 0, "sample")
        effective = self.effective_batch_size
        update = "" if effective is None else f" for an effective batch of {effective}"
        lines = [
            f"Would look for {_SOUGHT[self.mode]}{update}, up to {self.cap}: {self.cap_reason}.",
            *(self._budget(name) for name in self.budgets),
            f"The first trial would be of {first}, {place}."
            if self.earlier_size is None
            else f"An earlier answer holds and would be used: {self.earlier_size}. Nothing would be tried.",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _budget(self, name: str) -> str:
        budget, reserve = format_bytes(self.budgets[name]), format_bytes(self.reserves[name])
        return f"A step may take {budget} ({name}; limit: {self.limits[name]}), and {reserve} stay free."


def dry_run(model: Any, data: Any, source: Any = None, *, seams: TunerSeams | None = None, **options: Any) -> DryRun:
    """What `autobatch.probe` would do with the same arguments; raises what that raises before its first trial.

    The data are opened and a few samples read, as for a probe: a Python generator has one batch less afterwards.
    """
    defaults = probe.__kwdefaults__ or {}
    given = {name: options.pop(name, default) for name, default in defaults.items()}
    about_trials = {name: given.pop(name) for name in _OF_TRIALS}
    if about_trials["timeout_s"] is not None:
        require_seconds(timeout_s=about_trials["timeout_s"])
    cache = open_cache(about_trials["cache"])
    require_options(options, defaults)
    task = UserRequest(model=model, data=data, source=source, flow=options, **given).open()
    request, tuner = task.request, Tuner(model, task.samples, task.request, seams=seams)
    tuner.require_budget()
    budgets = tuner.budgets
    earlier, first = tuner.earlier(cache), next_size([], budgets.now, request.cap)
    why_here = find_caller_reason(model, request.step, budgets.pool_reason())
    return DryRun(
        mode=request.mode,
        cap=request.cap,
        cap_reason=request.cap_reason,
        effective_batch_size=request.effective_batch_size,
        budgets=budgets.now,
        limits=budgets.limits,
        reserves=budgets.reserves,
        first_size=request.cap if request.only_whole else first,
        earlier_size=None if earlier is None else earlier.batch_size,
        where="worker" if why_here is None else "caller",
        why_here=why_here,
        notes=(*budgets.reading.notes, *notes_of(task)),
    )
