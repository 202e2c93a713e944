"""Arrays as a source: numpy arrays, tensors, dataframes, and lists, tuples and dicts of them."""

import math
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

from autobatch._arguments import require_fraction
from autobatch.data.batch import EXPECTED, Batch, dense, kept_type, leaves, map_leaves, refusal, shown
from autobatch.data.epoch import as_indices
from autobatch.errors import ArgumentError


class Column:
    """An array whose rows are samples, or a dataframe; nothing is copied but what is read."""

    def __init__(self, values: Any, dtype: npt.DTypeLike) -> None:
        self._values = values
        self._dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""
        return tuple(int(length) for length in self._values.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def sample_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self._dtype.itemsize

    def rows(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        values = self._values
        rows = values.iloc[indices].to_numpy() if hasattr(values, "iloc") else dense(values[indices])
        return rows.astype(self._dtype, copy=False)  # type: ignore[no-any-return]

    def __getitem__(self, window: slice) -> Self:
        values = self._values.iloc[window] if hasattr(self._values, "iloc") else self._values[window]
        return type(self)(values, self._dtype)


def _column_of(values: Any, name: str, *, flat: bool) -> Column:
    """What a user gave as an array, as Keras reads it: an array, tensor, dataframe or series (flat, or a column)."""
    reason = refusal(values)
    if reason is not None:
        raise ArgumentError(f"{name} can't be cut by samples: {reason}. Received: {shown(values)}.")
    if hasattr(values, "iloc") and values.ndim == 2:
        return Column(values, _read_as(values.iloc[:0].to_numpy().dtype))
    if hasattr(values, "dense_shape"):
        places, size = np.asarray(values.indices).T, tuple(np.asarray(values.dense_shape))
        values = coo_array((np.asarray(values.values), tuple(places)), size)
    if hasattr(values, "tocsr"):
        return Column(values.tocsr(), _read_as(values.dtype))  # its rows are made dense as they are read
    array = np.asarray(values)
    if array.ndim == 0:
        raise ArgumentError(
            f"{name} has no first dimension to tell samples apart; a list of numbers counts as several inputs. "
            f"Received: {shown(values)}. Expected arrays, such as np.asarray([...])."
        )
    if hasattr(values, "iloc") and not flat:
        array = array[:, np.newaxis]
    return Column(array, _read_as(array.dtype))


def _read_as(dtype: np.dtype[Any]) -> npt.DTypeLike:
    # bfloat16 and the 8-bit floats are types of another package, which numpy knows by name alone.
    return keras.config.floatx() if dtype.kind == "f" or "float" in dtype.name else kept_type(dtype)


_NAMES = "x", "y", "sample_weight"


class ArraySource:
    """Samples that lie in arrays along their first dimension. Nothing is copied but the rows that are read.

    As in `keras.Model.fit`, numbers with a fraction become `keras.config.floatx()` and a pandas series a column; one
    weight array serves every output.
    """

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None, *, seed: int = 0) -> None:
        self.seed = seed
        x, y = _columns(x, "x"), _columns(y, "y")
        weight = _for_each_output(_columns(sample_weight, "sample_weight", weights=True), y)
        self._nests = x, y, weight
        self._length = _common_length(self._nests)

    def __len__(self) -> int:
        return self._length

    @property
    def sample_bytes(self) -> int:
        return sum(column.sample_bytes for column in leaves(self._nests))

    def read(self, indices: Any, epoch: int) -> Batch:  # noqa: ARG002 - arrays look the same in every epoch
        places = as_indices(indices, len(self))
        x, y, sample_weight = map_leaves(lambda column: column.rows(places), self._nests)
        bare = y is None and sample_weight is None and not isinstance(x, list | tuple)
        return Batch(x, y, sample_weight, bare=bare)

    def split(self, fraction: float) -> tuple[Self, Self]:
        """What is trained on and what is held out: the last samples as they lie, as in `validation_split`."""
        require_fraction("A part is held out for validation.", fraction=fraction)
        at = math.floor(len(self) * (1.0 - fraction))
        if at in {0, len(self)}:
            msg = (
                f"Of {len(self):,} samples, {len(self) - at:,} would be held out and {at:,} left to train on, and both "
                f"parts need one. Received: fraction={fraction!r}. Expected another fraction, or more samples."
            )
            raise ArgumentError(msg)
        return self._part(slice(0, at)), self._part(slice(at, len(self)))

    def _part(self, window: slice) -> Self:
        part = object.__new__(type(self))
        part.seed = self.seed
        part._nests = map_leaves(lambda column: column[window], self._nests)
        part._length = _common_length(part._nests)
        return part


def arrays_of(data: Any) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights of what is given in one piece: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    if isinstance(data, list):
        msg = "A list could be (x, y) or several inputs. "
        raise ArgumentError(f"{msg}Received: data={shown(data)}. Expected a tuple: (x, y), or ([x1, x2], y).")
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ArgumentError(f"Received: data={shown(data)}, a tuple of {len(parts)}. {EXPECTED}")
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight


def _columns(nest: Any, name: str, *, weights: bool = False) -> Any:
    return map_leaves(lambda leaf: _column_of(leaf, name, flat=weights), nest)


def _for_each_output(weights: Any, y: Any) -> Any:
    if weights is None or not isinstance(y, dict | list | tuple):
        return weights
    if isinstance(weights, Column):
        if len(weights.shape) > 1 and weights.shape[1:] != (1,):
            raise ArgumentError(
                "One array of weights for several outputs has one number for each sample. Received: sample_weight of "
                f"shape {weights.shape}. Expected shape (samples,), or weights in the form of y."
            )
        return map_leaves(lambda _: weights, y)
    if _outline(weights) != _outline(y):
        raise ArgumentError(
            "Each output needs its weights. Received: sample_weight in another nest than y. Expected the same keys or "
            "the same number, or one array for all."
        )
    return weights


def _outline(nest: Any) -> Any:
    if isinstance(nest, dict):
        return {key: _outline(value) for key, value in nest.items()}
    return [_outline(value) for value in nest] if isinstance(nest, list | tuple) else None


def _common_length(nests: tuple[Any, Any, Any]) -> int:
    lengths = {name: [len(column) for column in leaves(nest)] for name, nest in zip(_NAMES, nests, strict=True)}
    if not lengths["x"]:
        raise ArgumentError("There are no inputs. Received: x without an array. Expected at least one.")
    different = {length for each in lengths.values() for length in each}
    if len(different) > 1:
        text = ", ".join(
            f"{name} with {' and '.join(f'{n:,}' for n in each)}" for name, each in lengths.items() if each
        )
        raise ArgumentError(f"Arrays differ in their number of samples. Received: {text}. Expected the same for all.")
    number = different.pop()
    if number == 0:
        raise ArgumentError("There are no samples. Received: arrays of length 0. Expected at least 1.")
    return number
