"""A folder of pictures made to fit a model: what is left out is inferred and said, what contradicts is refused."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from autobatch.data.directory import DirectorySource
from autobatch.data.options import FlowOptions, Subset, check_options
from autobatch.data.shape import COLORS, Demand
from autobatch.data.target import check_targets, infer_class_mode
from autobatch.errors import ArgumentError, ModelError

_KERAS_SIZE = 256


def match_directory(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    *,
    seed: int = 0,
    subset: Subset = "training",
    augment: bool = True,
    options: Mapping[str, Any] | None = None,
) -> tuple[DirectorySource, tuple[str, ...]]:
    """The pictures of a folder as a model takes them, and how that was inferred.

    Args:
        model: A compiled Keras model with one input.
        datagen: An `ImageDataGenerator`.
        directory: A folder with one subfolder for each class.
        seed: What order and augmentation derive from.
        subset: Which part to read if the generator has a `validation_split`; without one, all are for training.
        augment: Whether pictures are transformed at random.
        options: What `flow_from_directory` takes; what is given wins.

    Returns:
        The source, and one sentence for each inference, such as
        `"target_size=(150, 150): the model's input shape"`.

    Raises:
        ModelError: The model isn't compiled, takes something else than one picture, or has another number of outputs
            than the folder has classes.
        ArgumentError: An option that doesn't exist, or contradicts the model.
        DataError: A folder that can't be used.
    """
    given: dict[str, Any] = dict(options or {})
    check_options(given)
    demand = Demand.of(model)
    notes: list[str] = []
    channels_first = getattr(datagen, "data_format", None) == "channels_first"
    flow = FlowOptions(**given)  # type: ignore[typeddict-item]
    flow["target_size"] = _target_size(demand, given.get("target_size"), notes, channels_first=channels_first)
    flow["color_mode"] = _color_mode(demand, given.get("color_mode"), notes, channels_first=channels_first)
    if "class_mode" not in given:
        flow["class_mode"], reason = infer_class_mode(demand)
        notes.append(f"class_mode={flow['class_mode']!r}: {reason}")
    _choose_subset(flow, datagen, subset, notes)
    source = DirectorySource(datagen, directory, seed=seed, augment=augment, **flow)
    check_targets(demand, source)
    empty = [name for name, count in source.class_counts.items() if count == 0]
    if empty:
        notes.append(f"no pictures for {len(empty)} of {len(source.class_counts)} classes: {', '.join(empty[:5])}")
    return source, tuple(notes)


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


def _color_mode(demand: Demand, given: Any, notes: list[str], *, channels_first: bool) -> Any:
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


def _choose_subset(flow: FlowOptions, datagen: Any, subset: Subset, notes: list[str]) -> None:
    if "subset" in flow:
        return
    split = getattr(datagen, "_validation_split", 0) or 0
    if split:
        share = split if subset == "validation" else 1 - split
        flow["subset"] = subset
        notes.append(f"subset={subset!r}: the generator's validation_split={split} leaves it {share:.0%} of each class")
    elif subset == "validation":
        message = "The ImageDataGenerator splits nothing off for validation: its validation_split is 0. "
        raise ArgumentError(message + "Received: subset='validation'. Expected a validation_split above 0.")
