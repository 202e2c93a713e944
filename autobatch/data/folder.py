"""What is wrong with a folder of pictures, said before anything is read from it."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from autobatch.errors import ArgumentError, DataError

_LAYOUT = "Expected a folder with one subfolder for each class, and the pictures inside those."


def check_folder(directory: str | PathLike[str], classes: Sequence[str] | None) -> None:
    """Checks that there is a folder to walk, and in it the classes that were asked for.

    Raises:
        DataError: There is none, it is a file, or it lacks a class.
    """
    folder = Path(directory)
    if not folder.exists():
        raise DataError(f"There is no such folder: {folder}. {_LAYOUT}", str(folder))
    if not folder.is_dir():
        raise DataError(f"This is a file, not a folder: {folder}. {_LAYOUT}", str(folder))
    missing = [name for name in classes or () if not (folder / name).is_dir()]
    if missing:
        message = f"{folder} has no subfolder for {len(missing)} of the {len(classes or ())} classes. "
        raise DataError(message + f"Received: classes with {', '.join(missing[:5])}.", str(folder))


def check_subset(datagen: Any, subset: str | None) -> None:
    """Checks that a part of the pictures is only asked for where the generator splits them.

    Raises:
        ArgumentError: `validation_split` isn't set: Keras would take every picture for training and none to validate.
    """
    if subset is not None and not getattr(datagen, "_validation_split", 0):
        message = "The ImageDataGenerator splits nothing: its validation_split is 0. "
        raise ArgumentError(message + f"Received: subset={subset!r}. Expected None, or a validation_split above 0.")


def check_found(directory: str | PathLike[str], counts: dict[str, int], flow: Any) -> None:
    """Checks what the walk found.

    Args:
        directory: The folder that was walked.
        counts: For each class, how many pictures there are.
        flow: The Keras flow that found them.

    Raises:
        DataError: No pictures, or pictures of one class only where classes are to be told apart.
        ArgumentError: Another number of classes than a binary target can express.
    """
    folder = Path(directory)
    if not sum(counts.values()):
        raise DataError(_nothing_found(folder, counts, flow), str(folder))
    if flow.class_mode not in {"categorical", "sparse", "binary"}:
        return
    if flow.class_mode == "binary" and len(counts) > 2:
        message = f"{folder} has {len(counts)} classes, and a binary target, which is for 1 output, tells 2 apart. "
        raise ArgumentError(message + "Received: class_mode='binary'. Expected 'categorical' or 'sparse'.")
    filled = [name for name, count in counts.items() if count]
    if len(counts) == 1 or (len(filled) == 1 and flow.subset is None):
        message = f"{folder} has pictures of one class only ({filled[0]}): there is nothing to tell apart. "
        raise DataError(f"{message}{_LAYOUT} Without classes, give class_mode='input' or None.", str(folder))


def _nothing_found(folder: Path, counts: dict[str, int], flow: Any) -> str:
    endings = ", ".join(f".{ending}" for ending in flow.white_list_formats)
    message = f"No pictures in {folder}"
    if not counts:
        loose = sum(1 for file in folder.iterdir() if file.name.lower().endswith(flow.white_list_formats))
        beside = f"; {loose:,} pictures lie in it directly" if loose else ""
        return f"{message}: it has no subfolders{beside}. {_LAYOUT} Endings that count: {endings}."
    part = f" for the {flow.subset} part" if flow.subset else ""
    links = "" if not any((folder / name).is_symlink() for name in counts) else " Some subfolders are links."
    return f"{message}{part}: its {len(counts)} subfolders hold none.{links} {_LAYOUT} Endings that count: {endings}."
