"""Samples are refused before anything is started if, and only if, Keras itself would refuse them."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.batch import Batch
from autobatch.data.check import require_compatible
from autobatch.errors import ArgumentError

X = np.random.default_rng(0).random((8, 4), np.float32)
FEW, Y = X[:, :2], np.arange(8) % 2
WORDS = np.array(["a b", "c"] * 4, dtype=object)
L = keras.layers


def ready(model: Any, loss: Any = "sparse_categorical_crossentropy") -> Any:
    model.compile("sgd", loss, run_eagerly=True)  # what Keras refuses is the same, and no graph is built
    return model


def sequential(*shape: int | None, **options: Any) -> Any:
    return ready(keras.Sequential([keras.Input(shape, **options), L.Flatten(), L.Dense(2, "softmax")]))


def functional(*shape: int | None) -> Any:
    inputs = keras.Input(shape)
    return ready(keras.Model(inputs, L.Dense(2, "softmax")(L.Flatten()(inputs))))


def convolution(kind: type) -> Any:
    inputs = keras.Input((6, 6, 1))
    layers = [L.Conv2D(2, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Softmax()]
    if kind is keras.Sequential:
        return ready(keras.Sequential([inputs, *layers]))
    out = inputs
    for layer in layers:
        out = layer(out)
    return ready(keras.Model(inputs, out))


def two(kind: type) -> Any:
    four, few = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    inputs = [four, few] if kind is list else {"a": four, "b": few}
    return ready(keras.Model(inputs, L.Dense(2, "softmax")(L.Concatenate()([four, few]))))


def unbuilt() -> Any:
    return ready(keras.Sequential([L.Dense(2, "softmax")]))


def reader() -> Any:
    layer = L.TextVectorization(max_tokens=5, output_sequence_length=4, vocabulary=["a", "b"])
    return ready(keras.Sequential([keras.Input((), dtype="string"), layer, L.Embedding(5, 2), L.Flatten(), L.Dense(2)]))


class OwnStep(keras.Sequential):
    """Needs no targets, and takes inputs apart by itself."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"mean": keras.ops.mean(self(keras.utils.unpack_x_y_sample_weight(data)[0][:, :4]))}


class OwnLoss(keras.Sequential):
    """Compares outputs with inputs."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *others: Any, **more: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_pred - x))


def own(kind: type) -> Any:
    return ready(kind([keras.Input((4,)), L.Dense(4)]), "mse")


INPUTS: dict[str, tuple[Callable[[], Any], Any]] = {
    **{
        f"{make.__name__} of {shape}, samples of {x.shape[1:]}": (lambda make=make, shape=shape: make(*shape), x)
        for make in (sequential, functional)
        for shape in ((1,), (4,), (4, 1), (2, 2))
        for x in (X[:, 0], X[:, :1], X, X[:, :3], X[..., None], X[:, None], X[:, :1, None], X.reshape(8, 2, 2))
    },
    "one input in a list": (lambda: functional(4), [X]),
    "one input twice": (lambda: functional(4), [X, X]),
    "a dict that names another": (lambda: functional(4), {"other": X}),
    "larger pictures, sequential": (lambda: convolution(keras.Sequential), np.ones((8, 7, 7, 1), np.float32)),
    "larger pictures, functional": (lambda: convolution(keras.Model), np.ones((8, 7, 7, 1), np.float32)),
    "more channels": (lambda: convolution(keras.Sequential), np.ones((8, 6, 6, 3), np.float32)),
    **{
        f"{name} for a {kind.__name__}": (lambda kind=kind: two(kind), x)
        for kind in (list, dict)
        for name, x in {
            "a list": [X, FEW],
            "a tuple": (X, FEW),
            "another order": [FEW, X],
            "names": {"b": FEW, "a": X},
            "names and more": {"b": FEW, "a": X, "more": X},
            "a name short": {"a": X},
            "other names": {"u": X, "v": FEW},
            "three": [X, FEW, FEW],
            "one": X,
        }.items()
    },
    "not built": (unbuilt, X),
    "text": (reader, WORDS),
    "text for numbers": (lambda: functional(4), np.repeat(WORDS[:, None], 4, axis=1)),
    "numbers as objects": (lambda: functional(4), X.astype(object)),
    "integers": (lambda: functional(4), (X * 9).astype(np.int64)),
    "a step of its own": (lambda: own(OwnStep), np.ones((8, 6), np.float32)),
}
TARGETS: dict[str, tuple[Callable[[], Any], Any]] = {
    "none": (lambda: functional(4), None),
    "none, own step": (lambda: own(OwnStep), None),
    "none, own loss": (lambda: own(OwnLoss), None),
    "a column": (lambda: functional(4), Y[:, None]),
    "yes and no": (lambda: functional(4), Y == 1),
    "names": (lambda: functional(4), np.array(["a", "b"] * 4)),
    "names as objects": (lambda: functional(4), WORDS),
    "numbers as objects": (lambda: functional(4), Y.astype(object)),
}


def says(function: Callable[..., Any], *arguments: Any, **options: Any) -> Exception | None:
    try:
        function(*arguments, **options)
    except Exception as error:  # noqa: BLE001 - Keras raises many kinds
        return error
    return None


def agree(make: Callable[[], Any], x: Any, y: Any) -> None:
    model = make()
    ours = says(require_compatible, model, ArraySource(x, y).read(np.arange(4), 0))
    with contextlib.redirect_stdout(None):
        theirs = says(model.fit, x, y, verbose=0)
    assert (ours is None) == (theirs is None), (ours, theirs)
    if ours is not None:
        assert isinstance(ours, ArgumentError)
        assert re.search(r"Received: .*data.* Expected ", str(ours)), ours


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
@pytest.mark.parametrize("what", INPUTS)
def test_inputs_are_refused_where_keras_refuses_them(what: str) -> None:
    """Seen to fail with all lengths compared for a sequential model, too, and with no shape tried out."""
    agree(*INPUTS[what], None if what == "a step of its own" else Y)


@pytest.mark.parametrize("what", TARGETS)
def test_targets_are_refused_where_keras_refuses_them(what: str) -> None:
    """Seen to fail with a loss of one's own not asked for, and with objects taken for numbers."""
    make, y = TARGETS[what]
    agree(make, X, y)


def test_trying_shapes_out_leaves_the_model_as_it_was() -> None:
    model = convolution(keras.Sequential)
    before = [layer.output.shape for layer in model.layers]
    assert says(require_compatible, model, Batch(np.ones((2, 7, 7, 1), np.float32), Y[:2])) is None
    assert [layer.output.shape for layer in model.layers] == before
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)


def test_the_message_names_what_was_given_and_what_to_do_instead() -> None:
    with pytest.raises(ArgumentError, match=r"validation_data without targets.*autobatch\.predict"):
        require_compatible(functional(4), Batch(X), "validation_data", step="evaluate")


def test_a_prediction_needs_no_targets() -> None:
    assert says(require_compatible, functional(4), Batch(X), step="predict") is None


def test_an_output_without_a_loss_may_have_any_targets() -> None:
    model = two(dict)
    model.compile("sgd", {"a": "mse", "b": None})
    y = {"a": X, "b": WORDS}
    assert says(require_compatible, model, Batch({"a": X, "b": FEW}, y)) is None
