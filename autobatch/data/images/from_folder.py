"""A folder of pictures made to fit a model: what is left out is inferred and said, what contradicts is refused."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from autobatch.data.images.flow import require_image_generator, without_printing
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.infer import (
    infer_class_mode,
    infer_picture,
    infer_subset,
    note_empty,
    require_class_targets,
    require_subset,
)
from autobatch.data.model_spec import ModelSpec
from autobatch.data.options import DataOptions, FolderOptions, ImageBackend, require_options
from autobatch.errors import ArgumentError, DataError

_LAYOUT = "Expected a folder with one subfolder for each class, and the pictures inside those."


def require_folder(directory: str | PathLike[str], classes: Sequence[str] | None) -> None:
    """Refuses what is no folder to walk, or lacks a class that was asked for."""
    folder = Path(directory)
    if not folder.exists():
        raise DataError(f"There is no such folder: {folder}. {_LAYOUT}", str(folder))
    if not folder.is_dir():
        raise DataError(f"This is a file, not a folder: {folder}. {_LAYOUT}", str(folder))
    missing = [name for name in classes or () if not (folder / name).is_dir()]
    if missing:
        message = f"{folder} has no subfolder for {len(missing)} of the {len(classes or ())} classes. "
        raise DataError(message + f"Received: classes with {', '.join(missing[:5])}.", str(folder))


def require_found(directory: str | PathLike[str], counts: dict[str, int], flow: Any) -> None:
    """Refuses what the walk found, if that is nothing or one class only, or too many for a binary target."""
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


class DirectorySource(FlowSource):
    """The pictures of a folder with one subfolder for each class, which is walked once, here."""

    def __init__(
        self,
        datagen: Any,
        directory: str | PathLike[str],
        *,
        seed: int = 0,
        augment: bool = True,
        image_backend: ImageBackend = "scipy",
        **options: Unpack[FolderOptions],
    ) -> None:
        require_image_generator(datagen)
        require_options(options, kind="folder")
        require_subset(datagen, options.get("subset"))
        require_folder(directory, options.get("classes"))
        flow = _walk(datagen, directory, options)
        super().__init__(flow, seed=seed, augment=augment, image_backend=image_backend)
        require_found(directory, self.class_counts, self._flow)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        return np.asarray(self._flow.classes, dtype=np.int32)


def _walk(datagen: Any, directory: str | PathLike[str], options: FolderOptions) -> Any:
    try:
        with without_printing():
            return datagen.flow_from_directory(fspath(directory), batch_size=1, **options)
    except OSError as error:
        raise DataError(f"{fspath(directory)} cannot be walked: {error}.", fspath(directory)) from error


def open_folder(
    datagen: Any, directory: str | PathLike[str], options: DataOptions, notes: list[str]
) -> DirectorySource:
    """The pictures of a folder as a model takes them."""
    given: dict[str, Any] = dict(options.flow or {})
    spec = ModelSpec.of(options.model)
    flow = FolderOptions(**(given | infer_picture(spec, datagen, given, notes)))  # type: ignore[typeddict-item]
    if "class_mode" not in given:
        flow["class_mode"], reason = infer_class_mode(spec)
        notes.append(f"class_mode={flow['class_mode']!r}: {reason}")
    flow.update(infer_subset(datagen, given, options.subset, notes, "each class"))
    source = DirectorySource(datagen, directory, **options.pictures, **flow)
    require_class_targets(spec, source)
    note_empty(source, notes)
    return source
