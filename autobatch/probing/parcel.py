"""Carries a model and a few samples to another process, through files.

The model travels as Keras' own configuration, compiled as it was, without the values of its weights: memory and speed
do not depend on them. For predictions it travels uncompiled, since they need neither loss nor optimizer. What cannot be
rebuilt elsewhere (a class defined in the caller's script, a subclass without `get_config`) is noticed here or there,
and then trials run in the caller's process.
"""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.probing.own_code import has_a_name, imported, own_code, places_of

_MODEL, _SAMPLES = "model.json", "samples.npz"


class CannotTravelError(Exception):
    """The model cannot be rebuilt in another process; the message says why."""


def pack(model: Any, samples: Batch, folder: Path, step: str = "train") -> dict[str, Any]:
    """Writes both into a folder and returns what `unpack` needs besides.

    Args:
        model: A Keras model.
        samples: A few samples.
        folder: Where to.
        step: What the trials run: `"train"`, `"evaluate"` or `"predict"`.

    Raises:
        CannotTravelError: The model has no complete configuration, or is made of code that nothing can import.
    """
    text = written(model, step)
    (folder / _MODEL).write_text(text, encoding="utf-8")
    nest = samples.nest
    np.savez(folder / _SAMPLES, **{f"a{place}": array for place, array in enumerate(leaves(nest))})
    return {
        "folder": str(folder),
        "step": step,
        "form": _form(nest),
        "bare": samples.bare,
        "own_code": places_of(own_code(model, step)),
        "shapes": [list(variable.shape) for variable in model.variables],
        "trainable": len(model.trainable_variables),
        "compile": {"jit_compile": bool(model.jit_compile), "run_eagerly": bool(model.run_eagerly)},
        "settings": {
            "floatx": keras.config.floatx(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.config.dtype_policy().name,
        },
    }


def written(model: Any, step: str = "train") -> str:
    """The model's configuration as JSON.

    Args:
        model: A Keras model.
        step: What the trials run.

    Raises:
        CannotTravelError: It has no complete one, or is made of code that nothing can import.
    """
    _require_importable(own_code(model, step))
    try:
        return json.dumps(configuration(model, step))
    except Exception as error:
        # Any layer's or loss' own get_config may raise anything; every one of them means the same here.
        raise CannotTravelError(f"its configuration cannot be written ({type(error).__name__}: {error})") from error


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


def unpack(payload: dict[str, Any]) -> tuple[Any, Batch]:
    """The model and the samples that `pack` wrote.

    Raises:
        CannotTravelError: What was rebuilt is not what was packed.
    """
    settings = payload["settings"]
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
    folder = Path(payload["folder"])
    config = json.loads((folder / _MODEL).read_text(encoding="utf-8"))
    # The configuration comes from the caller's own process through its own private folder, lambdas included.
    with keras.saving.custom_object_scope(imported(payload["own_code"])):
        model = keras.saving.deserialize_keras_object(config, safe_mode=False)
    _require_same(model, payload)
    # The samples come from there, too; text travels pickled.
    with np.load(folder / _SAMPLES, allow_pickle=True) as stored:
        arrays = iter([stored[f"a{place}"] for place in range(len(stored.files))])
    x, y, sample_weight = _filled(payload["form"], arrays)
    return model, Batch(x, y, sample_weight, bare=payload["bare"])


def repeat(samples: Batch, size: int) -> Batch:
    """`size` samples made of a few real ones: memory does not depend on what the pictures show."""
    return samples.take(np.resize(np.arange(samples.size), size))


def _require_importable(own: Iterable[Any]) -> None:
    for code in own:
        if code.__module__ == "__main__" and has_a_name(code):
            msg = f"{code.__name__} is defined in the script or notebook itself, which no other process can import"
            raise CannotTravelError(msg)


def _require_same(model: Any, payload: dict[str, Any]) -> None:
    if payload["step"] != "predict" and not getattr(model, "compiled", False):
        raise CannotTravelError("its optimizer or loss has no configuration, so it came back uncompiled")
    for name, value in payload["compile"].items():
        if bool(getattr(model, name)) != value:
            setattr(model, name, value)
    shapes = [list(variable.shape) for variable in model.variables]
    if model.built and (shapes != payload["shapes"] or len(model.trainable_variables) != payload["trainable"]):
        raise CannotTravelError(f"it came back with other variables ({len(shapes)}, not {len(payload['shapes'])})")


def _form(nest: Any) -> Any:
    """A nest as JSON, with its arrays left out: tuples and lists, dicts and `None` keep their place."""
    if isinstance(nest, dict):
        return {"dict": {key: _form(item) for key, item in nest.items()}}
    if isinstance(nest, list | tuple):
        return {type(nest).__name__: [_form(item) for item in nest]}
    return None if nest is None else "array"


def _filled(form: Any, arrays: Any) -> Any:
    return map_leaves(lambda _: next(arrays), _nest(form))


def _nest(form: Any) -> Any:
    match form:
        case {"dict": items}:
            return {key: _nest(item) for key, item in items.items()}
        case {"list": items}:
            return [_nest(item) for item in items]
        case {"tuple": items}:
            return tuple(_nest(item) for item in items)
    return form
