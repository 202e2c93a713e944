"""What people feed Keras with, told apart and opened: as samples that can be read in any order, or as a stream."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, cast

import keras
import numpy as np

from autobatch.data.adapters.arrays import ArraySource, arrays_of
from autobatch.data.adapters.batch_generator import BatchGeneratorStream, is_uncalled
from autobatch.data.adapters.mixture import MixSource, Mixture
from autobatch.data.adapters.mixture_stream import MixStream
from autobatch.data.adapters.py_dataset import PyDatasetStream
from autobatch.data.adapters.tf_dataset import DatasetStream
from autobatch.data.batch import Batch
from autobatch.data.images.flow import FlowKind, is_addressable, is_image_generator, require_image_generator
from autobatch.data.images.flow_source import FlowSource
from autobatch.data.images.from_arrays import open_arrays
from autobatch.data.images.from_dataframe import open_dataframe
from autobatch.data.images.from_flow import open_flow
from autobatch.data.images.from_folder import open_folder
from autobatch.data.images.infer import note_unfitted, require_subset
from autobatch.data.images.transform import why_not_opencv
from autobatch.data.model_spec import shapes_of
from autobatch.data.options import DataOptions, require_options
from autobatch.data.source import Source, Stream, is_source, without_saving
from autobatch.errors import ArgumentError

_FEW = 8
KINDS = (
    "an ImageDataGenerator and a folder, arrays or a dataframe; a flow made by one; (x, y) or (x, y, sample_weight) as "
    "arrays; a keras.utils.PyDataset; a tf.data.Dataset; a Python generator of batches; or autobatch.mix([...])"
)


@dataclass(frozen=True, slots=True)
class OpenedData:
    data: Source | Stream
    notes: tuple[str, ...] = ()  # what was inferred, and what holds for this kind of data; one sentence each
    shuffles: bool = True  # whether they may be put in a new order in every pass

    @property
    def samples(self) -> int | None:
        """How many samples a pass has, `None` where only its end will tell."""
        return len(self.data) if is_source(self.data) else None

    @property
    def synthetic(self) -> bool:
        """Whether they are made up, so that their number means nothing."""
        return bool(getattr(self.data, "synthetic", False))

    @property
    def ends_for_good(self) -> bool:
        """Whether they can be gone through only once, as those of a batch generator."""
        return not getattr(self.data, "repeatable", True)

    @property
    def infinite(self) -> bool:
        return bool(getattr(self.data, "infinite", False))


def open_data(data: Any, source: Any, options: DataOptions) -> OpenedData:
    """Opens what a user gave: `data` by themselves, or an `ImageDataGenerator` or inputs with the `source` beside."""
    if is_image_generator(data):
        return _from_image_generator(data, source, options)
    if source is not None:
        _require_arrays(data, source)
        data = (data, source)
    if is_uncalled(data):
        msg = f"This function makes a batch generator when called. Received: {data!r:.80}. Expected what it returns."
        raise ArgumentError(msg)
    for tells, opens in _OPENERS:
        if tells(data):
            _require_pictures(data, options)
            return opens(data, options)
    msg = f"These are no data to train on. Received: {data!r:.200}. Expected {KINDS}."
    raise ArgumentError(msg)


def is_folder(data: Any) -> bool:
    return isinstance(data, str | PathLike)


def is_arrays(data: Any) -> bool:
    if isinstance(data, dict):
        return bool(data) and all(is_arrays(item) for item in data.values())
    if isinstance(data, list | tuple):
        return bool(data) and all(item is None or is_arrays(item) for item in data)
    return hasattr(data, "iloc") or (hasattr(data, "shape") and hasattr(data, "dtype") and len(data.shape) > 0)


def require_same_classes(given: OpenedData, other: OpenedData, this: str, that: str) -> None:
    """Refuses folders whose named classes differ; `this` begins the sentence and `that` is the other's name in it."""
    ours, theirs = (getattr(one.data, "class_indices", None) for one in (given, other))
    if ours and theirs and ours != theirs:
        msg = (
            f"{this} has other classes than {that}, so their numbers would not mean the same. Received: {sorted(ours)} "
            f"and {sorted(theirs)}. Expected the same, or classes=[...] with the names in order."
        )
        raise ArgumentError(msg)


def most_samples(data: Source | Stream) -> int | None:
    """How many samples a pass has at most, as the first batch tells; `None` for no bound, as of synthetic ones."""
    if is_source(data):
        return None if getattr(data, "synthetic", False) else len(data)
    stream = cast("Stream", data)
    known: int | None = getattr(stream, "samples", None)
    if known is not None or stream.batches is None:
        return known
    return stream.batches * stream.few().size


