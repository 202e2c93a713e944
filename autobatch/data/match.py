"""What a generator reads, or a flow that it has made, as samples that fit a model."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from autobatch.data.directory import require_generator
from autobatch.data.flow import FlowSource
from autobatch.data.image_backend import ImageBackend
from autobatch.data.match_arrays import match_arrays
from autobatch.data.match_folder import match_directory
from autobatch.data.match_frame import match_frame
from autobatch.data.options import Subset
from autobatch.errors import ArgumentError


def match_flow(
    model: Any,
    datagen: Any,
    source: Any,
    *,
    seed: int = 0,
    subset: Subset = "training",
    augment: bool = True,
    image_backend: ImageBackend = "scipy",
    options: Mapping[str, Any] | None = None,
) -> tuple[FlowSource, tuple[str, ...]]:
    """What a generator reads as a model takes it, and how that was inferred.

    Args:
        model: A compiled Keras model.
        datagen: An `ImageDataGenerator`.
        source: A folder with one subfolder for each class; a dataframe that names files; or arrays: pictures,
            `(x, y)` or `(x, y, sample_weight)`, where `x` is a list or dict if there are inputs beside the pictures.
        seed: What order and augmentation derive from.
        subset: Which part to read if the generator has a `validation_split`; without one, all are for training.
        augment: Whether pictures are transformed at random.
        image_backend: What transforms them.
        options: What the generator's flow takes for this kind of source; what is given wins.

    Returns:
        The source, and one sentence for each inference.

    Raises:
        ModelError: The model isn't compiled, or doesn't fit what is read.
        ArgumentError: An option or a form of data that can't be meant, or contradicts the model.
        DataError: A folder or files that can't be used.
    """
    require_generator(datagen)
    wanted: dict[str, Any] = {
        "seed": seed,
        "subset": subset,
        "augment": augment,
        "image_backend": image_backend,
        "options": options,
    }
    if isinstance(source, str | PathLike):
        return match_directory(model, datagen, source, **wanted)
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return match_frame(model, datagen, source, **wanted)
    if isinstance(source, tuple) or hasattr(source, "shape"):
        return match_arrays(model, datagen, source, **wanted)
    message = "A generator reads a folder, a dataframe or arrays. "
    expected = "Expected a path, a pandas DataFrame, or (x, y) or (x, y, sample_weight) as a tuple of arrays."
    raise ArgumentError(f"{message}Received: {type(source).__name__} {source!r:.80}. {expected}")
