"""A model or generator named on the command line, as an object."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from autobatch.cli.quiet import import_keras
from autobatch.errors import ArgumentError, ModelError


def load_model(name: str) -> Any:
    """The compiled Keras model that `name` stands for.

    Args:
        name: A `.keras` file, or `package.module:name` of a model or of a function that takes nothing.

    Raises:
        ArgumentError: There is nothing of that name.
        ModelError: It is no compiled Keras model, or the file cannot be read.
    """
    import_keras()
    model = _read_file(Path(name)) if name.endswith(".keras") else _load_object(name)
    if not _is_keras_model(model):
        raise ModelError(f"MODEL must be a Keras model. Received: {name!r}, which gives {_kind(model)}.")
    if not model.compiled:
        raise ModelError(
            f"The model at {name!r} has no optimizer and no loss. "
            "Call model.compile(...) before it is returned or saved."
        )
    return model


def load_datagen(name: str) -> Any:
    """The `ImageDataGenerator` that `name` (`package.module:name`) stands for.

    Raises:
        ArgumentError: There is nothing of that name, or it is no such generator.
    """
    datagen = _load_object(name)
    if not hasattr(datagen, "flow_from_directory"):
        raise ArgumentError(
            f"--datagen must be an ImageDataGenerator. Received: {name!r}, which gives {_kind(datagen)}."
        )
    return datagen


def _load_object(name: str) -> Any:
    """The object at `package.module:name`; what it returns, if it is a function.

    The current folder is searched before the installed packages, as Python itself does for a program.

    Raises:
        ArgumentError: There is no such module or name, or the function needs arguments.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ArgumentError(f"A .keras file or package.module:name was expected. Received: {name!r}.")
    found = _import(module_name, name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ArgumentError(f"There is no {part!r} in {module_name!r}. Received: {name!r}.")
        found = getattr(found, part)
    return _call(found, name) if callable(found) and not _is_keras_model(found) else found


def _import(module_name: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a module that is missing inside the user's own module is the user's error, and surfaces unchanged
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ArgumentError(
            f"There is no module {error.name!r}, neither installed nor in {here}. Received: {name!r}."
        ) from error


def _call(function: Any, name: str) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ArgumentError(f"{name!r} cannot be called without arguments: {error}.") from error
    except ValueError:
        pass  # a callable without a signature: the call itself will tell
    return function()


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise ArgumentError(f"There is no model file at {str(path)!r}.")
    import keras

    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Keras raises whatever a damaged or foreign file leads it to
        raise ModelError(f"The model file {str(path)!r} cannot be read: {error}") from error


def _is_keras_model(value: Any) -> bool:
    # no instance of its class exists before Keras is imported, so there is no need to import it to say no
    kind = getattr(sys.modules.get("keras"), "Model", None)
    return isinstance(kind, type) and isinstance(value, kind)


def _kind(value: Any) -> str:
    return "None" if value is None else f"something of type {type(value).__name__}"
