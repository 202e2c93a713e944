"""What transforms pictures: the same draws and the same meaning, applied by scipy's arithmetic or by OpenCV.

OpenCV 5 works out places in 32 bits, so that a place 500 pixels away is off by some 0.0001 pixels. Earlier versions
round places to 1/32 of a pixel, which can be seen; they are refused.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import numpy as np

from autobatch.data.check import is_keras_own
from autobatch.data.images.affine import (
    AFFINE,
    FILL_MODES,
    Affine,
    FillMode,
    Planes,
    Sampler,
    agrees,
    outside,
    row_blocks,
    sample_exactly,
)
from autobatch.data.options import ImageBackend
from autobatch.errors import ArgumentError, MissingExtraError

PLACE_ROUNDING = 2.0**-21
"""How far a place may be off, as a part of the largest coordinate it is computed from."""

CHANNELS = (1, 3, 4)
"""Channels of the pictures that it is used for."""

_INSTALL = "pip install 'keras-autobatch[opencv]'"
_LONGEST_SIDE = 2**15 - 2


def sample_by_opencv(planes: Planes, affine: Affine, fill_mode: FillMode, cval: float) -> Planes:
    """The transformed picture; a value differs from scipy's by what its neighbours differ times `PLACE_ROUNDING`."""
    cv2 = opencv()
    _, height, width = planes.shape
    (down_row, down_column), (across_row, across_column) = affine.matrix
    down, across = affine.offset
    to_source = np.array([[across_column, across_row, across], [down_column, down_row, down]])
    border = cv2.BORDER_REFLECT if fill_mode == "reflect" else cv2.BORDER_REPLICATE
    picture = np.ascontiguousarray(planes.transpose(1, 2, 0))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    made = cv2.warpAffine(picture, to_source, (width, height), flags=flags, borderMode=border)
    result: Planes = made.reshape(picture.shape).transpose(2, 0, 1)
    if fill_mode == "constant":
        # OpenCV would fade into the value; scipy ends where the last pixel is.
        for rows in row_blocks(height, width):
            beyond = outside(*affine.coordinates(rows, width), height, width)
            result[:, rows][:, beyond.reshape(-1, width)] = cval
    return result


def can_sample(planes: Planes, fill_mode: FillMode) -> bool:
    """Whether OpenCV can do what scipy does: not where it would wrap around, as the two mean different things by it."""
    fits = len(planes) in CHANNELS and max(planes.shape) <= _LONGEST_SIDE
    return fits and fill_mode != "wrap" and planes.dtype == np.float32


@cache
def opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError(f"image_backend='opencv' needs OpenCV: {_INSTALL}.") from error
    return cv2


@cache
def require_opencv() -> None:
    """Refuses an OpenCV that is not installed, or places pixels too coarsely."""
    version = opencv().__version__
    off = _off()
    if off > 1e-3:
        msg = (
            f"OpenCV {version} rounds places to a part of a pixel here: on a picture of noise from 0 to 255, values "
            f"differ from scipy's by up to {255 * off:.2g}. image_backend='opencv' needs OpenCV 5 or later: {_INSTALL}."
        )
        raise MissingExtraError(msg)


def _off() -> float:
    """The largest difference from scipy in a picture of noise between 0 and 1."""
    planes = np.random.RandomState(0).random_sample((3, 64, 64)).astype(np.float32)
    affine = Affine.of({"theta": 20.0, "zx": 0.9, "shear": 5.0}, 64, 64)
    assert affine is not None  # noqa: S101 - these parameters move pixels
    made, exact = (sample(planes, affine, "nearest", 0.0) for sample in (sample_by_opencv, sample_exactly))
    return float(np.abs(made - exact).max())


_REST: Mapping[str, Any] = {name: 1 if name in {"zx", "zy"} else 0 for name in AFFINE}


def require_image_backend(name: Any) -> ImageBackend:
    """The name, if it means something that can be used here."""
    if not isinstance(name, str) or name not in get_args(ImageBackend):
        msg = "Pictures are transformed by scipy or by OpenCV. "
        raise ArgumentError(f"{msg}Received: image_backend={name!r}. Expected 'scipy' or 'opencv'.")
    if name == "opencv":
        require_opencv()
    return name  # type: ignore[return-value]


class PixelMover:
    """Moves the pixels of a picture as an `ImageDataGenerator` would, before the rest of its transformation.

    What differs from Keras' own way, and so is left to Keras: an interpolation that isn't linear, a fill mode that
    Keras doesn't name, other numbers than float32 and float64, and a scipy whose rounding is another than here.
    """

    def __init__(self, datagen: Any, backend: ImageBackend) -> None:
        self._backend = backend
        self._datagen = datagen
        self._rows_first = getattr(datagen, "row_axis", 1) - 1

    def __call__(self, picture: Any, parameters: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The picture with its pixels moved, and what of the transformation is left to be done."""
        if not self._can_move(picture):
            return picture, parameters
        channels_last = self._rows_first == 0
        planes = picture.transpose(2, 0, 1) if channels_last else picture
        affine = Affine.of(parameters, *planes.shape[1:])
        if affine is None or not affine.is_near(*planes.shape[1:]):
            return picture, parameters
        sampler = self._sampler(planes)
        if sampler is None:
            return picture, parameters
        moved = sampler(planes, affine, self._datagen.fill_mode, self._datagen.cval)
        return moved.transpose(1, 2, 0) if channels_last else moved, {**parameters, **_REST}

    def _can_move(self, picture: Any) -> bool:
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or 0 in picture.shape:
            return False
        fill_mode, order = (getattr(self._datagen, name, None) for name in ("fill_mode", "interpolation_order"))
        known = fill_mode in FILL_MODES and order == 1
        return known and picture.dtype in (np.float32, np.float64) and picture.dtype.isnative

    def _sampler(self, planes: Planes) -> Sampler | None:
        fill_mode = self._datagen.fill_mode
        if self._backend == "opencv" and can_sample(planes, fill_mode):
            return sample_by_opencv
        return sample_exactly if agrees(fill_mode) else None


def why_not_opencv(datagen: Any, channels: int, dtype: Any) -> str | None:
    """Why OpenCV cannot be used for pictures of so many channels, transformed in `dtype`; `None` if it can."""
    if not is_keras_own(datagen, "apply_transform"):
        why = f"{type(datagen).__name__} transforms pictures in a way of its own"
    elif (order := getattr(datagen, "interpolation_order", 1)) != 1:
        why = f"interpolation_order={order} of the generator is not 1"
    elif (mode := getattr(datagen, "fill_mode", "nearest")) not in FILL_MODES or mode == "wrap":
        why = f"fill_mode={mode!r} means something else to OpenCV"
    elif np.dtype(dtype) != np.float32:
        why = f"pictures are transformed in {np.dtype(dtype).name}, not float32"
    elif channels not in CHANNELS:
        why = f"pictures have {channels} channels, and it takes 1, 3 or 4"
    else:
        why = None
    return why
