"""Rotating, shifting, shearing and zooming to the last bit of `scipy.ndimage.affine_transform`, all channels at once.

scipy works out anew for each channel where each pixel comes from and how much its neighbours weigh. Here that is done
once. Products and sums are those of scipy, of 64 bits and in its order, so that not even their rounding differs; the
place in a compiled loop where another build may round otherwise is looked at before use (`agrees`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from keras.src.legacy.preprocessing.image import apply_affine_transform, transform_matrix_offset_center

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
    """For a pixel of the result at `(row, column)`, its place in the picture: `matrix @ (row, column) + offset`."""

    matrix: Doubles
    offset: Doubles

    @classmethod
    def of(cls, parameters: Mapping[str, Any], height: int, width: int) -> Self | None:
        """What Keras makes of the parameters, in its order and rounding; `None` where no pixel moves."""
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


Sampler = Callable[[Planes, Affine, FillMode, float], Planes]
"""Gives the transformed picture by bilinear interpolation, of the same shape and number type."""


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


@np.errstate(invalid="ignore", over="ignore")  # scipy says nothing of infinite numbers
def sample_exactly(planes: Planes, affine: Affine, fill_mode: FillMode, cval: float) -> Planes:
    """The transformed picture, as scipy makes it, of a picture that is not empty, in float32 or float64."""
    _, height, width = planes.shape
    framed = _Framed(planes, mirrored=fill_mode in {"constant", "wrap"})
    result = np.empty(planes.shape, planes.dtype)
    for rows in row_blocks(height, width):
        down, across = affine.coordinates(rows, width)
        beyond = outside(down, across, height, width) if fill_mode == "constant" else None
        if fill_mode in {"reflect", "wrap"}:
            _bring_inside(down, height, fill_mode)
            _bring_inside(across, width, fill_mode)
        values = framed.between(down, across).reshape(len(planes), -1, width)
        # scipy adds to a zero, which leaves no negative one.
        np.add(values, 0.0, out=result[:, rows], casting="same_kind")
        if beyond is not None:
            result[:, rows][:, beyond.reshape(-1, width)] = cval
    return result


@cache
def agrees(fill_mode: FillMode) -> bool:
    """Whether pictures come out as they do of the scipy and the Keras that are installed, to the last of 64 bits."""
    numbers = np.random.RandomState(0)
    for theta, shift, shear, zoom in ((33.0, 2.4, 8.0, 0.7), (0.0, -3.7, 20.0, 1.9), (-70.0, 11.0, 0.0, 1.0)):
        planes = 255 * numbers.random_sample((2, 23, 31)) - 9
        parameters = {"theta": theta, "tx": shift, "ty": -shift, "shear": shear, "zx": zoom, "zy": 1 / zoom}
        theirs = apply_affine_transform(
            planes, **parameters, row_axis=1, col_axis=2, channel_axis=0, fill_mode=fill_mode, cval=7.5
        )
        affine = Affine.of(parameters, 23, 31)
        assert affine is not None  # noqa: S101 - each of them moves pixels
        if theirs.tobytes() != sample_exactly(planes, affine, fill_mode, 7.5).tobytes():
            return False
    return True


class _Framed:
    """A picture with a frame one pixel wide, so that every pixel has a neighbour on each side."""

    def __init__(self, planes: Planes, *, mirrored: bool) -> None:
        channels, self._height, self._width = planes.shape
        framed = np.empty((channels, self._height + 2, self._width + 2))
        for plane, own in zip(framed, planes, strict=True):  # in one go, numpy would walk it across the grain
            plane[1:-1, 1:-1] = own
        above, left = (2 if mirrored and size > 1 else 1 for size in (self._height, self._width))
        framed[:, 0], framed[:, -1] = framed[:, above], framed[:, -1 - above]
        framed[:, :, 0], framed[:, :, -1] = framed[:, :, left], framed[:, :, -1 - left]
        self._flat = framed.reshape(-1)
        self._stride = self._width + 2
        self._starts = np.arange(channels, dtype=np.intp)[:, np.newaxis] * ((self._height + 2) * self._stride)
        self._starts += self._stride + 1

    def between(self, down: Doubles, across: Doubles) -> Doubles:
        """The values at places inside, `(channels, places)`; `down` and `across` are used up."""
        row, column = np.floor(down), np.floor(across)
        down -= row
        across -= column
        _cut(row, self._height)
        _cut(column, self._width)
        above, left = 1 - down, 1 - across
        below, right = 1 - above, 1 - left
        row *= self._stride
        row += column
        corner = self._starts + row.astype(np.intp)
        total = self._weighted(0, corner, above, left)
        total += self._weighted(1, corner, above, right)
        total += self._weighted(self._stride, corner, below, left)
        total += self._weighted(self._stride + 1, corner, below, right)
        return total

    def _weighted(self, shift: int, corner: npt.NDArray[np.intp], one: Doubles, other: Doubles) -> Doubles:
        # No index is outside; "wrap" is the way to say so that costs least.
        values: Doubles = self._flat[shift:].take(corner, mode="wrap")
        values *= one
        values *= other
        return values


def _cut(numbers: Doubles, size: int) -> None:
    """Moves numbers of rows or columns to the nearest that there is, on the frame before the first or on the last."""
    # Often none is outside, and looking is cheaper than writing.
    if numbers.min() < -1:
        np.maximum(numbers, -1, out=numbers)
    if numbers.max() > size - 1:
        np.minimum(numbers, size - 1, out=numbers)


def _bring_inside(places: Doubles, size: int, fill_mode: FillMode) -> None:
    """Moves places along one axis to where the value that belongs there is found, in the way of scipy."""
    before, after = places < 0, places > size - 1
    if size == 1:
        places[:] = 0
        return
    if before.any():
        places[before] = (_reflected_before if fill_mode == "reflect" else _wrapped_before)(places[before], size)
    if after.any():
        places[after] = (_reflected_after if fill_mode == "reflect" else _wrapped_after)(places[after], size)


def _reflected_before(places: Doubles, size: int) -> Doubles:
    period = 2 * size
    near = np.where(places < -period, period * np.trunc(-places / period) + places, places)
    mirrored: Doubles = np.where(near < -size, near + period, np.where(near > -1e-15, 1e-15, -near) - 1)
    return mirrored


def _reflected_after(places: Doubles, size: int) -> Doubles:
    period = 2 * size
    near = places - period * np.trunc(places / period)
    mirrored: Doubles = np.where(near >= size, period - near - 1, near)
    return mirrored


def _wrapped_before(places: Doubles, size: int) -> Doubles:
    # scipy's period is one less than the side: the last pixel stands for the first of the next copy.
    wrapped: Doubles = places + (size - 1) * (np.trunc(-places / (size - 1)) + 1)
    return wrapped


def _wrapped_after(places: Doubles, size: int) -> Doubles:
    wrapped: Doubles = places - (size - 1) * np.trunc(places / (size - 1))
    return wrapped
