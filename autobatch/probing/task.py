"""What a probe and a training have in common before anything runs: arguments checked, pictures found, question put."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from autobatch.data.batch import Batch
from autobatch.data.directory import DirectorySource
from autobatch.data.match import match_directory
from autobatch.data.options import FlowOptions, check_options
from autobatch.data.weight import with_class_weight
from autobatch.memory.reading import Reserve, parse_reserve
from autobatch.probing.arguments import (
    parse_batch_size,
    require_class_weight,
    require_count,
    require_folder,
    require_seconds,
)
from autobatch.probing.question import Question, question_for
from autobatch.step.backend import divides_by_weights, require_trainable

REAL_SAMPLES = 8
READ_AHEAD_BYTES = 64 * 2**20
_LOADERS = 2  # one for training and one for validation


@dataclass(frozen=True, slots=True)
class Task:
    """A model's pictures, and the question of their batch size.

    Attributes:
        source: The pictures to train on.
        samples: A few of them.
        question: What to look for.
        notes: What was inferred, one sentence each.
    """

    source: DirectorySource
    samples: Batch
    question: Question
    notes: tuple[str, ...]


def prepare(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    flow: FlowOptions,
    *,
    beside: Iterable[str],
    batch_size: Any,
    class_weight: Mapping[int, float] | None,
    seed: int | None,
    reserve: float | Reserve | None,
    max_batch_size: int | None,
    trial_timeout_s: float,
) -> Task:
    """Checks what a user gave and makes a task of it; nothing is run, and the model is not touched.

    Most arguments are those of `autobatch.probe`; `beside` holds the names that the calling function takes.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the folder.
        DataError: The folder or a picture cannot be used.
    """
    check_options(flow, beside)
    mode, effective = parse_batch_size(batch_size)
    require_count(max_batch_size=max_batch_size)
    require_count(least=0, seed=seed)
    require_folder(directory=directory)
    require_class_weight(class_weight)
    require_seconds(trial_timeout_s=trial_timeout_s)
    kept_free = parse_reserve(reserve)
    require_trainable(model)
    seed = secrets.randbelow(2**31) if seed is None else int(seed)
    source, notes = match_directory(model, datagen, directory, seed=seed, options=flow)
    question, said = question_for(
        mode,
        effective,
        len(source),
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=_LOADERS * READ_AHEAD_BYTES + _held_for_weights(model, source, effective, class_weight),
        trial_timeout_s=trial_timeout_s,
    )
    return Task(source, with_class_weight(_a_few(source), class_weight), question, (*notes, *said))


def _a_few(source: DirectorySource) -> Batch:
    """Some real samples from all over the source."""
    indices = np.unique(np.linspace(0, len(source) - 1, REAL_SAMPLES).astype(np.int64))
    return source.without_saving().read(indices, epoch=0)


def _held_for_weights(model: Any, source: DirectorySource, effective: int | None, class_weight: Any) -> int:
    """Bytes of an effective batch, if a loss divides by its weights, which are summed before its first micro-batch."""
    if class_weight is None or effective is None or not divides_by_weights(model):
        return 0
    return min(effective, len(source)) * source.sample_bytes
