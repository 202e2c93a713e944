"""MODEL and --datagen on the command line: which object is meant, and one clear sentence if there is none."""

import sys
import textwrap

import pytest

from autobatch.cli.model_ref import load_datagen, load_model
from autobatch.errors import ArgumentError, ModelError

MODULE = """
    import keras

    compiled = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    compiled.compile("sgd", "mse")
    bare = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])

    class House:
        model = compiled

    def build(width=4):
        return compiled

    def forgetful():
        compiled

    def demanding(width):
        return compiled

    def halved(width=4):
        return width / 2

    def broken():
        raise ZeroDivisionError("inside build")

    class Generator:
        def flow_from_directory(self): ...

    number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the module `cli_sample` in it, on a path and a list of modules that are put back."""
    (tmp_path / "cli_sample.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "cli_needy.py").write_text("import cli_absent_dependency\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in ("cli_sample", "cli_needy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["compiled", "build", "House.model", "build?width=8", "demanding?width=8"])
def test_a_compiled_model_or_a_function_that_returns_one_is_taken(folder, name):
    import keras

    model = load_model(f"cli_sample:{name}")
    assert isinstance(model, keras.Model)
    assert model.compiled


def test_a_model_that_is_not_compiled_is_taken_as_it_is(folder):
    assert not load_model("cli_sample:bare").compiled


@pytest.mark.parametrize("query", ["?weights=none", "?classes=3&input_shape=32,32,3&alpha=0.35"])
def test_a_model_of_keras_is_built_without_downloading_weights(folder, query):
    """Seen to fail without the default: it asks the network."""
    model = load_model(f"keras.applications:MobileNetV2{query}")
    assert model.output_shape == (None, 3 if "classes" in query else 1000)


def test_a_keras_file_comes_back_compiled(folder):
    load_model("cli_sample:compiled").save("model.keras")
    assert load_model("model.keras").compiled


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("model.h5", ArgumentError, "Expected a .keras file or package.module:name"),
        ("cli_sample", ArgumentError, "Expected a .keras file or package.module:name"),
        (":compiled", ArgumentError, "Expected a .keras file or package.module:name"),
        ("absent.keras", ArgumentError, "no model file"),
        ("cli_absent:model", ArgumentError, "no module 'cli_absent'"),
        ("cli_absent.inner:model", ArgumentError, "no module 'cli_absent'"),
        ("cli_sample:absent", ArgumentError, "no 'absent' in 'cli_sample'"),
        ("cli_sample:demanding", ArgumentError, "without arguments"),
        ("cli_sample:compiled?width=3", ArgumentError, "is no function"),
        ("cli_sample:build?widht=3", ArgumentError, "Expected: width"),
        ("cli_sample:build?width", ArgumentError, "no name=value"),
        ("cli_sample:demanding", ArgumentError, r"cli_sample:demanding\?width=\.\.\."),
        ("cli_sample:biuld", ArgumentError, "Did you mean build"),
        ("absent.keras?width=3", ArgumentError, "takes no arguments"),
        ("cli_sample:forgetful", ModelError, "which gives None"),
        ("cli_sample:number", ModelError, "an object of type int"),
        ("damaged.keras", ModelError, "cannot be read"),
    ],
)
def test_what_is_no_compiled_model_is_one_clear_error(folder, name, error, says):
    (folder / "damaged.keras").write_bytes(b"not a zip")
    with pytest.raises(error, match=says):
        load_model(name)


def test_an_error_of_the_users_own_function_surfaces_unchanged(folder):
    with pytest.raises(ZeroDivisionError, match="inside build"):
        load_model("cli_sample:broken")


def test_arguments_reach_the_function(folder):
    with pytest.raises(TypeError, match="unsupported operand"):
        load_model("cli_sample:halved?width=text")


def test_a_module_missing_inside_the_users_module_surfaces_unchanged(folder):
    """Seen to fail when every ModuleNotFoundError was taken for a wrong MODEL."""
    with pytest.raises(ModuleNotFoundError, match="cli_absent_dependency"):
        load_model("cli_needy:model")


def test_a_generator_is_known_by_its_flow_from_directory(folder):
    assert load_datagen("cli_sample:Generator") is not None
    with pytest.raises(ArgumentError, match="ImageDataGenerator"):
        load_datagen("cli_sample:number")
