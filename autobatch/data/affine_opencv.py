"""Bilinear sampling by OpenCV: many times faster than scipy, and equal to it but for a little rounding.

OpenCV 5 works out places in 32 bits, so that a place 500 pixels away is off by some 0.0001 pixels. Earlier versions
round places to 1/32 of a pixel, which can be seen; they are refused.
"""

from functools import cache
from typing import Any

import numpy as np

from autobatch.data.affine import Affine, FillMode, Planes, outside, row_blocks
from autobatch.data.affine_exact import sample_exactly
from autobatch.errors import MissingExtraError

PLACE_ROUNDING = 2.0**-21
"""How far a place may be off, as a part of the largest coordinate it is computed from."""

CHANNELS = (1, 3, 4)
"""Channels of the pictures that it is used for."""

_INSTALL = "pip install 'keras-autobatch[opencv]'"
_LONGEST_SIDE = 2**15 - 2


def sample_by_opencv(planes: Planes, affine: Affine, fill_mode: FillMode, cval: float) -> Planes:
    """The transformed picture; a value differs from scipy's by what the values around it differ times `PLACE_ROUNDING`.

    Args:
        planes: As `can_sample` allows.
        affine: Where pixels come from.
        fill_mode: What stands beyond the edges, but for `"wrap"`.
        cval: The value there, if that is `"constant"`.
    """
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
    """The package.

    Raises:
        MissingExtraError: It is not installed, or places pixels too coarsely.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError(f"image_backend='opencv' needs OpenCV: {_INSTALL}.") from error
    return cv2


@cache
def require_opencv() -> None:
    """Checks that OpenCV is there, and exact enough.

    Raises:
        MissingExtraError: It is not.
    """
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
