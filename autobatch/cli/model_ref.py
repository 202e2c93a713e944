"""MODEL and --datagen on the command line: the object that a name refers to, and a model compiled as the options say.

A name is a `.keras` file, or `package.module:name` of an object or of a function that returns one, with the function's
arguments after a question mark: `keras.applications:MobileNetV2?classes=10&input_shape=96,96,3`.
"""

import importlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch.cli.console import import_keras
from autobatch.cli.wording import did_you_mean, nearest
from autobatch.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import inspect

_INT = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_BRACKETS = re.compile(r"[()\[\]{}]")
_CONSTANTS = {"true": True, "false": False, "none": None}
_APPLICATIONS = re.compile(r"keras\.(src\.)?applications\.")
_BY_NAME = {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}
_DEFAULT_OPTIMIZER = "adam"
_LOSSES = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
_OTHER_LOSS = "mean_squared_error"
_BASE_CLASSES = {"Loss", "Optimizer"}  # they compute nothing themselves


def load_model(name: str) -> Any:
    """The Keras model that a name refers to, compiled or not.

    A model of `keras.applications` is built without downloaded weights unless the arguments ask for them.
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
    datagen = _load_object(name, {})
    if not hasattr(datagen, "flow_from_directory"):
        raise ArgumentError(
            f"--datagen must be an ImageDataGenerator. Received: {name!r}, which gives {_kind(datagen)}."
        )
    return datagen


def _load_object(name: str, arguments: Mapping[str, Any]) -> Any:
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ArgumentError(f"Expected a .keras file or package.module:name. Received: {name!r}.")
    found = _import(module_name, name)
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(nearest(part, dir(found)))
            raise ArgumentError(f"There is no {part!r} in {module_name!r}. Received: {name!r}.{hint}")
        found = getattr(found, part)
    if callable(found) and not _is_keras_model(found):
        return _call(found, name, arguments)
    if arguments:
        raise ArgumentError(f"{name!r} is no function: it takes no arguments. Received: {dict(arguments)}.")
    return found


def _import(module_name: str, name: str) -> Any:
    # as Python itself does for a program, the current folder is searched before the installed packages
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
    arguments = _no_weights(function, signature) | dict(arguments)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ArgumentError(_mismatch(signature, name, arguments, str(error))) from error
    return function(**arguments)


def _no_weights(function: Any, signature: "inspect.Signature") -> dict[str, Any]:
    """Keras' own models download weights by default; for a probe any weights will do."""
    home = getattr(function, "__module__", None) or ""
    return {"weights": None} if _APPLICATIONS.match(home) and "weights" in signature.parameters else {}


def _mismatch(signature: "inspect.Signature", name: str, arguments: Mapping[str, Any], error: str) -> str:
    names = [key for key, each in signature.parameters.items() if each.kind.name in _BY_NAME]
    if not arguments:
        needed = "=...&".join(key for key in names if signature.parameters[key].default is signature.empty)
        how = f" Give them after a question mark: '{name}?{needed}=...'" if needed else ""
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
    return "None" if value is None else f"an object of type {type(value).__name__}"


def parse_query(query: str) -> dict[str, Any]:
    """Keyword arguments from the text after a question mark.

    Whole numbers, fractions, `true`, `false` and `none` are what they look like, commas make a tuple, and anything else
    is text; text in quotes stays text whatever it looks like.

    Example:
        >>> parse_query("classes=10&input_shape=96,96,3&name='7'")
        {'classes': 10, 'input_shape': (96, 96, 3), 'name': '7'}
    """
    found: dict[str, Any] = {}
    for part in _split(query, "&", query):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not (equals and name.isidentifier()):
            raise _refusal(query, f"{part!r} is no name=value")
        if name in found:
            raise _refusal(query, f"{name!r} is given twice")
        found[name] = _value(value.strip(), query)
    return found


