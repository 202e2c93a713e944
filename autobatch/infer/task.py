"""What an evaluation and a prediction have in common before anything runs: arguments checked, data opened."""

from collections.abc import Iterable
from typing import Any, Literal

from autobatch._arguments import require_count, require_seconds
from autobatch.data.check import require_compatible
from autobatch.data.open import OpenedData, few_of, is_arrays, is_image_generator, most_samples, open_data
from autobatch.data.options import DataOptions, FlowOptions, require_options
from autobatch.errors import ArgumentError
from autobatch.infer.untargeted import Untargeted
from autobatch.memory.reading import Reserve, parse_reserve
from autobatch.probing.arguments import parse_batch_size
from autobatch.probing.question import question_for
from autobatch.probing.task import READ_AHEAD_BYTES, Task, held_bytes
from autobatch.step.backend import require_runnable
from autobatch.train.loop import require_callbacks

Kind = Literal["evaluate", "predict"]


def total_of(task: Task, steps: int | None) -> int | None:
    """The most samples that so many steps run on, `None` where that is not known beforehand."""
    known, effective = task.given.samples, task.question.effective
    if steps is None or effective is None:
        return known
    return min(known or steps * effective, steps * effective)


def prepare(
    kind: Kind,
    model: Any,
    data: Any,
    source: Any,
    flow: FlowOptions,
    *,
    beside: Iterable[str],
    batch_size: Any,
    callbacks: Any,
    steps: int | None,
    workers: int | None,
    reserve: float | Reserve | None,
    max_batch_size: int | None,
    trial_timeout_s: float,
) -> Task:
    """Checks what a user gave and makes a task of it; nothing is run, and the model is not touched.

    Most arguments are those of `autobatch.evaluate`; `beside` holds the names that the calling function takes.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model cannot be run this way, or does not fit the data.
        DataError: The data cannot be used.
    """
    require_options(flow, beside)
    mode, effective = parse_batch_size(batch_size)
    require_count(steps=steps, workers=workers, max_batch_size=max_batch_size)
    require_seconds(trial_timeout_s=trial_timeout_s)
    require_callbacks(callbacks)
    kept_free = parse_reserve(reserve)
    require_runnable(model, evaluates=kind == "evaluate")
    given = _opened(kind, model, data, source, flow)
    if given.infinite and steps is None:
        raise ArgumentError("These data go on for ever. Received: steps=None. Expected a number of steps.")
    samples = few_of(given.data)
    require_compatible(model, samples, step=kind)
    held = held_bytes(model, given, effective, samples) if kind == "evaluate" or given.samples is None else 0
    question, said = question_for(
        mode,
        effective,
        most_samples(given.data),
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=READ_AHEAD_BYTES + held,
        trial_timeout_s=trial_timeout_s,
        step=kind,
    )
    return Task(given, samples, question, (*given.notes, *said))


def _opened(kind: Kind, model: Any, data: Any, source: Any, flow: FlowOptions) -> OpenedData:
    """The data in their own order, as they are; all of them, whatever part a generator would hold back."""
    options: dict[str, Any] = dict(flow)
    if is_image_generator(data):
        options.setdefault("subset", None)
        if kind == "predict":
            options.setdefault("class_mode", None)
    elif kind == "predict" and isinstance(data, list) and source is None and is_arrays(data):
        data = (data,)  # nothing is compared, so they are several inputs
    taking = model if kind == "evaluate" else Untargeted(model)
    return open_data(data, source, DataOptions(taking, 0, options, augment=False, shuffle=False))
