"""What `flow_from_directory` takes, and what is said of a name that it doesn't take."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from autobatch.errors import ArgumentError

ClassMode = Literal["categorical", "sparse", "binary", "input"] | None
ColorMode = Literal["grayscale", "rgb", "rgba"]
Subset = Literal["training", "validation"]


class FlowOptions(TypedDict, total=False):
    """The arguments of Keras' `flow_from_directory`, with their meaning there.

    Missing are `directory`, which is given by itself, and `batch_size`, `shuffle` and `seed`, which autobatch decides.
    """

    target_size: tuple[int, int]
    color_mode: ColorMode
    classes: Sequence[str] | None
    class_mode: ClassMode
    save_to_dir: str | PathLike[str] | None
    save_prefix: str
    save_format: str
    follow_links: bool
    subset: Subset | None
    interpolation: str
    keep_aspect_ratio: bool


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "color_mode": ("grayscale", "rgb", "rgba"),
    "class_mode": ("categorical", "sparse", "binary", "input", None),
    "subset": ("training", "validation", None),
}


def check_options(options: Mapping[str, Any], beside: Iterable[str] = ()) -> None:
    """Says what is wrong with the options of a flow, if anything is.

    Args:
        options: What was given.
        beside: Names that the function takes besides, for the message about a name that it doesn't.

    Raises:
        ArgumentError: A name that `flow_from_directory` doesn't take, or a value that it doesn't know.
    """
    for name in options:
        if name not in FlowOptions.__annotations__:
            raise ArgumentError(unknown(name, options[name], [*FlowOptions.__annotations__, *beside]))
    for name, choices in CHOICES.items():
        if name in options and options[name] not in choices:
            expected = ", ".join(repr(choice) for choice in choices)
            message = (
                f"A folder cannot be read this way. Received: {name}={options[name]!r}. Expected one of {expected}."
            )
            raise ArgumentError(message)
    if "target_size" in options:
        _check_target_size(options["target_size"])


def unknown(name: str, value: Any, known: Iterable[str]) -> str:
    """What to say of an option that doesn't exist: it, the nearest that does, and all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"There is no option of that name.{hint} Received: {name}={value!r}. Expected one of {', '.join(names)}."


def _check_target_size(size: Any) -> None:
    whole = isinstance(size, Sequence) and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or len(size) != 2:
        message = f"Pictures need a height and a width. Received: target_size={size!r}. Expected two whole numbers > 0."
        raise ArgumentError(message)
