"""One array of a data set, read by rows and cast as it is read."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from autobatch.data.item import refusal, shown
from autobatch.data.text import kept_type
from autobatch.errors import ArgumentError


class Column:
    """An array whose rows are samples, or a dataframe.

    Args:
        values: What holds the rows; not copied.
        dtype: The type of what is read.
    """

    def __init__(self, values: Any, dtype: npt.DTypeLike) -> None:
        self._values = values
        self._dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, samples first."""
        return tuple(int(length) for length in self._values.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def sample_bytes(self) -> int:
        """Bytes of one row as it is read."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self._dtype.itemsize

    def rows(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Copies of these rows."""
        values = self._values
        rows = values.iloc[indices].to_numpy() if hasattr(values, "iloc") else values[indices]
        return rows.astype(self._dtype, copy=False)  # type: ignore[no-any-return]

    def __getitem__(self, window: slice) -> Self:
        """The rows of a window, not copied."""
        values = self._values.iloc[window] if hasattr(self._values, "iloc") else self._values[window]
        return type(self)(values, self._dtype)


def column_of(values: Any, name: str, floatx: str, *, flat: bool = False) -> Column:
    """What a user gave as an array, as Keras reads it.

    Args:
        values: An array, a tensor, a dataframe or a series.
        name: What it was given as, for the message.
        floatx: What numbers with a fraction become.
        flat: Whether a series stays flat instead of becoming a column.

    Raises:
        ArgumentError: It is no dense array with samples along its first dimension.
    """
    reason = refusal(values)
    if reason is not None:
        raise ArgumentError(f"{name} can't be cut by samples: {reason}. Received: {shown(values)}.")
    if hasattr(values, "iloc") and values.ndim == 2:
        return Column(values, _read_as(values.iloc[:0].to_numpy().dtype, floatx))
    array = np.asarray(values)
    if array.ndim == 0:
        raise ArgumentError(
            f"{name} has no first dimension to tell samples apart; a list of numbers counts as several inputs. "
            f"Received: {shown(values)}. Expected arrays, such as np.asarray([...])."
        )
    if hasattr(values, "iloc") and not flat:
        array = array[:, np.newaxis]
    return Column(array, _read_as(array.dtype, floatx))


def _read_as(dtype: np.dtype[Any], floatx: str) -> npt.DTypeLike:
    # bfloat16 and the 8-bit floats are types of another package, which numpy knows by name alone.
    return floatx if dtype.kind == "f" or "float" in dtype.name else kept_type(dtype)
