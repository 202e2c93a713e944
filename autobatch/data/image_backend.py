"""What transforms pictures: the same draws and the same meaning, applied by scipy's arithmetic or by OpenCV."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from autobatch.data.affine import AFFINE, FILL_MODES, Affine, Planes, Sampler
from autobatch.data.affine_exact import agrees, sample_exactly
from autobatch.data.affine_opencv import CHANNELS, can_sample, require_opencv, sample_by_opencv
from autobatch.data.chance import is_from_keras
from autobatch.errors import ArgumentError

ImageBackend = Literal["scipy", "opencv"]
"""`"scipy"`: Keras' own pictures, bit for bit. `"opencv"`: faster, equal to them within a small tolerance."""

_REST: Mapping[str, Any] = {name: 1 if name in {"zx", "zy"} else 0 for name in AFFINE}


def require_image_backend(name: Any) -> ImageBackend:
    """The name, if it means something that can be used here.

    Raises:
        ArgumentError: There is no such thing.
        MissingExtraError: It is OpenCV, and that is not installed, or too coarse.
    """
    if not isinstance(name, str) or name not in get_args(ImageBackend):
        msg = "Pictures are transformed by scipy or by OpenCV. "
        raise ArgumentError(f"{msg}Received: image_backend={name!r}. Expected 'scipy' or 'opencv'.")
    if name == "opencv":
        require_opencv()
    return name  # type: ignore[return-value]


class Mover:
    """Moves the pixels of a picture as an `ImageDataGenerator` would, before the rest of its transformation.

    What differs from Keras' own way, and so is left to Keras: an interpolation that isn't linear, a fill mode that
    Keras doesn't name, other numbers than float32 and float64, and a scipy whose rounding is another than here.

    Args:
        datagen: The user's generator.
        backend: What moves them.
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
    """Why OpenCV cannot be used for these pictures, `None` if it can.

    Args:
        datagen: What transforms them.
        channels: How many they have.
        dtype: Of their numbers while they are transformed.
    """
    if not is_from_keras(datagen, "apply_transform"):
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
