"""Arrays of pictures made to fit a model: what is left out is inferred and said, what contradicts is refused."""

from collections.abc import Mapping
from typing import Any

from autobatch.data.array_parts import ArrayParts
from autobatch.data.beside import PICTURES, Beside
from autobatch.data.flow import FlowSource
from autobatch.data.folder import check_subset
from autobatch.data.image_backend import ImageBackend
from autobatch.data.inferred import check_shape, has_channels_first, infer_subset, note_unfitted
from autobatch.data.inputs import check_inputs
from autobatch.data.numbers import check_numbers
from autobatch.data.options import Subset, check_options
from autobatch.data.quiet import collected_warnings
from autobatch.data.shape import Demand
from autobatch.errors import ArgumentError


def match_arrays(
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
    """Arrays as a model takes them, with the pictures among them transformed, and how that was inferred.

    Beside what Keras' own `flow` takes, inputs may be a dict, targets and weights lists or dicts for several outputs,
    and weights are cut where pictures and labels are. Pictures are turned into the generator's number type one by one,
    so that an array of bytes isn't copied into one of floats.

    Args:
        model: A compiled Keras model.
        datagen: An `ImageDataGenerator`.
        source: Pictures `(samples, height, width, channels)`, or a tuple of them, targets and weights. For several
            inputs the pictures are the first of a list, or the first of four dimensions in a dict; the others are
            handed over as they are.
        seed: What order and augmentation derive from.
        subset: Which part to read if the generator has a `validation_split`.
        augment: Whether pictures are transformed at random.
        image_backend: What transforms them.
        options: `subset`, `ignore_class_split`, `save_to_dir`, `save_prefix` and `save_format`, as in `flow`.

    Returns:
        The source, and one sentence for each inference.

    Raises:
        ModelError: The model isn't compiled, or has fewer outputs than there are classes.
        ArgumentError: Arrays of different lengths or wrong shapes, or an option that doesn't belong to arrays.
    """
    given: dict[str, Any] = dict(options or {})
    check_options(given, kind="arrays")
    check_subset(datagen, given.get("subset"))
    demand = Demand.of(model, several_inputs=True)
    notes: list[str] = []
    parts = ArrayParts.of(source, outputs=demand.outputs)
    channels_first = has_channels_first(datagen)
    check_shape(demand, parts.pictures.shape[1:], channels_first=channels_first, received="x of such pictures")
    check_inputs(model, parts.inputs())
    parts = _with_targets(demand, parts, notes)
    part = given.get("subset") or infer_subset(datagen, given, subset, notes, "the samples").get("subset")
    if part is not None:
        # Quantities differ in every sample, so only class numbers can be missing from a part.
        classes = demand.kind == "sparse" and not given.get("ignore_class_split")
        parts = parts.split(datagen._validation_split, part, same_classes=classes)
    saving = {name: given[name] for name in given if name.startswith("save_")}
    beside = Beside(parts.x, parts.y, parts.sample_weight)
    flow = _flow(datagen, parts.pictures, saving, notes)
    flow_source = FlowSource(flow, seed=seed, augment=augment, beside=beside, image_backend=image_backend)
    note_unfitted(datagen, notes)
    return flow_source, tuple(notes)


def _flow(datagen: Any, pictures: Any, saving: dict[str, Any], notes: list[str]) -> Any:
    with collected_warnings() as said:
        flow = datagen.flow(pictures[:1], batch_size=1, **saving)
    notes.extend(said)
    # Keras would make a copy of all pictures in the generator's number type.
    flow.x, flow.n = pictures, len(pictures)
    return flow


def _with_targets(demand: Demand, parts: ArrayParts, notes: list[str]) -> ArrayParts:
    if parts.y is not None:
        check_numbers(demand, parts.y, "y")
        return parts
    if demand.loss is None:
        return parts
    if demand.is_picture_to_picture:
        reason = f"the model's output has the shape of its input, and it is compiled with {demand.loss}"
        notes.append(f"y=x: {reason}")
        return parts.with_targets(PICTURES)
    message = f"The model is compiled with {demand.loss}, which needs targets. "
    raise ArgumentError(f"{message}Received: x alone. Expected (x, y), or a model without a loss.")
