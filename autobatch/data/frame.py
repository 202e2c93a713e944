"""What the columns of a dataframe hold, and which form of targets they can give."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from autobatch.data.options import ClassMode
from autobatch.data.shape import Demand
from autobatch.data.target import infer_class_mode
from autobatch.errors import ArgumentError

_X_COL, _Y_COL = "filename", "class"  # Keras' defaults


@dataclass(frozen=True, slots=True)
class Frame:
    """A dataframe, and which of its columns are meant.

    Attributes:
        data: A pandas `DataFrame`.
        x_col: The column of file names.
        y_col: The column of labels or numbers, or several of numbers.
    """

    data: Any
    x_col: str
    y_col: str | tuple[str, ...]

    @classmethod
    def of(cls, data: Any, options: Mapping[str, Any]) -> Self:
        """Finds the columns.

        Raises:
            ArgumentError: There is no column of that name, or none is named and none has Keras' default name.
        """
        x_col, y_col = options.get("x_col", _X_COL), options.get("y_col", _Y_COL)
        several = not isinstance(y_col, str) and hasattr(y_col, "__iter__")
        frame = cls(data, x_col, tuple(y_col) if several else y_col)
        frame._require("x_col", x_col, "the column of file names")
        for name in y_col if "y_col" in options and several else (y_col,) if "y_col" in options else ():
            frame._require("y_col", name, "the column of targets")
        if options.get("weight_col") is not None:
            frame._require("weight_col", options["weight_col"], "the column of sample weights")
        return frame

    def infer_class_mode(self, demand: Demand) -> tuple[ClassMode, str]:
        """The `class_mode` that suits a model and the columns of targets, and why.

        Raises:
            ArgumentError: The columns can't give what the loss compares.
            ModelError: The model has an output that no label can stand for.
        """
        name = demand.loss or "no loss"
        if isinstance(self.y_col, tuple):
            if demand.outputs > 1:
                return "multi_output", f"{len(self.y_col)} columns for {demand.outputs} outputs"
            return "raw", f"{len(self.y_col)} columns of numbers, compiled with {name}"
        if self.y_col not in self.data.columns:
            if demand.is_picture_to_picture or demand.loss is None:
                return infer_class_mode(demand) if demand.is_picture_to_picture else (None, "no loss and no targets")
            self._require("y_col", self.y_col, "the column of targets")
        if demand.outputs > 1 or not self._numeric(self.y_col):
            return infer_class_mode(demand)
        if demand.kind == "categorical":
            message = f"The model is compiled with {name}, which compares one-hot vectors, and numbers are none. "
            expected = "labels as strings, dataframe[y_col].astype(str), or a sparse loss"
            raise ArgumentError(f"{message}Received: y_col={self.y_col!r} of numbers. Expected {expected}.")
        compares = "class numbers" if demand.kind == "sparse" else "numbers"
        return "raw", f"column {self.y_col!r} holds numbers, and {name} compares {compares}"

    def check_class_mode(self, mode: ClassMode) -> None:
        """Checks a form of targets against the columns.

        Raises:
            ArgumentError: A column isn't there, one stands for several outputs, or there are several for classes.
        """
        several = isinstance(self.y_col, tuple)
        for name in () if mode in {None, "input"} else self.y_col if isinstance(self.y_col, tuple) else (self.y_col,):
            self._require("y_col", name, "the column of targets")
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

    def _numeric(self, column: str) -> bool:
        return bool(np.asarray(self.data[column]).dtype.kind in "biuf")

    def _require(self, option: str, name: Any, what: str) -> None:
        if name not in self.data.columns:
            columns = [str(column) for column in self.data.columns]
            message = f"The dataframe has no column {name!r}, {what}. "
            raise ArgumentError(f"{message}Received: columns {columns}. Expected {option}= one of them.")


def _is_picture(path: str, formats: tuple[str, ...]) -> bool:
    return path.lower().endswith(formats) and os.path.isfile(path)  # noqa: PTH113 - as Keras tells it
