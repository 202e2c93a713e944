"""`autobatch.probe`: the answer alone, without training."""

import secrets
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Unpack

import numpy as np

from autobatch.data.batch import Batch
from autobatch.data.match import match_directory
from autobatch.data.options import FlowOptions
from autobatch.data.source import Source
from autobatch.data.weight import with_class_weight
from autobatch.memory.reading import Reserve, parse_reserve
from autobatch.probing.arguments import BatchSize, parse_batch_size, require_count, require_seconds
from autobatch.probing.cache import Cache
from autobatch.probing.find import find, question_for
from autobatch.probing.result import ProbeResult
from autobatch.probing.trial import Trial
from autobatch.step.backend import require_trainable

REAL_SAMPLES = 8
READ_AHEAD_BYTES = 64 * 2**20
LOADERS = 2  # one for training and one for validation


def probe(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    *,
    batch_size: BatchSize = "auto",
    class_weight: Mapping[int, float] | None = None,
    seed: int | None = None,
    reserve: float | Reserve | None = None,
    max_batch_size: int | None = None,
    trial_timeout_s: float = 300.0,
    cache: bool | str | PathLike[str] = True,
    on_trial: Callable[[Trial], None] | None = None,
    **flow: Unpack[FlowOptions],
) -> ProbeResult:
    """Returns the batch size for a model and pictures, proven by real training steps; trains nothing.

    Trials run in a process of their own where the model can be rebuilt there, and the model is the same, bit for bit,
    afterwards. A size is tried only if the peaks measured so far say that it fits, so nothing runs out of memory on
    purpose.

    Args:
        model: A compiled Keras model.
        datagen: An `ImageDataGenerator`.
        directory: A folder with one subfolder of pictures for each class.
        batch_size: `"auto"` for the smallest size with 95 % of the best throughput, `"largest"` for the largest safe
            one, or the effective batch in samples, for the largest micro-batch that it can be cut into.
        class_weight: From class number to weight, as in `model.fit`.
        seed: What order and augmentation derive from; drawn if left out.
        reserve: What to leave free: a fraction of the capacity below 1, or bytes. 8 % by default, at least 128 MiB.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        on_trial: Called with each `Trial` when it has ended.
        **flow: Whatever `flow_from_directory` takes. What is left out is inferred from the model.

    Returns:
        The size with its proof: every trial, the fitted memory model, the budget, and the reasons.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the folder.
        DataError: The folder or a picture cannot be used.
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.

    Example:
        ```python
        result = autobatch.probe(model, ImageDataGenerator(rescale=1 / 255), "data/train")
        print(result)
        model.fit(datagen.flow_from_directory("data/train", batch_size=result.batch_size))
        ```
    """
    mode, effective = parse_batch_size(batch_size)
    require_count(max_batch_size=max_batch_size)
    require_seconds(trial_timeout_s=trial_timeout_s)
    kept_free = parse_reserve(reserve)
    require_trainable(model)
    source, notes = match_directory(model, datagen, directory, seed=seed_or_new(seed), options=flow)
    question, said = question_for(
        mode,
        effective,
        len(source),
        most=max_batch_size,
        reserve=kept_free,
        read_ahead_bytes=LOADERS * READ_AHEAD_BYTES,
        trial_timeout_s=trial_timeout_s,
    )
    samples = with_class_weight(a_few(source), class_weight)
    result = find(model, samples, question, cache=open_cache(cache), on_trial=on_trial)
    return result.with_notes(*notes, *said)


def a_few(source: Source) -> Batch:
    """Some real samples from all over the source."""
    indices = np.unique(np.linspace(0, len(source) - 1, REAL_SAMPLES).astype(np.int64))
    return source.read(indices, epoch=0)


def open_cache(cache: Any) -> Cache | None:
    """The folder of earlier answers that was asked for, `None` if none is to be used."""
    if isinstance(cache, bool):
        return Cache() if cache else None
    from pathlib import Path

    return Cache(Path(cache))


def seed_or_new(seed: int | None) -> int:
    """The seed that was given, or a new one."""
    return secrets.randbelow(2**31) if seed is None else int(seed)
