"""A compiled step without its trace: it computes what the function does, and nothing of the trace stays."""

import weakref
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import compiled, numbers, pictures, update

from autobatch.backend.tensorflow.engine import TensorFlowEngine
from autobatch.backend.tensorflow.function import Untraced

ANY = tf.TensorSpec([None], tf.float32)
DATA = pictures(8)


class Seeing(keras.layers.Layer):
    """Remembers every graph that it was traced in, and keeps none alive."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs: list[weakref.ref[Any]] = []

    def call(self, inputs: Any) -> Any:
        self.graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return inputs


class Elsewhere:
    """A function of another TensorFlow, whose traces are kept somewhere else."""

    def get_concrete_function(self) -> Any:
        return object()

    def __call__(self, number: Any) -> Any:
        return number + 1


def untraced(function: Any, *signature: Any) -> Untraced:
    return Untraced(tf.function(function, input_signature=signature))


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam()])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_nothing_of_the_trace_of_an_update_stays(optimizer: Any, policy: str) -> None:
    """Seen to fail with the branches' traces kept, and with the optimizer's sum over replicas left in."""
    keras.utils.set_random_seed(1)
    seeing = Seeing()
    layers = [keras.Input((12, 12, 3)), seeing, keras.layers.Flatten(), keras.layers.Dense(4, "softmax", dtype=policy)]
    optimizer = type(optimizer).from_config(optimizer.get_config())
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model = compiled(keras.Sequential(layers), optimizer=optimizer, jit_compile=False)
    seeing.graphs.clear()
    engine = TensorFlowEngine(model, DATA[:2])
    for cut in ((8,), (4, 4), (3, 3, 2)):
        update(engine, DATA, cut)
    assert seeing.graphs
    assert not any(graph() for graph in seeing.graphs)


def branching(counted: Any) -> Any:
    """A step with a branch and a loop, and a constant that is held by nothing else."""
    captured = tf.constant([2.0])

    def step(parts: Any) -> Any:
        counted.assign_add(1)
        doubled = tf.cond(tf.size(parts[0]) > 2, lambda: parts[0] * captured, lambda: -parts[0])
        looped = tf.while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x + captured), (0, parts[1]))[1]
        return {"both": (doubled, looped)}

    return step


def test_branches_loops_and_what_is_captured_stay() -> None:
    """Seen to fail with another constant in the place of the one that was captured."""
    counted = tf.Variable(0)
    run = untraced(branching(counted), [ANY, ANY])
    for size, expected in ((3, 2.0), (2, -1.0), (4, 2.0)):
        doubled, looped = run([np.ones(size, np.float32), np.zeros(size, np.float32)])["both"]
        assert doubled.numpy().tolist() == [expected] * size
        assert looped.numpy().tolist() == [6.0] * size
    assert int(counted) == 3


def test_a_function_that_is_in_use_elsewhere_is_left_alone() -> None:
    """Seen to fail with the traces of all that a step calls let go of."""
    shared = tf.function(lambda x: x**2, input_signature=[ANY])
    of_its_own = shared.get_concrete_function().inference_fn.graph
    run = untraced(lambda x: shared(x) + 1, ANY)
    assert run(np.float32([3.0])).numpy().tolist() == [10.0]
    assert shared.get_concrete_function().inference_fn.graph is of_its_own
    with tf.GradientTape() as tape:
        x = tf.constant([3.0])
        tape.watch(x)
        y = shared(x)
    assert tape.gradient(y, x).numpy().tolist() == [6.0]


def test_an_error_says_where_it_came_from() -> None:
    def step(x: Any) -> Any:
        tf.debugging.assert_positive(x)
        return x

    run = untraced(step, ANY)
    run(np.float32([1.0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"test_backend_function\.py"):
        run(np.float32([-1.0]))


def test_where_traces_cannot_be_found_they_are_kept() -> None:
    run = Untraced(Elsewhere())
    assert [run(1), run(2)] == [2, 3]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_updates_are_keras_own_to_the_bit(optimizer: str) -> None:
    """The sum over one replica is left out, and changes nothing."""
    weights = []
    for ours in (True, False):
        keras.utils.set_random_seed(3)
        layers = [keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
        model = compiled(keras.Sequential(layers), optimizer=optimizer, jit_compile=False)
        engine = TensorFlowEngine(model, DATA[:2]) if ours else None
        for _ in range(3):
            update(engine, DATA, (8,)) if engine else model.train_on_batch(*DATA.nest)
        weights.append(numbers(model.weights))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
