"""A dataframe that names pictures made to fit a model: what is left out is inferred and said."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from autobatch.data.check import require_numeric_targets
from autobatch.data.images.flow import collected_warnings, without_printing
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.infer import infer_class_mode, infer_picture, infer_subset, note_empty, require_class_targets
from autobatch.data.model_spec import ModelSpec, output_names
from autobatch.data.options import ClassMode, DataOptions
from autobatch.errors import ArgumentError, DataError

_X_COL, _Y_COL = "filename", "class"  # Keras' defaults


@dataclass(frozen=True, slots=True)
class PictureTable:
    """A dataframe, and which of its columns are meant."""

    data: Any
    x_col: str  # of file names
    y_col: str | tuple[str, ...]  # of labels or numbers, or several of numbers

    @classmethod
    def of(cls, data: Any, options: Mapping[str, Any]) -> Self:
        x_col, y_col = options.get("x_col", _X_COL), options.get("y_col", _Y_COL)
        several = not isinstance(y_col, str) and hasattr(y_col, "__iter__")
        frame = cls(data, x_col, tuple(y_col) if several else y_col)
        frame._require("x_col", x_col, "the column of file names")
        if "y_col" in options:
            frame._require_targets()
        if options.get("weight_col") is not None:
            frame._require("weight_col", options["weight_col"], "the column of sample weights")
        return frame

    def infer_class_mode(self, spec: ModelSpec) -> tuple[ClassMode, str]:
        """The `class_mode` that suits a model and the columns of targets, and why."""
        name = spec.loss or "no loss"
        if isinstance(self.y_col, tuple):
            if spec.outputs > 1:
                return "multi_output", f"{len(self.y_col)} columns for {spec.outputs} outputs"
            return "raw", f"{len(self.y_col)} columns of numbers, compiled with {name}"
        if self.y_col not in self.data.columns:
            if spec.is_picture_to_picture or spec.loss is None:
                return infer_class_mode(spec) if spec.is_picture_to_picture else (None, "no loss and no targets")
            self._require_targets()
        if spec.outputs > 1 or np.asarray(self.data[self.y_col]).dtype.kind not in "biuf":
            return infer_class_mode(spec)
        if spec.kind == "categorical":
            message = f"The model is compiled with {name}, which compares one-hot vectors, and numbers are none. "
            expected = "labels as strings, dataframe[y_col].astype(str), or a sparse loss"
            raise ArgumentError(f"{message}Received: y_col={self.y_col!r} of numbers. Expected {expected}.")
        compares = "class numbers" if spec.kind == "sparse" else "numbers"
        return "raw", f"column {self.y_col!r} holds numbers, and {name} compares {compares}"

    def require_class_mode(self, mode: ClassMode) -> None:
        several = isinstance(self.y_col, tuple)
        if mode not in {None, "input"}:
            self._require_targets()
        if mode == "multi_output" and not several:
            message = "Several outputs are compared with several columns. "
            raise ArgumentError(
                f"{message}Received: y_col={self.y_col!r}. Expected a list, one column for each output."
            )
        if mode in {"categorical", "sparse", "binary"} and several:
            message = f"Classes are in one column, and class_mode={mode!r} makes targets of them. "
            raise ArgumentError(f"{message}Received: y_col={list(self.y_col)}. Expected one, or class_mode='raw'.")

    def lost(self, folder: Any, formats: tuple[str, ...]) -> str:
        """A sentence on the names under which there is no picture; empty if there is one under each."""
        names = [str(name) for name in self.data[self.x_col]]
        lost = [name for name in names if not _is_picture(os.path.join(folder or "", name), formats)]  # noqa: PTH118
        if not lost:
            return ""
        shown = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        return f"left out {len(lost)} of {len(names)} rows, as there is no picture under these names: {shown}"

    def _require_targets(self) -> None:
        for name in self.y_col if isinstance(self.y_col, tuple) else (self.y_col,):
            self._require("y_col", name, "the column of targets")

    def _require(self, option: str, name: Any, what: str) -> None:
        if name not in self.data.columns:
            columns = [str(column) for column in self.data.columns]
            message = f"The dataframe has no column {name!r}, {what}. "
            raise ArgumentError(f"{message}Received: columns {columns}. Expected {option}= one of them.")


def _is_picture(path: str, formats: tuple[str, ...]) -> bool:
    return path.lower().endswith(formats) and os.path.isfile(path)  # noqa: PTH113 - as Keras tells it


def open_dataframe(datagen: Any, dataframe: Any, options: DataOptions, notes: list[str]) -> FlowSource:
    """The pictures that a pandas `DataFrame` names, as a model takes them.

    `keep_aspect_ratio`, which Keras' `flow_from_dataframe` takes without a word and ignores, is heeded.
    """
    given: dict[str, Any] = dict(options.flow or {})
    spec = ModelSpec.of(options.model)
    frame = PictureTable.of(dataframe, given)
    flow_options = given | infer_picture(spec, datagen, given, notes)
    if "class_mode" not in given:
        flow_options["class_mode"], reason = frame.infer_class_mode(spec)
        notes.append(f"class_mode={flow_options['class_mode']!r}: {reason}")
    frame.require_class_mode(flow_options["class_mode"])
    flow_options |= infer_subset(datagen, given, options.subset, notes, "the rows")
    flow = _flow(datagen, frame, flow_options, notes)
    source = FlowSource(flow, **options.pictures)
    if source.class_mode in {"raw", "multi_output"}:
        require_numeric_targets(spec, flow.labels, f"y_col={frame.y_col!r}")
    if source.class_mode == "multi_output":
        pairs = zip(frame.y_col, output_names(options.model), strict=False)
        notes.extend(f"y_col: {column!r} is compared with output {name!r}" for column, name in pairs)
    require_class_targets(spec, source)
    note_empty(source, notes)
    return source


def _flow(datagen: Any, frame: PictureTable, options: dict[str, Any], notes: list[str]) -> Any:
    folder = options.get("directory")
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"There is no such folder: {folder}. Expected the one that x_col's names are in.", str(folder))
    options = options | {"directory": None if folder is None else os.fspath(folder)}
    aspect = options.pop("keep_aspect_ratio", False)
    if isinstance(frame.y_col, tuple):
        options["y_col"] = list(frame.y_col)
    try:
        with without_printing(), collected_warnings() as said:
            flow = datagen.flow_from_dataframe(frame.data, batch_size=1, **options)
    except (TypeError, ValueError, KeyError) as error:
        shown = ", ".join(f"{name}={options[name]!r}" for name in sorted({"x_col", "y_col", "class_mode"} & {*options}))
        message = f"Keras makes no flow of this dataframe: {error} "
        raise ArgumentError(f"{message}Received: {shown}. Expected columns of that form.") from error
    flow.keep_aspect_ratio = aspect
    notes.extend(
        frame.lost(folder, flow.white_list_formats) if "invalid image filename" in one else one for one in said
    )
    _require_found(frame, folder, flow)
    return flow


def _require_found(frame: PictureTable, folder: Any, flow: Any) -> None:
    if flow.n == 0:
        where = "the working folder" if folder is None else folder
        part = f" for the {flow.subset} part" if flow.subset else ""
        message = f"No pictures{part}: {frame.lost(folder, flow.white_list_formats) or 'there are no rows'}. "
        raise DataError(f"{message}Expected files in {where}, or names with their folder.", folder and str(folder))
    if flow.class_mode in {"categorical", "sparse", "binary"} and len(flow.class_indices) == 1:
        message = (
            f"The dataframe has one class only ({next(iter(flow.class_indices))}): there is nothing to tell apart. "
        )
        raise DataError(f"{message}Without classes, give class_mode='input' or None.")
