"""Arrays of pictures made to fit a model: what is left out is inferred and said, what contradicts is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from autobatch.data.adapters.arrays import arrays_of
from autobatch.data.batch import leaves, map_leaves
from autobatch.data.check import require_inputs, require_numeric_targets
from autobatch.data.images.flow import collected_warnings
from autobatch.data.images.flow_source import PICTURES, FlowSource, PictureArrays
from autobatch.data.images.infer import has_channels_first, infer_subset, require_picture_shape
from autobatch.data.model_spec import ModelSpec
from autobatch.data.options import DataOptions
from autobatch.errors import ArgumentError


def array_parts(given: Any, *, outputs: int = 1) -> PictureArrays:
    """Takes apart `x`, `(x, y)` or `(x, y, sample_weight)`; with one output, a list of targets is one array."""
    x, y, weights = arrays_of(given)
    pictures, nest = _find_pictures(x)
    parts = PictureArrays(pictures, nest, _targets(y, outputs), _targets(weights, outputs))
    _check_lengths(parts)
    return parts


def _check_lengths(parts: PictureArrays) -> None:
    count = len(parts.pictures)
    for named, nest in zip(("x", "y", "sample_weight"), parts.nest, strict=True):
        for array in leaves(nest):
            if array is not PICTURES and (array.ndim == 0 or len(array) != count):
                message = f"There are {count} pictures, and every array has a row for each. "
                received = f"{named} with an array of shape {array.shape}"
                raise ArgumentError(f"{message}Received: {received}. Expected {count} rows.")
    if count == 0:
        raise ArgumentError("There are no pictures. Received: x with 0 rows. Expected at least one.")


def _split(parts: PictureArrays, share: float, subset: str, *, same_classes: bool) -> PictureArrays:
    """The part that Keras' `flow` takes for training or for validation: the first `share` is for validation."""
    count = len(parts.pictures)
    cut = int(count * share)
    if cut == 0:
        message = f"Of {count} samples nothing is left for validation. "
        raise ArgumentError(f"{message}Received: validation_split={share}. Expected at least {1 / count:.2g}.")
    if same_classes:
        _require_same_classes(parts.y, cut)
    window = slice(0, cut) if subset == "validation" else slice(cut, count)
    nest = map_leaves(lambda leaf: leaf if leaf is PICTURES else leaf[window], parts.nest)
    return PictureArrays(parts.pictures[window], *nest)


def _find_pictures(x: Any) -> tuple[Any, Any]:
    if isinstance(x, dict):
        arrays = {name: _array(item) for name, item in x.items()}
        first = next((name for name, array in arrays.items() if array.ndim == 4), None)
        if first is None:
            raise ArgumentError(_no_pictures({name: array.shape for name, array in arrays.items()}))
        return arrays[first], arrays | {first: PICTURES}
    if isinstance(x, list | tuple):
        arrays_ = [_array(item) for item in _flat(x)]
        if not arrays_ or arrays_[0].ndim != 4:
            raise ArgumentError(_no_pictures([array.shape for array in arrays_[:5]]))
        return arrays_[0], [PICTURES, *arrays_[1:]]
    pictures = _array(x)
    if pictures.ndim != 4:
        raise ArgumentError(_no_pictures(pictures.shape))
    return pictures, PICTURES


def _no_pictures(shapes: Any) -> str:
    message = "There are no pictures in x: they have four dimensions, and in a list of inputs they come first. "
    return f"{message}Received: x of shape {shapes}. Expected (samples, height, width, channels)."


def _flat(x: Any) -> Iterator[Any]:
    """The arrays of `[pictures, one, two]`, which Keras' `flow` wants as `[pictures, [one, two]]`."""
    for item in x:
        yield from item if isinstance(item, list | tuple) and not np.isscalar(item[0]) else (item,)


def _targets(nest: Any, outputs: int) -> Any:
    if nest is None:
        return None
    if isinstance(nest, dict):
        return {name: _targets(item, 1) for name, item in nest.items()}
    if isinstance(nest, list | tuple) and outputs != 1 and all(np.ndim(item) for item in nest):
        return [_targets(item, 1) for item in nest]
    return _array(nest)


def _array(given: Any) -> Any:
    """An array of numpy's, or one that reads from a file as it is indexed."""
    on_demand = isinstance(getattr(given, "dtype", None), np.dtype) and len(getattr(given, "shape", ())) == 4
    return given if on_demand and hasattr(given, "ndim") else np.asarray(given)


def _require_same_classes(y: Any, cut: int) -> None:
    labels = next(leaves(y), None)
    if labels is None or labels is PICTURES:
        return
    held, rest = np.unique(labels[:cut]), np.unique(labels[cut:])
    if not np.array_equal(held, rest):
        message = "The part for validation, which is the first, has other classes than the part for training. "
        received = f"y with {len(held)} classes in the first {cut} samples and {len(rest)} in the rest"
        raise ArgumentError(f"{message}Received: {received}. Expected shuffled samples, or ignore_class_split=True.")


def open_arrays(datagen: Any, source: Any, options: DataOptions, notes: list[str]) -> FlowSource:
    """Arrays as a model takes them, with the pictures among them transformed.

    Beside what Keras' own `flow` takes, inputs may be a dict, targets and weights lists or dicts for several outputs,
    and weights are cut where pictures and labels are. Pictures are turned into the ImageDataGenerator's number type one
    by one, so that an array of bytes isn't copied into one of floats.
    """
    given: dict[str, Any] = dict(options.flow or {})
    spec = ModelSpec.of(options.model, several_inputs=True)
    parts = array_parts(source, outputs=spec.outputs)
    channels_first = has_channels_first(datagen)
    require_picture_shape(spec, parts.pictures.shape[1:], channels_first=channels_first, received="x of such pictures")
    inputs = map_leaves(lambda leaf: parts.pictures if leaf is PICTURES else leaf, parts.x)
    require_inputs(options.model, inputs if isinstance(inputs, dict | list) else [inputs], "x")
    parts = _with_targets(spec, parts, notes)
    part = given.get("subset") or infer_subset(datagen, given, options.subset, notes, "the samples").get("subset")
    if part is not None:
        # Quantities differ in every sample, so only class numbers can be missing from a part.
        classes = spec.kind == "sparse" and not given.get("ignore_class_split")
        parts = _split(parts, datagen._validation_split, part, same_classes=classes)
    saving = {name: given[name] for name in given if name.startswith("save_")}
    return FlowSource(_flow(datagen, parts.pictures, saving, notes), arrays=parts, **options.pictures)


def _flow(datagen: Any, pictures: Any, saving: dict[str, Any], notes: list[str]) -> Any:
    with collected_warnings() as said:
        flow = datagen.flow(pictures[:1], batch_size=1, **saving)
    notes.extend(said)
    # Keras would make a copy of all pictures in the ImageDataGenerator's number type.
    flow.x, flow.n = pictures, len(pictures)
    return flow


def _with_targets(spec: ModelSpec, parts: PictureArrays, notes: list[str]) -> PictureArrays:
    if parts.y is not None:
        require_numeric_targets(spec, parts.y, "y")
        return parts
    if spec.loss is None:
        return parts
    if spec.is_picture_to_picture:
        reason = f"the model's output has the shape of its input, and it is compiled with {spec.loss}"
        notes.append(f"y=x: {reason}")
        return replace(parts, y=PICTURES)
    message = f"The model is compiled with {spec.loss}, which needs targets. "
    raise ArgumentError(f"{message}Received: x alone. Expected (x, y), or a model without a loss.")
