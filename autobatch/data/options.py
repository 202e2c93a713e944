"""What may be said about data: the options of a generator's flows, and what else is said beside the data."""

import difflib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, TypedDict

from autobatch.errors import ArgumentError

ClassMode = Literal["categorical", "sparse", "binary", "input", "raw", "multi_output"] | None
ColorMode = Literal["grayscale", "rgb", "rgba"]
Subset = Literal["training", "validation"]
ImageBackend = Literal["scipy", "opencv"]
"""`"scipy"`: Keras' own pictures, bit for bit. `"opencv"`: faster, equal to them within a small tolerance."""


class PictureOptions(TypedDict):
    """What a source of pictures takes beside its flow."""

    seed: int
    augment: bool
    image_backend: ImageBackend


@dataclass(frozen=True, slots=True)
class DataOptions:
    model: Any  # a compiled Keras model, which tells what is left out
    seed: int | None = None  # what order and augmentation derive from; drawn if `None`
    flow: Mapping[str, Any] | None = None  # what is given here wins over what is inferred
    subset: Subset = "training"  # only of a generator with a `validation_split`; without one, all are for training
    augment: bool = True
    shuffle: bool = True  # whether batches of a `PyDataset` come in a new order in every pass
    image_backend: ImageBackend = "scipy"

    @property
    def drawn_seed(self) -> int:
        return secrets.randbelow(2**31) if self.seed is None else self.seed

    @property
    def pictures(self) -> PictureOptions:
        return {"seed": self.drawn_seed, "augment": self.augment, "image_backend": self.image_backend}


class FolderOptions(TypedDict, total=False):
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


class FlowOptions(FolderOptions, total=False):
    """The arguments of `flow_from_directory`, `flow_from_dataframe` and `flow`, less the same ones and the data."""

    x_col: str
    y_col: str | Sequence[str]
    weight_col: str | None
    directory: str | PathLike[str] | None
    validate_filenames: bool
    ignore_class_split: bool


_SAVING = ("save_to_dir", "save_prefix", "save_format")
_FILES = ("target_size", "color_mode", "classes", "class_mode", "interpolation", "keep_aspect_ratio")
NAMES: Mapping[str, tuple[str, ...]] = {
    "folder": tuple(FolderOptions.__annotations__),
    "dataframe": (*_FILES, *_SAVING, "subset", "x_col", "y_col", "weight_col", "directory", "validate_filenames"),
    "arrays": (*_SAVING, "subset", "ignore_class_split"),
}
"""Which options each kind of data takes."""

_ALONE = {"folder": "A folder", "dataframe": "A dataframe", "arrays": "Arrays"}
_ELSEWHERE = {"sample_weight": " Weights are given with the data: (x, y, sample_weight)."}
_FOLDER_MODES = ("categorical", "sparse", "binary", "input", None)
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "color_mode": ("grayscale", "rgb", "rgba"),
    "class_mode": (*_FOLDER_MODES, "raw", "multi_output"),
    "subset": ("training", "validation", None),
}


def require_options(options: Mapping[str, Any], beside: Iterable[str] = (), *, kind: str | None = None) -> None:
    """Refuses options of a flow that no flow takes, or not that kind of data, and values that it doesn't know.

    `beside` are names that the function takes besides, for the message about a name that it doesn't.
    """
    for name in options:
        if name not in FlowOptions.__annotations__:
            known = FlowOptions.__annotations__ if kind is None else NAMES[kind]
            raise ArgumentError(unknown(name, options[name], [*known, *beside]))
        if kind is not None and name not in NAMES[kind]:
            raise ArgumentError(_misplaced(name, options[name], kind))
    for name, choices in _CHOICES.items():
        allowed = _FOLDER_MODES if (name, kind) == ("class_mode", "folder") else choices
        if name in options and options[name] not in allowed:
            expected = ", ".join(repr(choice) for choice in allowed)
            message = f"{_ALONE.get(kind or '', 'Pictures')} cannot be read this way. "
            raise ArgumentError(f"{message}Received: {name}={options[name]!r}. Expected one of {expected}.")
    size = options.get("target_size", (1, 1))
    whole = isinstance(size, Sequence) and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or len(size) != 2:
        message = f"Pictures need a height and a width. Received: target_size={size!r}. Expected two whole numbers > 0."
        raise ArgumentError(message)


def _misplaced(name: str, value: Any, kind: str) -> str:
    others = " or ".join(_ALONE[other].lower() for other in NAMES if name in NAMES[other])
    message = f"{_ALONE[kind]} {'have' if kind == 'arrays' else 'has'} no {name}; it is for {others}. "
    return f"{message}Received: {name}={value!r:.80}. Expected one of {', '.join(sorted(NAMES[kind]))}."


def unknown(name: str, value: Any, known: Iterable[str]) -> str:
    """What to say of an option that doesn't exist: it, the nearest that does, and all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = _ELSEWHERE.get(name) or (f" Did you mean {nearest[0]!r}?" if nearest else "")
    return f"There is no option of that name.{hint} Received: {name}={value!r:.80}. Expected one of {', '.join(names)}."