def _value(text: str, query: str) -> Any:
    items = _split(text, ",", query)
    if len(items) == 1:
        return _single(text, query)
    # as in Python, a comma at the end makes a tuple of one and adds nothing to a longer one
    items = items[:-1] if not items[-1].strip() else items
    return tuple(_single(item.strip(), query) for item in items)


def _single(text: str, query: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if not text:
        raise _refusal(query, "a value is missing")
    if _BRACKETS.search(text):
        raise _refusal(query, f"{text!r} has brackets; commas alone make a tuple (write 8,8,3), and quotes keep text")
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _split(text: str, mark: str, query: str) -> list[str]:
    """The pieces between marks that do not stand in quotes."""
    piece = re.compile(rf"""(?:"[^"]*"|'[^']*'|[^{mark}"'])*""")
    pieces, start = [], 0
    while match := piece.match(text, start):
        pieces.append(match[0])
        if match.end() == len(text):
            break
        if text[match.end()] != mark:
            raise _refusal(query, "a quote is not closed")
        start = match.end() + 1
    return pieces


def _refusal(query: str, why: str) -> ArgumentError:
    return ArgumentError(
        f"The arguments after the question mark cannot be read: {why}. Received: {query!r}. Expected name=value, with "
        "& between several: 'keras.applications:MobileNetV2?classes=10&alpha=0.5'."
    )


def compiled(model: Any, losses: Sequence[str] | None, optimizer: str | None, words: Sequence[str]) -> Any:
    """The same model, compiled with the named losses (one or several in each text) and optimizer if it was not."""
    names = [name.strip() for text in losses or () for name in text.split(",")]
    if model.compiled:
        if names or optimizer is not None:
            flags = " and ".join(["--loss"] * bool(names) + ["--optimizer"] * (optimizer is not None))
            raise ArgumentError(f"The model is compiled: it has a loss and an optimizer. Received: {flags} beside it.")
        return model
    if not names:
        more = [word for name in fitting_losses(model) for word in ("--loss", name)]
        raise ModelError(
            "The model is not compiled: it has no optimizer and no loss. Call model.compile(...) before it is returned "
            f"or saved, or give a loss: autobatch {shlex.join([*words, *more])}"
        )
    _require_known("--optimizer", "optimizers", optimizer or _DEFAULT_OPTIMIZER)
    for name in names:
        _require_known("--loss", "losses", name)
    each = _for_each_output(model, names)
    model.compile(optimizer=optimizer or _DEFAULT_OPTIMIZER, loss=each if len(each) > 1 else each[0])
    return model


def fitting_losses(model: Any) -> list[str]:
    """A loss for each output, by its activation."""
    tensors = model.outputs if getattr(model, "outputs", None) else [None]
    operations = [getattr(getattr(tensor, "_keras_history", None), "operation", None) for tensor in tensors]
    activations = [getattr(getattr(operation, "activation", None), "__name__", "") for operation in operations]
    return [_LOSSES.get(name, _OTHER_LOSS) for name in activations]


def _require_known(flag: str, kind: str, name: str) -> None:
    import keras

    module = getattr(keras, kind)
    try:
        module.get(name)
    except ValueError:
        names = [each for each in dir(module) if each[0] != "_" and each not in _BASE_CLASSES]
        known = [each for each in names if callable(getattr(module, each))]
        hint = did_you_mean(nearest(name, known, cutoff=0.5))
        raise ArgumentError(
            f"Keras has no {flag[2:]} of that name. Received: {flag} {name}. Expected a name in keras.{kind}.{hint}"
        ) from None


def _for_each_output(model: Any, names: list[str]) -> list[str]:
    count = len(model.outputs) if getattr(model, "outputs", None) else len(names)
    if len(names) not in {1, count}:
        raise ArgumentError(
            f"Each output needs a loss. Received: {len(names)} losses. Expected: {count}, or one for all."
        )
    return names * count if len(names) == 1 else names
