"""What a training is validated on, and how: after an epoch, in sizes of its own that are safe."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, cast

from keras.src.utils.python_utils import pythonify_logs

from autobatch._arguments import require_count, require_fraction
from autobatch.backend.base import Evaluator
from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.adapters.mixture import Mixture
from autobatch.data.images.flow import is_addressable, is_image_generator
from autobatch.data.open import OpenedData, is_arrays, is_folder, open_data, require_same_classes
from autobatch.data.options import DataOptions
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.data.source import Loader, Source, Stream, is_source
from autobatch.errors import ArgumentError
from autobatch.probing.request import UserRequest
from autobatch.train.callbacks import Executions
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed, one_pass

_NOT_FOR_VALIDATION = {"subset", "save_to_dir"}
_PATIENCE_S = 1.0  # a batch generator may be waiting for ever
_DRY = "The data for validation come to an end"


@dataclass(frozen=True, slots=True)
class ValidationOptions:
    """The arguments of `fit` that tell what to validate on, and how; checked."""

    data: Any = None
    fraction: float | None = None  # what to hold back of arrays
    freq: int | Sequence[int] = 1  # after which epochs: every so many, or those numbers, counted from 1
    steps: int | None = None  # steps to validate on, all samples if left out
    batch_size: int | None = None  # samples in such a step

    def __post_init__(self) -> None:
        require_count(validation_steps=self.steps, validation_batch_size=self.batch_size)
        if self.splits:
            require_fraction("This is no part of the data.", validation_split=self.fraction)

    @property
    def splits(self) -> bool:
        """Whether a part of the arrays is held back; not where data for validation are given, as in Keras."""
        return bool(self.fraction) and self.data is None

    def open_training(self, data: Any, source: Any, asked: DataOptions) -> OpenedData:
        """What is trained on: all but the last part, as in Keras, where that is held back."""
        return OpenedData(self._parts(data, source, asked)[0]) if self.splits else open_data(data, source, asked)

    def open(self, request: UserRequest, training: OpenedData) -> tuple[OpenedData | None, tuple[str, ...]]:
        """What to validate on, `None` for nothing, and what to say about it."""
        asked = request.data_options(training.data.seed)
        if self.splits:
            return OpenedData(self._parts(request.data, request.source, asked)[1]), ()
        return open_validation(request.data, request.source, self.data, training, asked)

    def _parts(self, data: Any, source: Any, asked: DataOptions) -> tuple[ArraySource, ArraySource]:
        if is_image_generator(data):
            raise self._refusal("Give it to the generator: ImageDataGenerator(validation_split=...).")
        whole = open_data(data, source, asked).data
        if not isinstance(whole, ArraySource):
            raise self._refusal("Only arrays can be split by position. Give validation_data instead.")
        return whole.split(float(self.fraction or 0))

    def _refusal(self, advice: str) -> ArgumentError:
        return ArgumentError(f"{advice} Received: validation_split={self.fraction}. Expected it left out.")


def require_steps(*, never_ends: bool, **steps: int | None) -> None:
    """Refuses data that do not end where they have to, unless it was said how much to take of them."""
    for name, number in steps.items():
        if number is None and never_ends:
            msg = f"Nothing tells where these data end. Received: {name}=None. Expected a number of steps."
            raise ArgumentError(msg)


def require_random_access(given: OpenedData) -> Source:
    """The data, if a run over them can be gone on with in the middle."""
    if not is_source(given.data):
        msg = (
            "A run over data that come as a stream cannot be gone on with in the middle: nothing is skipped exactly. "
            "Received: checkpoint=... Expected it left out, or data that can be read in any order (a folder, a flow, "
            "arrays). Keras' BackupAndRestore saves at the end of epochs."
        )
        raise ArgumentError(msg)
    return given.data


def open_validation(
    data: Any, source: Any, validation_data: Any, training: OpenedData, asked: DataOptions
) -> tuple[OpenedData | None, tuple[str, ...]]:
    # Keras unpacks a list as it does a tuple.
    given = tuple(validation_data) if isinstance(validation_data, list) else validation_data
    # Pictures are not transformed at random, and nothing is put in another order.
    untold = DataOptions(asked.model, asked.seed, None, augment=False, shuffle=False)
    flow = {name: value for name, value in (asked.flow or {}).items() if name not in _NOT_FOR_VALIDATION}
    plain = replace(untold, flow=flow)
    said: tuple[str, ...] = ()
    if given is None:
        return _rest(data, source, training, plain, asked)
    if isinstance(given, tuple) and len(given) == 2 and is_image_generator(given[0]):
        opened = open_data(_without_split(given[0]), given[1], plain)
    elif is_image_generator(data) and (is_folder(given) or hasattr(given, "columns")):
        opened = open_data(_without_split(data), given, plain)
    elif is_image_generator(data) and is_arrays(source) and is_arrays(given):
        opened = open_data(_without_split(data), given, plain)
        said = ("validation: the arrays go through the generator, without random transformation",)
    elif is_folder(given):
        msg = (
            "Only a generator can read a folder, and the training has none. "
            f"Received: validation_data={given!r}. Expected (ImageDataGenerator(...), {given!r})."
        )
        raise ArgumentError(msg)
    elif is_addressable(given):
        # A flow is validated on as its owner has made it, in Keras, too.
        opened = open_data(given, None, replace(untold, augment=True, image_backend=asked.image_backend))
    else:
        opened = open_data(_whole(given) if isinstance(given, Mixture) else given, None, untold)
    require_same_classes(opened, training, "The folder for validation", "the one for training")
    if not is_source(opened.data):
        said = tuple(f"validation: {note}" for note in opened.notes)
    return opened, said


def _rest(
    data: Any, source: Any, training: OpenedData, plain: DataOptions, asked: DataOptions
) -> tuple[OpenedData | None, tuple[str, ...]]:
    """What the generator of the training holds back."""
    flow, given = is_addressable(data), asked.flow or {}
    datagen = data.image_data_generator if flow else data
    if isinstance(data, Mixture) and any(_whole_part(part) is not part for part in data.parts):
        why = "what the generators of the mixture hold back is left alone; give validation_data"
    elif not getattr(datagen, "_validation_split", None) or (flow and getattr(data, "split", ...) is None):
        return None, ()  # nothing is held back; a flow without `split` has all the files
    elif flow:
        why = "the flow is one part of what its generator splits; give the other as validation_data"
    elif "subset" in given:
        why = f"subset={given['subset']!r} was given, so its other part is left alone"
    else:
        rest = open_data(data, source, replace(plain, subset="validation"))
        require_same_classes(rest, training, "The part for validation", "the one for training")
        held_back = f"{rest.samples} pictures that validation_split holds back, without random transformation"
        return rest, (f"validation: {held_back}",)
    return None, (f"no validation: {why}",)


def _whole(mixture: Mixture) -> Mixture:
    """The same mixture of all that its generators read, held back or not."""
    return replace(mixture, parts=tuple(_whole_part(part) for part in mixture.parts))


def _whole_part(part: Any) -> Any:
    if isinstance(part, tuple) and is_image_generator(part[0]) and getattr(part[0], "_validation_split", None):
        return (_without_split(part[0]), *part[1:])
    return part


def _without_split(datagen: Any) -> Any:
    """The same generator for data that are all for validation."""
    whole = copy.copy(datagen)
    whole._validation_split = None
    return whole


class Validation:
    """Evaluates on data, each sample of a pass once."""

    def __init__(
        self,
        data: Source | Stream,
        *,
        effective: int,
        runner: MicroBatchRunner,
        steps: int | None,
        workers: int | None,
        max_bytes: int,
    ) -> None:
        self._data, self._effective, self._runner, self._steps = data, effective, runner, steps
        self._workers, self._max_bytes = workers, max_bytes
        self._going_on: StreamLoader | None = None

    def run(self, model: Any, engine: Evaluator, callbacks: Any) -> dict[str, float]:
        """Evaluates once, in the order that Keras' `evaluate` calls callbacks."""
        model.stop_evaluating = False
        callbacks.on_test_begin()
        logs: Any = {}
        model.reset_metrics()
        self._runner.controller.pause()
        executions = Executions(model, callbacks.on_test_batch_begin, callbacks.on_test_batch_end)
        with self._open() as loader:
            feed = Feed(loader)
            for step in count() if self._steps is None else range(self._steps):
                size = loader.window(self._effective)
                if not size:
                    warnings.warn(f"{_DRY} after {step} of {self._steps} steps.", stacklevel=1)
                    break
                executions.begin(step)
                logs = self._runner.evaluate(engine, feed, size)
                executions.end(step, partial(dict, logs))
                if model.stop_evaluating or (self._steps is None and loader.ended):
                    break
        executions.finish()
        # As Keras hands them to callbacks at the end of an epoch: Python's numbers.
        results = dict(pythonify_logs(model._get_metrics_result_or_logs(logs)))
        callbacks.on_test_end(results)
        return results

    def close(self) -> None:
        if self._going_on is not None:
            self._going_on.close(wait_s=_PATIENCE_S)

    def _open(self) -> AbstractContextManager[Loader]:
        """The same samples every time; of a batch generator, which cannot begin anew, the next ones."""
        if getattr(self._data, "repeatable", True):
            return one_pass(self._data, workers=self._workers, max_bytes=self._max_bytes)
        if self._going_on is None:
            self._going_on = StreamLoader(cast("Stream", self._data), max_bytes=self._max_bytes)
        return nullcontext(self._going_on)
