"""What an evaluation and a prediction have in common before anything runs: arguments checked, data opened."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from autobatch.data.batch import Batch
from autobatch.data.given import Asked, Given, few_of, is_arrays, is_generator, open_data
from autobatch.data.options import FlowOptions, check_options
from autobatch.data.suitable import require_suitable
from autobatch.infer.untargeted import Untargeted
from autobatch.memory.reading import Reserve, parse_reserve
from autobatch.probing.arguments import parse_batch_size, require_count, require_seconds
from autobatch.probing.question import Question, question_for
from autobatch.probing.task import READ_AHEAD_BYTES, held_bytes
from autobatch.step.backend import require_runnable
from autobatch.train.loop import require_callbacks

Kind = Literal["evaluate", "predict"]


@dataclass(frozen=True, slots=True)
class Task:
    """A model's data, and the question of the size to run them in.

    Attributes:
        given: The data.
        samples: A few of them.
        question: What to look for.
        notes: What was inferred, one sentence each.
    """

    given: Given
    samples: Batch
    question: Question
    notes: tuple[str, ...]

    def total(self, steps: int | None) -> int | None:
        """The most samples that so many steps run on, `None` where that is not known beforehand."""
        known = self.given.samples
        if steps is None or self.question.effective is None:
            return known
        return min(known or steps * self.question.effective, steps * self.question.effective)


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
    check_options(flow, beside)
    mode, effective = parse_batch_size(batch_size)
    require_count(steps=steps, workers=workers, max_batch_size=max_batch_size)
    require_seconds(trial_timeout_s=trial_timeout_s)
    require_callbacks(callbacks)
    kept_free = parse_reserve(reserve)
    require_runnable(model, evaluates=kind == "evaluate")
    given = _opened(kind, model, data, source, flow)
    samples = few_of(given.data)
    require_suitable(model, samples, step=kind)
    held = held_bytes(model, given, effective, samples) if kind == "evaluate" or given.samples is None else 0
    question, said = question_for(
        mode,
        effective,
        given.samples,
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=READ_AHEAD_BYTES + held,
        trial_timeout_s=trial_timeout_s,
        step=kind,
    )
    return Task(given, samples, question, (*given.notes, *said))


def _opened(kind: Kind, model: Any, data: Any, source: Any, flow: FlowOptions) -> Given:
    """The data in their own order, as they are; all of them, whatever part a generator would hold back."""
    options: dict[str, Any] = dict(flow)
    if is_generator(data):
        options.setdefault("subset", None)
        if kind == "predict":
            options.setdefault("class_mode", None)
    elif kind == "predict" and isinstance(data, list) and source is None and is_arrays(data):
        data = (data,)  # nothing is compared, so they are several inputs
    taking = model if kind == "evaluate" else Untargeted(model)
    return open_data(data, source, Asked(taking, 0, options, augment=False, shuffle=False))
