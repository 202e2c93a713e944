"""What a model says of the pictures it wants, for the options that were left out."""

from collections.abc import Mapping
from typing import Any

from autobatch.data.options import ColorMode, Subset
from autobatch.data.shape import COLORS, Demand
from autobatch.errors import ArgumentError, ModelError

_KERAS_SIZE = 256


def infer_picture(demand: Demand, datagen: Any, given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The `target_size` and `color_mode` of pictures on disk; what was inferred is added to the notes.

    Raises:
        ModelError: The model takes pictures of a number of channels that no file has.
        ArgumentError: What is given contradicts the model.
    """
    channels_first = has_channels_first(datagen)
    size = _target_size(demand, given.get("target_size"), notes, channels_first=channels_first)
    color = _color_mode(demand, given.get("color_mode"), notes, channels_first=channels_first)
    return {"target_size": size, "color_mode": color}


def infer_subset(
    datagen: Any, given: Mapping[str, Any], subset: Subset, notes: list[str], whole: str
) -> dict[str, Subset]:
    """The `subset` where the generator splits and none is given; else nothing.

    Args:
        datagen: The generator.
        given: The options that were given.
        subset: The part that is wanted.
        notes: What was inferred is added here.
        whole: What the generator splits, such as "each class".

    Raises:
        ArgumentError: A part for validation is wanted, and the generator splits nothing off.
    """
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
    """Whether a generator makes pictures of shape `(channels, height, width)`."""
    return getattr(datagen, "data_format", None) == "channels_first"


def check_shape(demand: Demand, shape: tuple[int, ...], *, channels_first: bool, received: str) -> None:
    """Checks that pictures of a shape that is settled are those that the model takes.

    Raises:
        ArgumentError: They aren't.
    """
    wanted = demand.input
    if wanted is None:
        return
    if all(side in (None, there) for side, there in zip(wanted, shape, strict=True)):
        return
    layout = "(channels, height, width)" if channels_first else "(height, width, channels)"
    message = f"The pictures are {shape}, {layout}, and the model takes {wanted}. "
    raise ArgumentError(f"{message}Received: {received}. Expected pictures of shape {wanted}.")


def _target_size(
    demand: Demand, given: tuple[int, int] | None, notes: list[str], *, channels_first: bool
) -> tuple[int, int]:
    sides = (None, None) if demand.input is None else demand.input[1:] if channels_first else demand.input[:2]
    if given is not None:
        if any(side not in (None, wanted) for side, wanted in zip(sides, given, strict=True)):
            message = f"The model takes pictures of {sides[0]} x {sides[1]} (height x width)."
            raise ArgumentError(f"{message} Received: target_size={tuple(given)}. Expected {sides}, or leave it out.")
        return given[0], given[1]
    size = tuple(_KERAS_SIZE if side is None else side for side in sides)
    reason = "the model's input shape" if None not in sides else "Keras' default, as the model takes any size"
    notes.append(f"target_size={size}: {reason}")
    return size[0], size[1]


def _color_mode(demand: Demand, given: ColorMode | None, notes: list[str], *, channels_first: bool) -> ColorMode:
    channels = None if demand.input is None else demand.input[0 if channels_first else 2]
    if given is not None:
        if channels not in (None, COLORS[given]):
            message = f"The model takes pictures of {channels} channels, and {given!r} has {COLORS[given]}."
            raise ArgumentError(
                f"{message} Received: color_mode={given!r}. Expected one with {channels}, or leave it out."
            )
        return given
    if channels is None:
        notes.append("color_mode='rgb': Keras' default, as the model doesn't say how many channels it takes")
        return "rgb"
    for mode, count in COLORS.items():
        if count == channels:
            notes.append(f"color_mode={mode!r}: the model takes {channels} channel{'s' * (channels > 1)}")
            return mode
    layout = "(channels, height, width)" if channels_first else "(height, width, channels)"
    message = f"The model takes pictures of {channels} channels, and pictures on disk have 1, 3 or 4. "
    raise ModelError(
        message + f"Received: input shape {demand.input} read as {layout}, the ImageDataGenerator's format."
    )
