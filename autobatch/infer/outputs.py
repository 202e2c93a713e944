"""The predictions of all samples, put in a row as they come: one for each sample, in order."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from autobatch.errors import DataError, ModelError

Allow = Callable[[int], None]


class OutputRows:
    """Gathers the outputs of micro-batches in arrays that hold those of all samples.

    With their number known, the arrays are made once, in the form of the first outputs. Otherwise the parts are kept
    and joined in the end, one output after the other.
    """

    def __init__(self, total: int | None, allow: Allow = lambda _: None) -> None:
        self._total, self._allow = total, allow
        self._form: Any = None
        self._first: list[Any] = []
        self._whole: list[Any] = []
        self._parts: list[list[Any]] = []
        self.filled = 0

    def add(self, outputs: Any, size: int) -> None:
        """Takes the outputs of the next `size` samples."""
        leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(outputs)]
        _require_rows(leaves, size)
        if self._form is None:
            self._begin(outputs, leaves)
        _require_same(self._first, leaves)
        if self._total is None:
            for parts, leaf in zip(self._parts, leaves, strict=True):
                parts.append(np.array(leaf))  # a copy: what came may be memory of the framework's
        else:
            for array, leaf in zip(self._whole, leaves, strict=True):
                array[self.filled : self.filled + size] = leaf
        self.filled += size

    def since(self, start: int) -> Any:
        """The outputs from a sample on, in the nest of the model's outputs."""
        if self._total is not None:
            return self._packed([array[start : self.filled] for array in self._whole])
        return self._packed([_tail(parts, self.filled - start) for parts in self._parts])

    def result(self) -> Any:
        """The outputs of all samples so far, in the nest of the model's outputs; nothing can be added any more."""
        if self._form is None:
            raise DataError("There is nothing to predict: the data came to an end before their first sample.")
        if self._total is not None:
            return self._packed([array[: self.filled] for array in self._whole])
        joined = []
        while self._parts:
            joined.append(np.concatenate(self._parts.pop(0)))
        return self._packed(joined)

    def _begin(self, outputs: Any, leaves: list[Any]) -> None:
        # Empty, so that nothing large is held for its form.
        self._first = [leaf[:0].copy() for leaf in leaves]
        self._form = keras.tree.pack_sequence_as(outputs, self._first)
        self._parts = [[] for _ in leaves]
        if self._total is not None:
            self._allow(self._total * sum(leaf[:1].nbytes for leaf in leaves))
            self._whole = [np.empty((self._total, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]

    def _packed(self, leaves: list[Any]) -> Any:
        return keras.tree.pack_sequence_as(self._form, leaves)


def _tail(parts: list[Any], count: int) -> Any:
    """The last `count` rows of some parts, which begin where a part does."""
    taken: list[Any] = []
    while count:
        taken.insert(0, parts[-1 - len(taken)])
        count -= len(taken[0])
    return taken[0] if len(taken) == 1 else np.concatenate(taken)


def _require_rows(leaves: list[Any], size: int) -> None:
    shapes = [leaf.shape for leaf in leaves]
    if not leaves or any(shape[:1] != (size,) for shape in shapes):
        msg = (
            "The predictions cannot be put in order: they are not one for each sample. "
            f"Received: outputs of shapes {shapes} for {size} samples. Expected {size} as the first number of each."
        )
        raise ModelError(msg)


def _require_same(first: list[Any], leaves: list[Any]) -> None:
    before, now = ([(leaf.shape[1:], leaf.dtype) for leaf in some] for some in (first, leaves))
    if before != now:
        msg = (
            "The predictions cannot be put in one array: their shapes differ from sample to sample. "
            f"Received: {now} after {before}. Expected the same for all; model.predict makes ragged tensors of them."
        )
        raise ModelError(msg)
