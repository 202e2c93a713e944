"""A dataframe that names pictures made to fit a model: what is left out is inferred and said."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autobatch.data.flow import FlowSource
from autobatch.data.folder import check_subset
from autobatch.data.frame import Frame
from autobatch.data.image_backend import ImageBackend
from autobatch.data.inferred import infer_picture, infer_subset, note_unfitted
from autobatch.data.match_folder import note_empty
from autobatch.data.numbers import check_numbers
from autobatch.data.options import Subset, check_options
from autobatch.data.quiet import collected_warnings, without_printing
from autobatch.data.shape import Demand, output_names
from autobatch.data.target import check_targets
from autobatch.errors import ArgumentError, DataError


def match_frame(
    model: Any,
    datagen: Any,
    dataframe: Any,
    *,
    seed: int = 0,
    subset: Subset = "training",
    augment: bool = True,
    image_backend: ImageBackend = "scipy",
    options: Mapping[str, Any] | None = None,
) -> tuple[FlowSource, tuple[str, ...]]:
    """The pictures that a dataframe names as a model takes them, and how that was inferred.

    Args:
        model: A compiled Keras model with one input.
        datagen: An `ImageDataGenerator`.
        dataframe: A pandas `DataFrame` with a column of file names, and columns of labels, numbers or weights.
        seed: What order and augmentation derive from.
        subset: Which part to read if the generator has a `validation_split`: the first rows are for validation.
        augment: Whether pictures are transformed at random.
        image_backend: What transforms them.
        options: What `flow_from_dataframe` takes; what is given wins. `keep_aspect_ratio`, which that method takes
            without a word and ignores, is heeded.

    Returns:
        The source, and one sentence for each inference.

    Raises:
        ModelError: The model isn't compiled, takes something else than one picture, or has another number of outputs
            than there are classes.
        ArgumentError: A column that isn't there or doesn't fit, an option that doesn't belong to a dataframe or
            contradicts the model.
        DataError: A folder that isn't there, or no picture under any of the names.
    """
    given: dict[str, Any] = dict(options or {})
    check_options(given, kind="dataframe")
    check_subset(datagen, given.get("subset"))
    demand = Demand.of(model)
    notes: list[str] = []
    frame = Frame.of(dataframe, given)
    flow_options = given | infer_picture(demand, datagen, given, notes)
    if "class_mode" not in given:
        flow_options["class_mode"], reason = frame.infer_class_mode(demand)
        notes.append(f"class_mode={flow_options['class_mode']!r}: {reason}")
    frame.check_class_mode(flow_options["class_mode"])
    flow_options |= infer_subset(datagen, given, subset, notes, "the rows")
    flow = _flow(datagen, frame, flow_options, notes)
    source = FlowSource(flow, seed=seed, augment=augment, image_backend=image_backend)
    if source.class_mode in {"raw", "multi_output"}:
        check_numbers(demand, source._flow.labels, f"y_col={frame.y_col!r}")
    if source.class_mode == "multi_output":
        pairs = zip(frame.y_col, output_names(model), strict=False)
        notes.extend(f"y_col: {column!r} is compared with output {name!r}" for column, name in pairs)
    check_targets(demand, source)
    note_empty(source, notes)
    note_unfitted(datagen, notes)
    return source, tuple(notes)


def _flow(datagen: Any, frame: Frame, options: dict[str, Any], notes: list[str]) -> Any:
    folder = options.get("directory")
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"There is no such folder: {folder}. Expected the one that x_col's names are in.", str(folder))
    options = options | {"directory": None if folder is None else os.fspath(folder)}
    aspect = options.pop("keep_aspect_ratio", False)
    if isinstance(frame.y_col, tuple):
        options["y_col"] = list(frame.y_col)
    try:
        with without_printing(), collected_warnings() as said:
            flow = datagen.flow_from_dataframe(frame.data, batch_size=1, **options)
    except (TypeError, ValueError, KeyError) as error:
        shown = ", ".join(f"{name}={options[name]!r}" for name in sorted({"x_col", "y_col", "class_mode"} & {*options}))
        message = f"Keras makes no flow of this dataframe: {error} "
        raise ArgumentError(f"{message}Received: {shown}. Expected columns of that form.") from error
    flow.keep_aspect_ratio = aspect
    notes.extend(
        frame.lost(folder, flow.white_list_formats) if "invalid image filename" in one else one for one in said
    )
    _check_found(frame, folder, flow)
    return flow


def _check_found(frame: Frame, folder: Any, flow: Any) -> None:
    if flow.n == 0:
        where = "the working folder" if folder is None else folder
        part = f" for the {flow.subset} part" if flow.subset else ""
        message = f"No pictures{part}: {frame.lost(folder, flow.white_list_formats) or 'there are no rows'}. "
        raise DataError(f"{message}Expected files in {where}, or names with their folder.", folder and str(folder))
    if flow.class_mode in {"categorical", "sparse", "binary"} and len(flow.class_indices) == 1:
        message = (
            f"The dataframe has one class only ({next(iter(flow.class_indices))}): there is nothing to tell apart. "
        )
        raise DataError(f"{message}Without classes, give class_mode='input' or None.")
