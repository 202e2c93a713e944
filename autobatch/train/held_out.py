"""What a training is validated on: folders become sources of our own, anything else is left to Keras."""

import copy
from os import PathLike
from typing import Any

from autobatch.data.directory import DirectorySource
from autobatch.data.match import match_directory
from autobatch.data.options import FlowOptions
from autobatch.errors import ArgumentError


def held_out(
    model: Any,
    datagen: Any,
    directory: str | PathLike[str],
    given: Any,
    training: DirectorySource,
    flow: FlowOptions,
) -> tuple[Any, tuple[str, ...]]:
    """What to validate on, and what to say about it.

    Args:
        model: A compiled Keras model.
        datagen: The generator of the training.
        directory: Its folder.
        given: `validation_data`: nothing, a folder, a pair of a generator and a folder, or anything Keras evaluates.
        training: The pictures to train on.
        flow: The options of the training.

    Returns:
        A `DirectorySource` without random transformation for folders, else `given` as it is; `None` for nothing.

    Raises:
        ArgumentError: A folder for validation has other classes than the one for training.
    """
    if given is None:
        if not getattr(datagen, "_validation_split", None):
            return None, ()
        if "subset" in flow:
            return None, (f"no validation: subset={flow['subset']!r} was given, so its other part is left alone",)
        source, _ = _source(model, datagen, directory, training, flow, subset="validation")
        share = f"validation: {len(source)} pictures that validation_split holds back, without random transformation"
        return source, (share,)
    if isinstance(given, str | PathLike):
        return _source(model, _without_split(datagen), given, training, flow)[0], ()
    if isinstance(given, tuple) and len(given) == 2 and hasattr(given[0], "flow_from_directory"):
        return _source(model, _without_split(given[0]), given[1], training, flow)[0], ()
    return given, ()


def _source(
    model: Any, datagen: Any, directory: Any, training: DirectorySource, flow: FlowOptions, **subset: Any
) -> tuple[DirectorySource, tuple[str, ...]]:
    options: dict[str, Any] = {name: value for name, value in flow.items() if name not in {"subset", "save_to_dir"}}
    source, notes = match_directory(
        model, datagen, directory, seed=training.seed, augment=False, options=options, **subset
    )
    if source.class_indices != training.class_indices:
        msg = (
            "The folder for validation has other classes than the one for training, so their numbers would not mean "
            f"the same. Received: {sorted(source.class_indices)} for validation, {sorted(training.class_indices)} for "
            "training. Expected the same, or classes=[...] with the names in order."
        )
        raise ArgumentError(msg)
    return source, notes


def _without_split(datagen: Any) -> Any:
    """The same generator for a folder that is all for validation."""
    whole = copy.copy(datagen)
    whole._validation_split = None
    return whole
