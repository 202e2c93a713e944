"""What a model says of the pictures and targets it wants, for the options that were left out."""

from collections.abc import Mapping
from typing import Any

from autobatch._text import format_count
from autobatch.data.check import fits_shape
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.model_spec import ModelSpec, Shape
from autobatch.data.options import ClassMode, ColorMode, Subset
from autobatch.errors import ArgumentError, ModelError

_KERAS_SIZE = 256
_CHANNELS: Mapping[ColorMode, int] = {"grayscale": 1, "rgb": 3, "rgba": 4}


def infer_picture(spec: ModelSpec, datagen: Any, given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The `target_size` and `color_mode` of pictures on disk; what was inferred is added to the notes."""
    shape, channels_first = spec.input or (None, None, None), has_channels_first(datagen)
    sides, channels = (shape[1:], shape[0]) if channels_first else (shape[:2], shape[2])
    size = _target_size(sides, given.get("target_size"), notes)
    color = _color_mode(channels, given.get("color_mode"), notes)
    if color is None:
        message = f"The model takes pictures of {channels} channels, and pictures on disk have 1, 3 or 4. "
        received = (
            f"input shape {shape} read as {_layout(channels_first=channels_first)}, the ImageDataGenerator's format"
        )
        raise ModelError(f"{message}Received: {received}.")
    return {"target_size": size, "color_mode": color}


def _layout(*, channels_first: bool) -> str:
    return "(channels, height, width)" if channels_first else "(height, width, channels)"


def infer_subset(
    datagen: Any, given: Mapping[str, Any], subset: Subset, notes: list[str], whole: str
) -> dict[str, Subset]:
    """The `subset` where the generator splits `whole` (such as "each class") and none is given; else nothing."""
    if "subset" in given:
        return {}
    split = getattr(datagen, "_validation_split", 0) or 0
    if split:
        share = split if subset == "validation" else 1 - split
        notes.append(f"subset={subset!r}: the generator's validation_split={split} leaves it {share:.0%} of {whole}")
        return {"subset": subset}
    if subset == "validation":
        message = "The ImageDataGenerator splits nothing off for validation: its validation_split is 0. "
        raise ArgumentError(message + "Received: subset='validation'. Expected a validation_split above 0.")
    return {}


def note_unfitted(datagen: Any, notes: list[str]) -> None:
    """Says which steps of a generator have no effect because it was never fitted; Keras warns at each picture."""
    needs = {"featurewise_center": "mean", "featurewise_std_normalization": "std"}
    needs["zca_whitening"] = "zca_whitening_matrix"
    idle = [name for name in needs if getattr(datagen, name, False) and getattr(datagen, needs[name], None) is None]
    if idle:
        names = ", ".join(idle)
        notes.append(f"{names} without effect: the generator was not fitted; call datagen.fit(pictures) before")


def has_channels_first(datagen: Any) -> bool:
    return getattr(datagen, "data_format", None) == "channels_first"


def require_picture_shape(spec: ModelSpec, shape: tuple[int, ...], *, channels_first: bool, received: str) -> None:
    """Refuses pictures of a shape that is settled and that the model does not take."""
    wanted = spec.input
    if wanted is not None and not fits_shape(wanted, shape):
        message = f"The pictures are {shape}, {_layout(channels_first=channels_first)}, and the model takes {wanted}. "
        raise ArgumentError(f"{message}Received: {received}. Expected pictures of shape {wanted}.")


def _target_size(sides: Shape, given: tuple[int, int] | None, notes: list[str]) -> tuple[int, int]:
    if given is not None:
        if not fits_shape(sides, given):
            message = f"The model takes pictures of {sides[0]} x {sides[1]} (height x width)."
            raise ArgumentError(f"{message} Received: target_size={tuple(given)}. Expected {sides}, or leave it out.")
        return given[0], given[1]
    size = tuple(_KERAS_SIZE if side is None else side for side in sides)
    reason = "the model's input shape" if None not in sides else "Keras' default, as the model takes any size"
    notes.append(f"target_size={size}: {reason}")
    return size[0], size[1]


def _color_mode(channels: int | None, given: ColorMode | None, notes: list[str]) -> ColorMode | None:
    """The mode with as many channels, `None` if there is none."""
    if given is not None:
        if channels not in (None, _CHANNELS[given]):
            message = f"The model takes pictures of {channels} channels, and {given!r} has {_CHANNELS[given]}."
            raise ArgumentError(
                f"{message} Received: color_mode={given!r}. Expected one with {channels}, or leave it out."
            )
        return given
    if channels is None:
        notes.append("color_mode='rgb': Keras' default, as the model doesn't say how many channels it takes")
        return "rgb"
    for mode, count in _CHANNELS.items():
        if count == channels:
            notes.append(f"color_mode={mode!r}: the model takes {format_count(channels, 'channel')}")
            return mode
    return None


def infer_class_mode(spec: ModelSpec) -> tuple[ClassMode, str]:
    """The `class_mode` that suits a model's output and loss, and why."""
    if spec.outputs > 1:
        message = f"The model has {spec.outputs} outputs, and nothing says what each is compared with. "
        raise ModelError(message + "Give class_mode, with class_mode=None if the model computes its own loss.")
    name = spec.loss or "no loss"
    if spec.is_picture_to_picture and spec.kind not in {"sparse", "categorical"}:
        return "input", f"the model's output has the shape of its input, and it is compiled with {name}"
    if spec.output is not None and spec.units is None:
        message = "A class labels a picture as a whole, and the model's output is not one vector. "
        raise ModelError(
            f"{message}Received: output shape {(None, *spec.output)}. Expected (None, classes) or (None, 1)."
        )
    units = "an unknown number of outputs" if spec.units is None else format_count(spec.units, "output")
    if spec.kind == "sparse":
        return "sparse", f"{name} compares class numbers"
    if spec.kind == "categorical":
        return "categorical", f"{name} compares one-hot vectors"
    return ("binary" if spec.units == 1 else "categorical"), f"{units}, compiled with {name}"


def require_class_targets(spec: ModelSpec, source: FlowSource) -> None:
    """Refuses classes that the model isn't compared with; numbers are for `require_numeric_targets`."""
    mode = source.class_mode
    if spec.outputs > 1 or mode in {"raw", "multi_output"}:
        return
    if mode is None:
        if spec.loss is not None:
            message = f"The model is compiled with {spec.loss}, which needs targets. "
            arrays = source.kind == "arrays"
            form = "a flow of x alone. Expected x and y" if arrays else "class_mode=None. Expected a class_mode"
            raise ArgumentError(f"{message}Received: {form}, or a model without a loss.")
    elif mode == "input":
        _require_picture_targets(spec, source)
    elif spec.output is not None and spec.units is None:
        message = f"The model's output {(None, *spec.output)} is not one vector, and {mode} targets are. "
        raise ArgumentError(message + f"Received: class_mode={mode!r}. Expected 'input'.")
    else:
        _require_form(spec, mode)
        _require_class_count(spec, source, mode)


def _require_picture_targets(spec: ModelSpec, source: FlowSource) -> None:
    output, pictures = spec.output, source.sample_shape
    if output is not None and not (len(output) == len(pictures) and fits_shape(output, pictures)):
        message = f"Pictures are {pictures} and the model's output is {output}, so one can't be the other's target. "
        raise ArgumentError(f"{message}Received: class_mode='input'. Expected an output of the pictures' shape.")


def _require_form(spec: ModelSpec, mode: str) -> None:
    one_hot = mode == "categorical"
    if one_hot and spec.kind == "sparse":
        wanted, form = "'sparse'", "class numbers"
    elif not one_hot and spec.kind == "categorical":
        wanted, form = "'categorical'", "one-hot vectors"
    elif not one_hot and spec.kind in {"binary", "regression"} and (spec.units or 1) > 1:
        wanted, form = "'categorical'", f"one number for each of {spec.units} outputs"
    else:
        return
    message = f"The model is compiled with {spec.loss}, which compares {form}. "
    raise ArgumentError(f"{message}Received: class_mode={mode!r}. Expected {wanted}, or leave it out.")


def _require_class_count(spec: ModelSpec, source: FlowSource, mode: str) -> None:
    classes, units = len(source.class_indices), spec.units
    yes_or_no = units == 1 and mode != "categorical" and spec.kind != "sparse"
    wanted = 2 if yes_or_no else units
    # A loss of one's own may compare class numbers with an embedding, which has as many numbers as it likes.
    unrelated = mode == "sparse" and spec.kind is None and not yes_or_no
    if unrelated or wanted in (None, classes):
        return
    names = ", ".join(list(source.class_indices)[:5]) + (", ..." if classes > 5 else "")
    message = (
        f"The {source.kind} has {classes} classes ({names}), and the model has {units} output{'s' * (units != 1)}. "
    )
    expected = "2 classes, or one output for each" if yes_or_no else "one output for each class"
    raise ModelError(f"{message}Received: {classes} classes, {units} outputs. Expected {expected}.")


def note_empty(source: FlowSource, notes: list[str]) -> None:
    """Says which classes have no pictures."""
    empty = [name for name, count in source.class_counts.items() if count == 0]
    if empty:
        notes.append(f"no pictures for {len(empty)} of {len(source.class_counts)} classes: {', '.join(empty[:5])}")


def require_subset(datagen: Any, subset: str | None) -> None:
    """Refuses a part where the generator splits none: Keras would take every picture for training, none to validate."""
    if subset is not None and not getattr(datagen, "_validation_split", 0):
        message = "The ImageDataGenerator splits nothing: its validation_split is 0. "
        raise ArgumentError(message + f"Received: subset={subset!r}. Expected None, or a validation_split above 0.")
