"""Where the pixels of a rotated, shifted, sheared or zoomed picture come from, as Keras' generator says it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from keras.src.legacy.preprocessing.image import transform_matrix_offset_center

FillMode = Literal["nearest", "constant", "reflect", "wrap"]
"""What stands beyond the edges of a picture, with scipy's meaning."""

FILL_MODES: tuple[FillMode, ...] = ("nearest", "constant", "reflect", "wrap")
AFFINE = ("theta", "tx", "ty", "shear", "zx", "zy")
"""The parameters of Keras' `apply_transform` that move pixels; the rest change them where they are, or mirror."""

_FARTHEST = 2.0**31
_BLOCK_PIXELS = 16384

Planes = npt.NDArray[Any]
"""A picture as `(channels, height, width)`."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Affine:
    """For a pixel of the result at `(row, column)`, its place in the picture: `matrix @ (row, column) + offset`.

    Attributes:
        matrix: Shape `(2, 2)`.
        offset: Shape `(2,)`, in pixels.
    """

    matrix: Doubles
    offset: Doubles

    @classmethod
    def of(cls, parameters: Mapping[str, Any], height: int, width: int) -> Self | None:
        """What Keras makes of the parameters of a transformation, in its order and its rounding.

        Returns:
            `None` where they leave every pixel in its place.
        """
        steps = list(_steps(parameters))
        if not steps:
            return None
        whole = steps[0]
        for step in steps[1:]:
            whole = np.dot(whole, step)
        whole = transform_matrix_offset_center(whole, height, width)
        # Keras names rows before columns here and columns before rows in the parameters.
        swapped = whole[[1, 0, 2]][:, [1, 0, 2]]
        return cls(swapped[:2, :2], swapped[:2, 2])

    def coordinates(self, rows: slice, width: int) -> tuple[Doubles, Doubles]:
        """The places of the pixels of some rows, flat: how far down and how far across, rounded as in scipy."""
        numbers = np.arange(rows.start, rows.stop, dtype=np.float64)
        columns = np.arange(width, dtype=np.float64)
        down, across = (
            np.add.outer(start + numbers * first, columns * second).reshape(-1)
            for start, (first, second) in zip(self.offset, self.matrix, strict=True)
        )
        return down, across

    def is_near(self, height: int, width: int) -> bool:
        """Whether all places are so near that they can be counted in pixels."""
        largest = np.abs(self.matrix) @ np.array([height, width], dtype=np.float64) + np.abs(self.offset)
        return bool(np.all(largest < _FARTHEST))


class Sampler(Protocol):
    """Takes the pixels of a picture from where they are, by bilinear interpolation."""

    def __call__(self, planes: Planes, affine: Affine, fill_mode: FillMode, cval: float) -> Planes:
        """The transformed picture, of the same shape and number type."""
        ...


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Slices of rows, so few at a time that what is computed for them stays near the processor."""
    rows = max(1, _BLOCK_PIXELS // width)
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))


def outside(down: Doubles, across: Doubles, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Which places are not between the first and the last row and column."""
    return (down < 0) | (down > height - 1) | (across < 0) | (across > width - 1)


def _steps(parameters: Mapping[str, Any]) -> Iterator[Doubles]:
    theta, tx, ty, shear = (parameters.get(name, 0) for name in AFFINE[:4])
    zx, zy = (parameters.get(name, 1) for name in AFFINE[4:])
    if theta != 0:
        angle = np.deg2rad(theta)
        yield np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if tx != 0 or ty != 0:
        yield np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]], dtype=np.float64)
    if shear != 0:
        angle = np.deg2rad(shear)
        yield np.array([[1, -np.sin(angle), 0], [0, np.cos(angle), 0], [0, 0, 1]])
    if zx != 1 or zy != 1:
        yield np.array([[zx, 0, 0], [0, zy, 0], [0, 0, 1]], dtype=np.float64)
