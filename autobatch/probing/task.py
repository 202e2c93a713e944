"""What a probe and a training have in common before anything runs: arguments checked, data opened, question put."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autobatch._arguments import require_count, require_seconds
from autobatch.backend import divides_by_weights, require_trainable
from autobatch.data.batch import Batch, with_class_weight
from autobatch.data.check import require_compatible
from autobatch.data.open import OpenedData, few_of, is_ready, most_samples, open_data
from autobatch.data.options import DataOptions, FlowOptions, ImageBackend, require_options
from autobatch.data.source import Source, Stream
from autobatch.errors import ArgumentError
from autobatch.memory.reading import Reserve, parse_reserve
from autobatch.probing.arguments import parse_batch_size, require_class_weight
from autobatch.probing.question import UNCOUNTED, Question, question_for

READ_AHEAD_BYTES = 64 * 2**20  # the most that a loader may read ahead
_LEAST_AHEAD_BYTES = READ_AHEAD_BYTES // 4
_LOADERS = 2  # one for training and one for validation
_SYNTHETIC = "the most that is tried of synthetic samples"


@dataclass(frozen=True, slots=True)
class Task:
    """A model's data, and the question of their batch size.

    Attributes:
        given: The data to train on.
        samples: A few of them.
        question: What to look for.
        notes: What was inferred, one sentence each.
    """

    given: OpenedData
    samples: Batch
    question: Question
    notes: tuple[str, ...]

    @property
    def data(self) -> Source | Stream:
        """The samples to train on."""
        return self.given.data


def prepare(
    model: Any,
    data: Any,
    source: Any,
    flow: FlowOptions,
    *,
    beside: Iterable[str],
    batch_size: Any,
    class_weight: Mapping[int, float] | None,
    seed: int | None,
    reserve: float | Reserve | None,
    max_batch_size: int | None,
    trial_timeout_s: float,
    limit: int | None = None,
    shuffle: bool = True,
    image_backend: ImageBackend = "scipy",
    opens: Callable[[Any, Any, DataOptions], OpenedData] = open_data,
) -> Task:
    """Checks what a user gave and makes a task of it; nothing is run, and the model is not touched.

    Most arguments are those of `autobatch.probe`; `beside` holds the names that the calling function takes, and `opens`
    is what opens the data.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the data.
        DataError: The data cannot be used.
    """
    require_options(flow, beside)
    mode, effective = parse_batch_size(batch_size)
    require_count(max_batch_size=max_batch_size, limit=limit)
    require_count(least=0, seed=seed)
    require_class_weight(class_weight)
    require_seconds(trial_timeout_s=trial_timeout_s)
    kept_free = parse_reserve(reserve)
    require_trainable(model)
    _require_own_seed(data, seed)
    drawn = seed if seed is None else int(seed)
    given = opens(data, source, DataOptions(model, drawn, flow, shuffle=shuffle, image_backend=image_backend))
    few = few_of(given.data)
    require_compatible(model, few)
    samples = with_class_weight(few, class_weight)
    question, said = question_for(
        mode,
        effective,
        most_samples(given.data),
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=_LOADERS * read_ahead_bytes(effective, given.data.sample_bytes)
        + held_bytes(model, given, effective, samples),
        trial_timeout_s=trial_timeout_s,
        limit_bytes=limit if limit is None else int(limit),
        beyond=_SYNTHETIC if given.synthetic else UNCOUNTED,
    )
    return Task(given, samples, question, (*given.notes, *said))


def _require_own_seed(data: Any, seed: int | None) -> None:
    """Refuses another seed than the one that samples follow from already."""
    if seed is not None and is_ready(data) and seed != data.seed:
        msg = (
            "These samples follow from a seed of their own. "
            f"Received: seed={seed!r} with {type(data).__name__}(..., seed={data.seed!r}). "
            "Expected seed left out, or given where the samples are made."
        )
        raise ArgumentError(msg)


def read_ahead_bytes(effective: int | None, sample_bytes: int) -> int:
    """The most bytes that a loader may read ahead: what two updates take, within 16 to 64 MiB.

    More is of no use to a training that takes an update's samples at a time, and is missed where memory is tight.

    Args:
        effective: Samples behind one update, `None` if that is not known yet.
        sample_bytes: Bytes of one sample.

    Example:
        >>> [read_ahead_bytes(effective, 100_000) >> 20 for effective in (8, 128, 1024, None)]
        [16, 24, 64, 64]
    """
    two_updates = READ_AHEAD_BYTES if effective is None else 2 * effective * sample_bytes
    return min(READ_AHEAD_BYTES, max(_LEAST_AHEAD_BYTES, two_updates))


def held_bytes(model: Any, given: OpenedData, effective: int | None, samples: Batch) -> int:
    """Bytes of the effective batch where all of it is held before its first micro-batch.

    That is so for a stream, which does not tell beforehand how many samples are left, and where a loss divides by the
    sum of the sample weights.
    """
    weighted = samples.sample_weight is not None and divides_by_weights(model)
    if effective is None or not (weighted or given.samples is None):
        return 0
    return min(effective, given.samples or effective) * given.data.sample_bytes