def few_of(data: Source | Stream) -> Batch:
    """Some real samples: from all over a source, the first ones of a stream."""
    if not is_source(data):
        first = cast("Stream", data).few()
        return first.take(np.arange(min(_FEW, first.size)))
    quiet = without_saving(data)
    indices = np.unique(np.linspace(0, len(quiet) - 1, _FEW).astype(np.int64))
    return quiet.read(indices, epoch=0)


def keep_apart(data: Source | Stream, model: Any, asked: int | None) -> tuple[str, ...]:
    """Has the batches of a stream taken as they are where they may differ in shape; returns what to say of it.

    Where neither data nor model tell, they are taken so if their size is the one asked for: nothing need be joined.
    """
    told, shapes = getattr(data, "open_lengths", False), shapes_of(model, "input_shape")
    if told is False:
        return ()
    stream: Any = data
    own = stream.few().size
    differ = any(None in shape[1:] for shape in shapes) or (not shapes and (told or asked == own))
    if asked is not None and asked > own and differ and told:
        msg = "These batches may differ in shape, so they cannot be joined to larger ones. "
        received = f"Received: batch_size={asked} with batches of {own} and lengths that the element_spec leaves open. "
        raise ArgumentError(f"{msg}{received}Expected at most {own}, 'auto' for batches as they are, or one shape.")
    if not differ or (asked or 0) > own:
        return ()
    stream.apart = "whole" if asked is None else "cut"
    most = "the samples of one" if asked is None else f"at most {asked} samples, of one"
    seen = "Memory was tried with the first; longer ones take more than any trial could see."
    return (f"The batches may differ in shape, so none are joined: an update has {most}. {seen}",)


def open_pictures(datagen: Any, source: Any, options: DataOptions) -> tuple[FlowSource, tuple[str, ...]]:
    """What an `ImageDataGenerator` reads, as a model takes it, and one sentence for each thing that was inferred.

    The source is a folder with one subfolder for each class; a dataframe that names files; or arrays: pictures
    `(samples, height, width, channels)`, `(x, y)` or `(x, y, sample_weight)`, where `x` is a list with the pictures
    first or a dict if there are inputs beside them, which are handed over as they are.
    """
    require_image_generator(datagen)
    kind, opens = _picture_opener(source)
    given = options.flow or {}
    require_options(given, kind=kind)
    require_subset(datagen, given.get("subset"))
    notes: list[str] = []
    flow = opens(datagen, source, options, notes)
    note_unfitted(datagen, notes)
    return flow, tuple(notes)


def _picture_opener(source: Any) -> tuple[FlowKind, Callable[[Any, Any, DataOptions, list[str]], FlowSource]]:
    if is_folder(source):
        return "folder", open_folder
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return "dataframe", open_dataframe
    if isinstance(source, tuple) or hasattr(source, "shape"):
        return "arrays", open_arrays
    message = "An ImageDataGenerator reads a folder, a dataframe or arrays. "
    expected = "Expected a path, a pandas DataFrame, or (x, y) or (x, y, sample_weight) as a tuple of arrays."
    raise ArgumentError(f"{message}Received: {type(source).__name__} {source!r:.80}. {expected}")


def _from_image_generator(datagen: Any, source: Any, options: DataOptions) -> OpenedData:
    flow_options = dict(options.flow or {})
    if source is None:
        source = flow_options.pop("directory", None)
    if source is None:
        msg = (
            "An ImageDataGenerator transforms pictures and has none of its own. Received: an ImageDataGenerator "
            "alone. Expected a folder, arrays or a dataframe after it."
        )
        raise ArgumentError(msg)
    flow, notes = open_pictures(datagen, source, replace(options, flow=flow_options))
    return OpenedData(flow, (*notes, *_backend_notes(flow, datagen, options)))


def _from_flow(flow: Any, options: DataOptions) -> OpenedData:
    source, notes = open_flow(flow, options)
    return OpenedData(source, (*notes, *_backend_notes(source, flow.image_data_generator, options)), source.shuffles)


def _backend_notes(source: FlowSource, datagen: Any, options: DataOptions) -> list[str]:
    """Says where OpenCV has been asked for and cannot be used."""
    if options.image_backend != "opencv" or not options.augment or datagen is None:
        return []
    channels = source.sample_shape[getattr(datagen, "channel_axis", 3) - 1]
    why = why_not_opencv(datagen, channels, source.transformed_dtype)
    return [] if why is None else [f"image_backend='opencv' is not used: {why}"]


