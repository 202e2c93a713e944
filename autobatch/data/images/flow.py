"""What there is to know of a flow of pictures that Keras' `ImageDataGenerator` has made."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import numpy as np
from keras.src.legacy.preprocessing.image import DataFrameIterator, DirectoryIterator, NumpyArrayIterator

from autobatch.data.batch import bytes_of_one
from autobatch.errors import ArgumentError

FlowKind = Literal["folder", "dataframe", "arrays"]
"""What a flow reads."""

_CLASSES: dict[type[Any], FlowKind] = {
    DirectoryIterator: "folder",
    DataFrameIterator: "dataframe",
    NumpyArrayIterator: "arrays",
}


def flow_kind(flow: Any) -> FlowKind | None:
    """What a flow reads, `None` if it isn't one of Keras' three."""
    return next((kind for known, kind in _CLASSES.items() if isinstance(flow, known)), None)


def is_addressable(flow: Any) -> bool:
    """Whether the samples of a flow can be had one by one: no subclass makes batches of them in its own way."""
    own = next((known for known in _CLASSES if isinstance(flow, known)), None)
    names = ("__getitem__", "__next__")
    return own is not None and all(getattr(type(flow), name) is getattr(own, name) for name in names)


def is_image_generator(data: Any) -> bool:
    return hasattr(data, "flow_from_directory")


def require_image_generator(datagen: Any) -> None:
    if not is_image_generator(datagen):
        message = "Pictures are read through a Keras ImageDataGenerator."
        raise ArgumentError(f"{message} Received: datagen={datagen!r}. Expected an ImageDataGenerator.")


def require_flow(flow: Any) -> FlowKind:
    """What a flow reads; refuses what isn't one of Keras' three."""
    kind = flow_kind(flow)
    if kind is None:
        message = "Only a flow that an ImageDataGenerator has made is known from inside. "
        advice = "Other data are made anew at another size, or joined by accumulate_batches(data, n)."
        expected = "Expected what flow, flow_from_directory or flow_from_dataframe returns."
        raise ArgumentError(f"{message}{advice} Received: flow={flow!r:.200}. {expected}")
    return kind


def picture_shape(flow: Any) -> tuple[int, ...]:
    return tuple(flow.x.shape[1:]) if flow_kind(flow) == "arrays" else tuple(flow.image_shape)


def class_counts_of(flow: Any) -> dict[str, int]:
    """From the name of a class to how many samples it has; empty where there are no classes."""
    names = getattr(flow, "class_indices", {})
    if not names:
        return {}
    counts = np.bincount(_class_numbers(flow.classes), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _class_numbers(classes: Any) -> Any:
    if isinstance(classes, np.ndarray) and classes.dtype.kind in "iu":
        return classes
    # A picture of a dataframe may have several labels.
    labels = [label if isinstance(label, list | tuple) else (label,) for label in classes]
    return np.fromiter((number for several in labels for number in several), dtype=np.int64)


def sample_bytes_of(flow: Any) -> int:
    """Bytes of one sample as the flow hands it over: picture, target and weight."""
    item: int = np.dtype(flow.dtype).itemsize
    picture = item * int(np.prod(picture_shape(flow)))
    if flow_kind(flow) == "arrays":
        beside = (flow.x_misc, flow.y, None if flow.y is None else flow.sample_weight)
        return picture + bytes_of_one(beside)
    mode = flow.class_mode
    if mode is None:
        return picture
    if mode in {"raw", "multi_output"}:
        target = bytes_of_one(flow.labels)
    else:
        target = {"input": picture, "categorical": item * len(getattr(flow, "class_indices", ()))}.get(mode, item)
    return picture + target + bytes_of_one(flow.sample_weight)


@contextmanager
def without_printing() -> Iterator[None]:
    """Keeps Keras from printing what it found. The switch is thread-local in Keras, so nobody else falls silent."""
    loud = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        yield
    finally:
        if loud:
            keras.config.enable_interactive_logging()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collects what is warned of as `UserWarning`, once each; warnings of other kinds are given again afterwards."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield said
    for warning in caught or ():
        if warning.category is UserWarning:
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    said[:] = dict.fromkeys(said)
