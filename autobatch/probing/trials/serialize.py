"""Carries a model and a few samples to another process, through files.

The model travels as Keras' own configuration, compiled as it was, without the values of its weights: memory and speed
do not depend on them. What layers were adapted to, such as a vocabulary, travels beside it. For predictions the model
travels uncompiled, since they need neither loss nor optimizer. Keras imports nothing but itself when it rebuilds a
model, and its configuration tells of a function only the name; so the worker imports the modules of the model's custom
objects that the caller has imported: of the model, its layers and their activations, optimizer, losses and metrics.
What is nested in them (a regularizer's class) and what cannot be rebuilt elsewhere (a class defined in the caller's
script, a subclass without `get_config`) is noticed here or there, and then trials run in the caller's process.
"""

import importlib
import inspect
import json
import pickle
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from autobatch.backend import current_backend
from autobatch.data.batch import Batch, leaves

_LIBRARIES = ("keras", "autobatch", "builtins")


def custom_objects(model: Any, step: str = "train") -> Iterator[Any]:
    """The classes, with what they derive from, and functions behind a model that are not of Keras or Python."""
    items: list[Any] = [model, *model._flatten_layers()]
    if step != "predict":
        given = getattr(model, "_compile_metrics", None)
        metrics = [getattr(given, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
        items += [model.optimizer, *model.metrics, *leaves(model.loss), *leaves(metrics)]
    items += [function for item in items for function in _functions_of(item)]
    libraries = (*_LIBRARIES, *current_backend().packages)
    for item in items:
        for code in [item] if inspect.isfunction(item) else type(item).__mro__:
            if str(code.__module__).partition(".")[0] not in libraries:
                yield code


def has_name(code: Any) -> bool:
    """Whether it is found by its name; a lambda is not, and Keras' configuration carries its code instead."""
    return bool(code.__name__ != "<lambda>")


def import_paths(code: Iterable[Any]) -> list[tuple[str, str]]:
    """Module and name of each, for another process; those in the caller's script are there under `__main__`."""
    return list(dict.fromkeys((str(one.__module__), str(one.__name__)) for one in code if has_name(one)))


def import_objects(paths: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What `import_paths` told of, by name; code that registers itself with Keras does so here."""
    found: dict[str, Any] = {}
    for module, name in paths:
        one = getattr(importlib.import_module(module), name, None)
        if one is not None:
            found.setdefault(name, one)  # the most derived comes first
    return found


def _functions_of(item: Any) -> Iterator[Any]:
    for name in ("activation", "fn", "_fn"):
        function = getattr(item, name, None)
        if inspect.isfunction(function):
            yield function


_MODEL, _SAMPLES, _VARIABLES = "model.json", "samples.pickle", "variables.pickle"


class NotSerializableError(Exception):
    """The model or its samples cannot be had in another process; the message says why."""


def serialize(model: Any, samples: Batch, folder: Path, step: str = "train") -> dict[str, Any]:
    """Writes both into a folder and returns what `deserialize` needs besides."""
    text = model_json(model, step)
    (folder / _MODEL).write_text(text, encoding="utf-8")
    for number, layer in enumerate(_adapted(model)):
        _write_state(layer, folder / f"layer {number}")
    try:
        with (folder / _SAMPLES).open("wb") as file:
            pickle.dump(samples, file)
    except Exception as error:
        # Samples may come in a class of the user's own, such as a named tuple made in a function.
        raise NotSerializableError(f"its samples cannot be pickled ({type(error).__name__}: {error})") from error
    return {
        "folder": str(folder),
        "step": step,
        "custom_objects": import_paths(custom_objects(model, step)),
        "shapes": [list(variable.shape) for variable in model.variables],
        "trainable": len(model.trainable_variables),
        "compile": {"jit_compile": bool(model.jit_compile), "run_eagerly": bool(model.run_eagerly)},
        "settings": {
            "floatx": keras.config.floatx(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.config.dtype_policy().name,
        },
    }


def _adapted(model: Any) -> list[Any]:
    """The layers that learn from data beside the training, such as vocabularies: without that they do not run."""
    return [layer for layer in model._flatten_layers() if hasattr(layer, "adapt")]


def _write_state(layer: Any, folder: Path) -> None:
    """As Keras saves it."""
    folder.mkdir()
    variables: dict[str, Any] = {}
    layer.save_own_variables(variables)
    (folder / _VARIABLES).write_bytes(pickle.dumps({name: np.asarray(value) for name, value in variables.items()}))
    getattr(layer, "save_assets", str)(str(folder))


def _read_state(layer: Any, folder: Path) -> None:
    layer.load_own_variables(pickle.loads((folder / _VARIABLES).read_bytes()))  # noqa: S301 - the caller wrote it
    getattr(layer, "load_assets", str)(str(folder))


def model_json(model: Any, step: str = "train") -> str:
    """The model's configuration as JSON; raises as `serialize` does."""
    for code in custom_objects(model, step):
        if code.__module__ == "__main__" and has_name(code):
            msg = f"{code.__name__} is defined in the script or notebook itself, which no other process can import"
            raise NotSerializableError(msg)
    try:
        return json.dumps(configuration(model, step))
    except Exception as error:
        # Any layer's or loss' own get_config may raise anything; every one of them means the same here.
        raise NotSerializableError(f"its configuration cannot be written ({type(error).__name__}: {error})") from error


def configuration(model: Any, step: str = "train") -> Any:
    """Keras' configuration of a model, as far as it matters for a kind of step.

    Keras warns of lambdas, which are unsafe to load from strangers; these are loaded by their owner, or only compared.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*includes a `lambda`", category=UserWarning)
        whole = keras.saving.serialize_keras_object(model)
    if step == "predict":
        whole.pop("compile_config", None)
    return whole


def deserialize(payload: dict[str, Any]) -> tuple[Any, Batch]:
    """The model and the samples that `serialize` wrote."""
    settings = payload["settings"]
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
    folder = Path(payload["folder"])
    config = json.loads((folder / _MODEL).read_text(encoding="utf-8"))
    # The configuration comes from the caller's own process through its own private folder, lambdas included.
    with keras.saving.custom_object_scope(import_objects(payload["custom_objects"])):
        model = keras.saving.deserialize_keras_object(config, safe_mode=False)
    for number, layer in enumerate(_adapted(model)):
        _read_state(layer, folder / f"layer {number}")
    _require_same(model, payload)
    return model, pickle.loads((folder / _SAMPLES).read_bytes())  # noqa: S301 - the samples come from there, too


def repeat(samples: Batch, size: int) -> Batch:
    """`size` samples made of a few real ones: memory does not depend on what the pictures show."""
    return samples.take(np.resize(np.arange(samples.size), size))


def _require_same(model: Any, payload: dict[str, Any]) -> None:
    if payload["step"] != "predict" and not getattr(model, "compiled", False):
        raise NotSerializableError("its optimizer or loss has no configuration, so it came back uncompiled")
    for name, value in payload["compile"].items():
        if bool(getattr(model, name)) != value:
            setattr(model, name, value)
    shapes = [list(variable.shape) for variable in model.variables]
    if model.built and (shapes != payload["shapes"] or len(model.trainable_variables) != payload["trainable"]):
        raise NotSerializableError(f"it came back with other variables ({len(shapes)}, not {len(payload['shapes'])})")