def _from_dataset(dataset: Any, options: DataOptions) -> OpenedData:
    shapes = shapes_of(options.model, "input_shape")
    return _noted(DatasetStream(dataset, seed=options.drawn_seed, input_shapes=shapes))


def _from_py_dataset(dataset: Any, options: DataOptions) -> OpenedData:
    return _noted(PyDatasetStream(dataset, seed=options.drawn_seed, shuffle=options.shuffle))


def _from_batch_generator(batches: Any, options: DataOptions) -> OpenedData:
    return _noted(BatchGeneratorStream(batches, seed=options.drawn_seed))


def _noted(data: Source | Stream) -> OpenedData:
    return OpenedData(data, tuple(getattr(data, "notes", ())))


def is_ready_source(data: Any) -> bool:
    """Whether it is a `Source` already, with a seed of its own."""
    return all(hasattr(data, name) for name in ("read", "seed", "sample_bytes", "__len__"))


def _from_mixture(mixture: Mixture, options: DataOptions) -> OpenedData:
    seed = options.drawn_seed
    of_pictures = replace(options, seed=seed, flow=None)
    plain = replace(of_pictures, image_backend="scipy")  # beside pictures there may be data that nothing transforms
    pairs = [_pair(part) for part in mixture.parts]
    parts = [open_data(*pair, of_pictures if _is_transformed(pair[0]) else plain) for pair in pairs]
    named = [part for part in parts if getattr(part.data, "class_indices", None)]
    for other in named[1:]:
        require_same_classes(other, named[0], "One folder of a mixture", "another")
    notes = [note for part in parts for note in part.notes]
    data: list[Any] = [part.data for part in parts]
    mixed = MixSource if all(is_source(one) for one in data) else MixStream
    mix = mixed(data, mixture.weights, mixture.samples, seed=seed)
    return OpenedData(mix, tuple(dict.fromkeys([*getattr(mix, "notes", ()), *notes])))


def _pair(part: Any) -> tuple[Any, Any]:
    """A part of a mixture as data and what an `ImageDataGenerator` reads."""
    return (part[0], part[1]) if isinstance(part, tuple) and is_image_generator(part[0]) else (part, None)


def _is_transformed(data: Any) -> bool:
    return is_image_generator(data) or is_addressable(data) or isinstance(data, Mixture)


def _require_pictures(data: Any, options: DataOptions) -> None:
    """Refuses options of a flow, and a backend, for data that an `ImageDataGenerator` has no part in."""
    if options.flow:
        name = next(iter(options.flow))
        msg = (
            f"Only an ImageDataGenerator makes something of {name!r}. "
            f"Received: {name}={options.flow[name]!r} with {type(data).__name__} as data. Expected it left out."
        )
        raise ArgumentError(msg)
    own = getattr(data, "image_backend", "scipy")
    if options.image_backend in ("scipy", own) or _is_transformed(data):
        return
    msg = (
        "Only what an ImageDataGenerator reads is transformed here. "
        f"Received: image_backend={options.image_backend!r} with {type(data).__name__} as data. "
        "Expected it left out, or given where the samples are made."
    )
    raise ArgumentError(msg)


def _require_arrays(data: Any, source: Any) -> None:
    if is_folder(data) or is_folder(source):
        msg = (
            "Pictures of a folder are read through an ImageDataGenerator. "
            f"Received: {data!r:.80} and {source!r:.80}. "
            "Expected fit(model, ImageDataGenerator(rescale=1 / 255), folder)."
        )
        raise ArgumentError(msg)
    if not is_arrays(data) or not is_arrays(source):
        msg = (
            f"Two things were given, and the first is no ImageDataGenerator. Received: {data!r:.80}. Expected {KINDS}."
        )
        raise ArgumentError(msg)


def _refuse_folder(data: Any, options: DataOptions) -> OpenedData:
    del options
    msg = (
        "A folder alone does not say how its pictures become arrays. "
        f"Received: {data!r}. Expected fit(model, ImageDataGenerator(rescale=1 / 255), {data!r})."
    )
    raise ArgumentError(msg)


_OPENERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, DataOptions], OpenedData]], ...] = (
    (lambda data: isinstance(data, Mixture), _from_mixture),
    (is_folder, _refuse_folder),
    (is_ready_source, lambda source, _: _noted(source)),
    (is_addressable, _from_flow),
    (lambda data: isinstance(data, keras.utils.PyDataset), _from_py_dataset),
    (lambda data: hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator"), _from_dataset),
    (is_arrays, lambda data, options: OpenedData(ArraySource(*arrays_of(data), seed=options.drawn_seed))),
    (lambda data: hasattr(data, "__next__"), _from_batch_generator),
)
