"""`autobatch.predict`: what a model says of every sample, in a size that is found, proven and kept safe."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from os import PathLike
from typing import Any, Unpack

import keras
import numpy as np

from autobatch._text import format_bytes
from autobatch.backend import current_backend, forward_engine_for
from autobatch.data.options import FlowOptions, require_options
from autobatch.errors import DataError, DoesNotFitError, ModelError
from autobatch.infer.common import InferenceRun, open_inference, total_of
from autobatch.memory.budget import Reserve
from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.nvml import nvml_session
from autobatch.probing.request import READ_AHEAD_BYTES, BatchSize, Task, UserRequest
from autobatch.results.run import Event
from autobatch.train.callbacks import Executions, steps_to_run
from autobatch.train.passes import Feed, one_pass


def predict(
    model: Any,
    data: Any,
    source: Any = None,
    *,
    batch_size: BatchSize = "auto",
    steps: int | None = None,
    verbose: int | str = "auto",
    callbacks: Any = None,
    workers: int | None = None,
    reserve: float | Reserve | None = None,
    max_batch_size: int | None = None,
    trial_timeout_s: float = 300.0,
    cache: bool | str | PathLike[str] = True,
    on_event: Callable[[Event], None] | None = None,
    **flow: Unpack[FlowOptions],
) -> Any:
    """Returns the predictions of a model, one for each sample and in their order, run in a size that is kept safe.

    As `model.predict`. The size is found by steps of a prediction, and room is left for the predictions of all samples
    beside it. A micro-batch that runs out of memory all the same is run again in smaller ones. Nothing is shuffled, and
    pictures are not transformed at random, so that the predictions of a folder are in the order of its sorted files.

    Args:
        model: A Keras model, compiled or not.
        data: An `ImageDataGenerator`, or anything else that `autobatch.fit` takes; inputs alone are enough.
        source: What the generator reads: a folder, arrays or a dataframe.
        batch_size: `"auto"` for the smallest size with 95 % of the best throughput, `"largest"` for the largest safe
            one, or the samples of one step, run in smaller micro-batches if they do not fit at once.
        steps: Steps to run; one pass over the samples if left out.
        verbose: 0 prints nothing.
        callbacks: Keras callbacks.
        workers: Threads that read samples; by default one for each core, at most 8.
        reserve: What to leave free: a fraction of the capacity below 1, or bytes. 8 % by default, at least 128 MiB.
        max_batch_size: Try nothing larger, in samples.
        trial_timeout_s: Seconds one trial may take.
        cache: Whether to use and keep answers of earlier probes, or the folder to keep them in.
        on_event: Called with every `Decision` and every `Observation` of memory; what it raises ends the prediction.
        **flow: Whatever the generator's flow takes. What is left out is inferred from the model; without `subset`, all
            samples are used, whatever the generator's `validation_split`.

    Returns:
        Arrays of shape `(samples, ...)`, in the nest that the model returns: one array for one output.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model does not fit the data, or does not give one prediction for each sample.
        DataError: The data cannot be used.
        DoesNotFitError: Not even one sample fits, or the predictions together do not.
        ProbeError: The trials gave no answer.

    Example:
        ```python
        probabilities = autobatch.predict(model, ImageDataGenerator(rescale=1 / 255), "data/test")
        classes = probabilities.argmax(axis=-1)
        ```
    """
    require_options(flow, predict.__kwdefaults__ or ())
    with nvml_session():
        request = UserRequest(
            model=model,
            data=data,
            source=source,
            flow=flow,
            step="predict",
            batch_size=batch_size,
            reserve=reserve,
            max_batch_size=max_batch_size,
            trial_timeout_s=trial_timeout_s,
        )
        steps = steps_to_run(model, steps=steps)
        task = open_inference(request, steps=steps, workers=workers, callbacks=callbacks)
        total = total_of(task, steps)
        with current_backend().preserved_random_states():
            engine = forward_engine_for(model, task.samples, evaluates=False)
            each_bytes = engine.output_bytes(task.samples)
        task = _with_results(task, total, each_bytes)
        run = InferenceRun(engine, task, cache=cache, verbose=verbose, on_event=on_event)
        rows = OutputRows(total, lambda needed: require_room(needed, task.request.reserve))
        return predict_all(run, rows, steps=steps, callbacks=callbacks, workers=workers)


class OutputRows:
    """Gathers the outputs of micro-batches in arrays that hold those of all samples.

    With their number known, the arrays are made once, in the form of the first outputs. Otherwise the parts are kept
    and joined in the end, one output after the other.
    """

    def __init__(self, total: int | None, allow: Callable[[int], None] = lambda _: None) -> None:
        self._total, self._allow = total, allow
        self._form: Any = None
        self._first: list[Any] = []
        self._whole: list[Any] = []
        self._parts: list[list[Any]] = []
        self.filled = 0

    def add(self, outputs: Any, size: int) -> None:
        """Takes the outputs of the next `size` samples."""
        leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(outputs)]
        _require_rows(leaves, size)
        if self._form is None:
            self._begin(outputs, leaves)
        _require_same(self._first, leaves)
        if self._total is None:
            for parts, leaf in zip(self._parts, leaves, strict=True):
                parts.append(np.array(leaf))  # a copy: what came may be memory of the framework's
        else:
            for array, leaf in zip(self._whole, leaves, strict=True):
                array[self.filled : self.filled + size] = leaf
        self.filled += size

    def since(self, start: int) -> Any:
        """The outputs from a sample on, in the nest of the model's outputs."""
        if self._total is not None:
            return self._packed([array[start : self.filled] for array in self._whole])
        return self._packed([_tail(parts, self.filled - start) for parts in self._parts])

    def result(self) -> Any:
        """The outputs of all samples so far, in the nest of the model's outputs; nothing can be added any more."""
        if self._form is None:
            raise DataError("There is nothing to predict: the data came to an end before their first sample.")
        if self._total is not None:
            return self._packed([array[: self.filled] for array in self._whole])
        joined = []
        while self._parts:
            joined.append(np.concatenate(self._parts.pop(0)))
        return self._packed(joined)

    def _begin(self, outputs: Any, leaves: list[Any]) -> None:
        # Empty, so that nothing large is held for its form.
        self._first = [leaf[:0].copy() for leaf in leaves]
        self._form = keras.tree.pack_sequence_as(outputs, self._first)
        self._parts = [[] for _ in leaves]
        if self._total is not None:
            self._allow(self._total * sum(leaf[:1].nbytes for leaf in leaves))
            self._whole = [np.empty((self._total, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]

    def _packed(self, leaves: list[Any]) -> Any:
        return keras.tree.pack_sequence_as(self._form, leaves)


def _tail(parts: list[Any], count: int) -> Any:
    """The last `count` rows of some parts, which begin where a part does."""
    taken: list[Any] = []
    while count:
        taken.insert(0, parts[-1 - len(taken)])
        count -= len(taken[0])
    return taken[0] if len(taken) == 1 else np.concatenate(taken)


def _require_rows(leaves: list[Any], size: int) -> None:
    shapes = [leaf.shape for leaf in leaves]
    if not leaves or any(shape[:1] != (size,) for shape in shapes):
        msg = (
            "The predictions cannot be put in order: they are not one for each sample. "
            f"Received: outputs of shapes {shapes} for {size} samples. Expected {size} as the first number of each."
        )
        raise ModelError(msg)


def _require_same(first: list[Any], leaves: list[Any]) -> None:
    before, now = ([(leaf.shape[1:], leaf.dtype) for leaf in some] for some in (first, leaves))
    if before != now:
        msg = (
            "The predictions cannot be put in one array: their shapes differ from sample to sample. "
            f"Received: {now} after {before}. Expected the same for all; model.predict makes ragged tensors of them."
        )
        raise ModelError(msg)


def predict_all(run: InferenceRun, rows: OutputRows, *, steps: int | None, callbacks: Any, workers: int | None) -> Any:
    """Predicts once, in the order that Keras' `predict` calls callbacks."""
    model, called = run.task.model, run.callbacks(callbacks, steps)
    model.stop_predicting = False
    called.on_predict_begin()
    executions = Executions(model, called.on_predict_batch_begin, called.on_predict_batch_end)
    start_row = 0
    run.runner.controller.pause()
    with one_pass(run.task.data, workers=workers, max_bytes=READ_AHEAD_BYTES) as loader:
        feed = Feed(loader)
        for step in count() if steps is None else range(steps):
            size = loader.window(run.effective_batch_size)
            if not size:
                break
            run.recorder.progress.update = step
            if executions.begin(step):
                start_row = rows.filled
            run.runner.predict(run.engine, feed, size, rows.add)
            executions.end(step, partial(_for_callbacks, callbacks, rows, start_row))
            if model.stop_predicting or (steps is None and loader.ended):
                break
    executions.finish()
    called.on_predict_end()
    return rows.result()


def require_room(needed_bytes: int, reserve: Reserve) -> None:
    """Refuses predictions that together do not fit in the memory of the host.

    Raises:
        DoesNotFitError: With both numbers.
    """
    budget = read_memory().host_budget(reserve)
    if needed_bytes > budget.free_bytes:
        left = max(0, budget.free_bytes)
        msg = (
            f"The predictions of all samples take {format_bytes(needed_bytes)}, and {format_bytes(left)} are left for "
            f"them (limit: {budget.limit.kind}, without a reserve of {format_bytes(budget.reserve_bytes)}). Predict on "
            "parts of the data, one after the other, and keep what you need of each."
        )
        raise DoesNotFitError(msg, needed_bytes, left)


def _with_results(task: Task, total: int | None, each_bytes: int | None) -> Task:
    """The task with room for the predictions, as far as it is known what they take."""
    if total is None or each_bytes is None:
        missing = "how many samples there are" if total is None else "what a prediction takes"
        note = f"It is not known beforehand {missing}, so no room is left for the predictions of all samples together."
        return replace(task, notes=(*task.notes, note))
    require_room(total * each_bytes, task.request.reserve)
    return replace(task, request=replace(task.request, result_bytes=total * each_bytes))


def _for_callbacks(callbacks: Any, rows: OutputRows, start: int) -> dict[str, Any]:
    """The logs of an execution, its outputs: tensors, as in Keras, where somebody may look at them."""
    outputs = rows.since(start)
    if callbacks:
        with keras.device("cpu:0"):
            outputs = keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
    return {"outputs": outputs}
