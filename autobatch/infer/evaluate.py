"""`autobatch.evaluate`: the metrics of a model, in a size that is found, proven and kept safe."""

from collections.abc import Callable
from contextlib import closing
from os import PathLike
from typing import Any, Unpack

from autobatch.backend import current_backend, forward_engine_for
from autobatch.data.options import FlowOptions, require_options
from autobatch.infer.common import InferenceRun, open_inference
from autobatch.memory.budget import Reserve
from autobatch.memory.sensors.nvml import nvml_session
from autobatch.probing.request import READ_AHEAD_BYTES, BatchSize, UserRequest
from autobatch.results.run import Event
from autobatch.train.callbacks import steps_to_run
from autobatch.train.validation import Validation


def evaluate(
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
) -> dict[str, float]:
    """Returns the metrics of a model on data, run in a size that is found, proven, and kept safe.

    As `model.evaluate(..., return_dict=True)`, every sample once. The size is found by steps of an evaluation, which
    need far less memory than those of a training. A micro-batch that runs out of memory all the same is rolled back,
    metrics included, and run again in smaller ones. Nothing is shuffled, and pictures are not transformed at random.

    Metrics that are means over samples, or gather what they count as Keras' own do, come out the same at any size.

    Args:
        model: A Keras model, compiled with a loss or metrics. Nothing in it needs to be trainable.
        data: An `ImageDataGenerator`, or anything else that `autobatch.fit` takes.
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
        on_event: Called with every `Decision` and every `Observation` of memory; what it raises ends the evaluation.
        **flow: Whatever the generator's flow takes. What is left out is inferred from the model; without `subset`, all
            samples are used, whatever the generator's `validation_split`.

    Returns:
        From the name of a metric to its value, the loss among them.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the data.
        DataError: The data cannot be used.
        DoesNotFitError: Not even one sample fits.
        ProbeError: The trials gave no answer.

    Example:
        ```python
        metrics = autobatch.evaluate(model, ImageDataGenerator(rescale=1 / 255), "data/test")
        print(metrics["accuracy"])
        ```
    """
    require_options(flow, evaluate.__kwdefaults__ or ())
    with nvml_session():
        request = UserRequest(
            model=model,
            data=data,
            source=source,
            flow=flow,
            step="evaluate",
            batch_size=batch_size,
            reserve=reserve,
            max_batch_size=max_batch_size,
            trial_timeout_s=trial_timeout_s,
        )
        steps = steps_to_run(model, steps=steps)
        task = open_inference(request, steps=steps, workers=workers, callbacks=callbacks)
        with current_backend().preserved_random_states():
            engine = forward_engine_for(model, task.samples, evaluates=True)
            engine.trace(task.samples)
        run = InferenceRun(engine, task, cache=cache, verbose=verbose, on_event=on_event)
        evaluation = Validation(
            task.data,
            effective=run.effective_batch_size,
            runner=run.runner,
            steps=steps,
            workers=workers,
            max_bytes=READ_AHEAD_BYTES,
        )
        with closing(evaluation):
            return evaluation.run(model, engine, run.callbacks(callbacks, steps))
