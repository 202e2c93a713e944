"""A folder of pictures made to fit a model: what is left out is inferred and said, what contradicts is refused."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from autobatch.data.directory import DirectorySource
from autobatch.data.flow import FlowSource
from autobatch.data.image_backend import ImageBackend
from autobatch.data.inferred import infer_picture, infer_subset, note_unfitted
from autobatch.data.options import FolderOptions, Subset, check_options
from autobatch.data.shape import Demand
from autobatch.data.target import check_targets, infer_class_mode


def match_directory(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    *,
    seed: int = 0,
    subset: Subset = "training",
    augment: bool = True,
    image_backend: ImageBackend = "scipy",
    options: Mapping[str, Any] | None = None,
) -> tuple[DirectorySource, tuple[str, ...]]:
    """The pictures of a folder as a model takes them, and how that was inferred.

    Args:
        model: A compiled Keras model with one input.
        datagen: An `ImageDataGenerator`.
        directory: A folder with one subfolder for each class.
        seed: What order and augmentation derive from.
        subset: Which part to read if the generator has a `validation_split`; without one, all are for training.
        augment: Whether pictures are transformed at random.
        image_backend: What transforms them.
        options: What `flow_from_directory` takes; what is given wins.

    Returns:
        The source, and one sentence for each inference, such as
        `"target_size=(150, 150): the model's input shape"`.

    Raises:
        ModelError: The model isn't compiled, takes something else than one picture, or has another number of outputs
            than the folder has classes.
        ArgumentError: An option that doesn't exist, or contradicts the model.
        DataError: A folder that can't be used.
    """
    given: dict[str, Any] = dict(options or {})
    check_options(given, kind="folder")
    demand = Demand.of(model)
    notes: list[str] = []
    flow = FolderOptions(**(given | infer_picture(demand, datagen, given, notes)))  # type: ignore[typeddict-item]
    if "class_mode" not in given:
        flow["class_mode"], reason = infer_class_mode(demand)
        notes.append(f"class_mode={flow['class_mode']!r}: {reason}")
    flow.update(infer_subset(datagen, given, subset, notes, "each class"))
    source = DirectorySource(datagen, directory, seed=seed, augment=augment, image_backend=image_backend, **flow)
    check_targets(demand, source)
    note_empty(source, notes)
    note_unfitted(datagen, notes)
    return source, tuple(notes)


def note_empty(source: FlowSource, notes: list[str]) -> None:
    """Says which classes have no pictures."""
    empty = [name for name, count in source.class_counts.items() if count == 0]
    if empty:
        notes.append(f"no pictures for {len(empty)} of {len(source.class_counts)} classes: {', '.join(empty[:5])}")
