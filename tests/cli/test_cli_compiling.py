"""--loss and --optimizer: for a model that is not compiled, and for no other."""

import pytest

from autobatch.cli.model_ref import compiled, fitting_losses
from autobatch.errors import ArgumentError, ModelError

WORDS = ["probe", "m:model", "my pictures"]


def bare(*activations):
    import keras

    taken = keras.Input((4,))
    given = [
        keras.layers.Dense(2, activation=activation, name=f"out{i}")(taken) for i, activation in enumerate(activations)
    ]
    return keras.Model(taken, given if len(given) > 1 else given[0])


@pytest.mark.parametrize(
    ("activations", "losses", "optimizer", "kept"),
    [
        (["softmax"], ["categorical_crossentropy"], None, "categorical_crossentropy"),
        ([None], ["mse"], "sgd", "mse"),
        ([None], ["MeanSquaredError"], "SGD", "MeanSquaredError"),
        ([None, "sigmoid"], ["mse", "binary_crossentropy"], None, ["mse", "binary_crossentropy"]),
        ([None, "sigmoid"], ["mse, binary_crossentropy"], None, ["mse", "binary_crossentropy"]),
        ([None, None], ["mse"], None, ["mse", "mse"]),
    ],
)
def test_a_model_is_compiled_as_said(activations, losses, optimizer, kept):
    model = compiled(bare(*activations), losses, optimizer, WORDS)
    assert model.compiled
    assert model.loss == kept
    assert type(model.optimizer).__name__.lower() == (optimizer or "adam").lower()


@pytest.mark.parametrize(
    ("activations", "losses"),
    [
        (["softmax"], "--loss categorical_crossentropy"),
        (["sigmoid"], "--loss binary_crossentropy"),
        ([None], "--loss mean_squared_error"),
        (["softmax", "relu"], "--loss categorical_crossentropy --loss mean_squared_error"),
    ],
)
def test_without_a_loss_the_command_with_a_fitting_one_is_shown(activations, losses):
    with pytest.raises(ModelError) as caught:
        compiled(bare(*activations), None, None, WORDS)
    assert str(caught.value).endswith(f": autobatch probe m:model 'my pictures' {losses}")


def test_the_loss_that_is_shown_is_taken():
    model = bare("softmax", "sigmoid", None)
    assert compiled(model, fitting_losses(model), None, WORDS).compiled


@pytest.mark.parametrize(
    ("losses", "optimizer", "says"),
    [
        (["mean_squared_eror"], None, "--loss mean_squared_eror.*Did you mean mean_squared_error"),
        (["mse"], "adan", "--optimizer adan.*Did you mean"),
        (["Losss"], None, r"keras\.losses\.(?! Did you mean Loss\?)"),
        (["mse", "mse"], None, "Received: 2 losses. Expected: 1"),
    ],
)
def test_what_keras_does_not_know_is_refused_before_anything_is_compiled(losses, optimizer, says):
    model = bare(None)
    with pytest.raises(ArgumentError, match=says):
        compiled(model, losses, optimizer, WORDS)
    assert not model.compiled


@pytest.mark.parametrize(
    ("losses", "optimizer", "flags"),
    [(["mse"], None, "--loss"), (None, "sgd", "--optimizer"), (["mse"], "sgd", "--loss and --optimizer")],
)
def test_a_compiled_model_takes_neither(losses, optimizer, flags):
    model = bare(None)
    model.compile("adam", "mae")
    with pytest.raises(ArgumentError, match=f"Received: {flags} beside it"):
        compiled(model, losses, optimizer, WORDS)
    assert compiled(model, None, None, WORDS).loss == "mae"
