"""A flow that is built already, made to fit a model: its batch size is replaced, everything else is kept."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from autobatch.data.check import require_inputs, require_numeric_targets
from autobatch.data.images.flow import is_addressable, require_flow
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.infer import note_unfitted, require_class_targets, require_picture_shape
from autobatch.data.model_spec import ModelSpec
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError


def open_flow(flow: Any, options: DataOptions) -> tuple[FlowSource, tuple[str, ...]]:
    """The samples of a flow as a model takes them, and a sentence for each thing that the flow didn't say itself.

    The flow is only looked at: its position, order and counters stay, and no folder is walked. Without a seed among the
    options the flow's own counts, or one is drawn if it has none.
    """
    kind = require_flow(flow)
    if not is_addressable(flow):
        message = f"{type(flow).__name__} makes batches in a way of its own, so its samples can't be had one by one. "
        raise ArgumentError(
            f"{message}Received: flow={flow!r:.200}. Expected a flow that Keras' own methods draw from."
        )
    if len(flow) == 0:
        raise ArgumentError("The flow has no samples. Received: a flow of 0 samples. Expected at least one.")
    spec = ModelSpec.of(options.model, several_inputs=kind == "arrays")
    notes = [f"batch_size={flow.batch_size} of the flow is replaced"]
    if not flow.shuffle:
        notes.append("shuffle=False: the flow's own")
    source = FlowSource(_with_own_weights(flow, notes), **_with_own_seed(options, flow, notes).pictures)
    channels_first = flow.data_format == "channels_first"
    require_picture_shape(spec, source.sample_shape, channels_first=channels_first, received="a flow of such pictures")
    if kind == "arrays":
        require_inputs(options.model, [flow.x, *flow.x_misc], "the flow")
    require_class_targets(spec, source)
    if source.class_mode in {"raw", "multi_output"}:
        require_numeric_targets(spec, flow.y if kind == "arrays" else flow.labels, "the flow's targets")
    note_unfitted(flow.image_data_generator, notes)
    return source, tuple(notes)


def _with_own_seed(options: DataOptions, flow: Any, notes: list[str]) -> DataOptions:
    if options.seed is not None or flow.seed is None:
        return options
    notes.append(f"seed={flow.seed}: the flow's own")
    return replace(options, seed=int(flow.seed))


def _with_own_weights(flow: Any, notes: list[str]) -> Any:
    """The flow with the weights that belong to its samples.

    Keras cuts pictures and labels of arrays at the validation split, but not the weights, so that those of the
    training part go to other samples than they were given for.
    """
    weights = flow.sample_weight if require_flow(flow) == "arrays" else None
    if weights is None or len(weights) == flow.n:
        return flow
    split = int(len(weights) * (getattr(flow.image_data_generator, "_validation_split", 0) or 0))
    starts = [start for start, size in ((0, split), (split, len(weights) - split)) if size == flow.n]
    if len(starts) != 1:
        message = "Keras doesn't cut the weights where it cuts the arrays, and it can't be told which belong to these. "
        received = f"{len(weights)} weights for {flow.n} samples"
        raise ArgumentError(f"{message}Received: {received}. Expected arrays that are cut before flow(...) is called.")
    paired = copy.copy(flow)
    paired.sample_weight = np.asarray(weights)[starts[0] : starts[0] + flow.n]
    if starts[0]:
        notes.append("sample_weight: cut as the arrays are; Keras' own flow would weight other samples")
    return paired
