"""A model or generator named on the command line, as an object."""

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch.cli.nearest import did_you_mean, nearest
from autobatch.cli.query import parse_query
from autobatch.cli.quiet import import_keras
from autobatch.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import inspect

_APPLICATIONS = re.compile(r"keras\.(src\.)?applications\.")
_BY_NAME = {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}


def load_model(name: str) -> Any:
    """The Keras model that `name` stands for, compiled or not.

    Args:
        name: A `.keras` file, or `package.module:name` of a model or of a function, with its arguments behind a
            question mark. What `keras.applications` has is built without downloaded weights unless they are asked for.

    Raises:
        ArgumentError: There is nothing of that name, or its arguments cannot be meant.
        ModelError: It is no Keras model, or the file cannot be read.
    """
    base, mark, query = name.partition("?")
    if base.endswith(".keras") and mark:
        raise ArgumentError(f"A .keras file takes no arguments. Received: {name!r}.")
    arguments = parse_query(query) if mark else {}
    import_keras()
    model = _read_file(Path(base)) if base.endswith(".keras") else _load_object(base, arguments)
    if not _is_keras_model(model):
        raise ModelError(f"MODEL must be a Keras model. Received: {name!r}, which gives {_kind(model)}.")
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


def _load_object(name: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """The object at `package.module:name`; what it returns, if it is a function.

    The current folder is searched before the installed packages, as Python itself does for a program.

    Raises:
        ArgumentError: There is no such module or name, or it does not take these arguments.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ArgumentError(f"A .keras file or package.module:name was expected. Received: {name!r}.")
    found = _import(module_name, name)
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(nearest(part, dir(found)))
            raise ArgumentError(f"There is no {part!r} in {module_name!r}. Received: {name!r}.{hint}")
        found = getattr(found, part)
    if callable(found) and not _is_keras_model(found):
        return _call(found, name, arguments or {})
    if arguments:
        raise ArgumentError(f"{name!r} is no function: it takes no arguments. Received: {dict(arguments)}.")
    return found


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


def _call(function: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    import inspect

    try:
        signature = inspect.signature(function)
    except ValueError:
        return function(**arguments)  # a callable without a signature: the call itself will tell
    arguments = _unloaded(function, signature) | dict(arguments)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ArgumentError(_why_not_so(signature, name, arguments, str(error))) from error
    return function(**arguments)


def _unloaded(function: Any, signature: "inspect.Signature") -> dict[str, Any]:
    """Keras' own models load weights from the network by default; for a probe any weights will do."""
    home = getattr(function, "__module__", None) or ""
    return {"weights": None} if _APPLICATIONS.match(home) and "weights" in signature.parameters else {}


def _why_not_so(signature: "inspect.Signature", name: str, arguments: Mapping[str, Any], error: str) -> str:
    names = [key for key, each in signature.parameters.items() if each.kind.name in _BY_NAME]
    if not arguments:
        behind = "=...&".join(key for key in names if signature.parameters[key].default is signature.empty)
        how = f" They can stand behind a question mark: '{name}?{behind}=...'" if behind else ""
        return f"{name!r} cannot be called without arguments: {error}.{how}"
    return f"{name!r} does not take these arguments: {error}. Expected: {', '.join(names) or 'none'}."


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
