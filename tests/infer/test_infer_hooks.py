"""Callbacks are called as Keras calls them: the same hooks, in the same order, with the same arguments."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from inference import Recorder, keras_evaluate, keras_predict, one_output, pixels, two_outputs
from nets import compiled

from autobatch.infer.evaluate import evaluate
from autobatch.infer.predict import predict

COUNT = 11
X = pixels(COUNT)
Y = np.eye(2, dtype=np.float32)[np.arange(COUNT) % 2]
OURS = {"cache": False, "verbose": 0}


def calls(run: Callable[[Recorder], Any]) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    run(recorder)
    return recorder.calls


@pytest.mark.parametrize(("micro", "steps"), [(3, None), (4, 2)])
def test_hooks_of_an_evaluation(micro: int, steps: int | None) -> None:
    """Seen to fail with a batch's hooks called for every micro-batch."""
    model = compiled(one_output())
    theirs = calls(lambda one: keras_evaluate(model, X, Y, batch_size=4, steps=steps, callbacks=[one]))
    options = {"batch_size": 4, "max_batch_size": micro, "steps": steps, **OURS}
    assert calls(lambda one: evaluate(model, (X, Y), callbacks=[one], **options)) == theirs
    assert len(theirs) == 3 + 2 * (steps or 3)


OUTPUTS = {"one": one_output, "two": lambda: two_outputs(lambda a, b: [a, b])}


@pytest.mark.parametrize(("outputs", "micro"), [("one", 4), ("two", 3)])
def test_hooks_of_a_prediction(outputs: str, micro: int) -> None:
    """The outputs of a step are tensors, as in Keras. Seen to fail with those of its last micro-batch."""
    model = OUTPUTS[outputs]()
    theirs = calls(lambda one: keras_predict(model, X, batch_size=4, callbacks=[one]))
    options = {"batch_size": 4, "max_batch_size": micro, **OURS}
    assert calls(lambda one: predict(model, X, callbacks=[one], **options)) == theirs
    assert len(theirs) == 3 + 2 * 3


def test_of_a_stream_the_number_of_steps_is_not_said() -> None:
    model = one_output()
    data = (X[start : start + 3] for start in range(0, COUNT, 3))
    seen = calls(lambda one: predict(model, data, batch_size=4, callbacks=[one], **OURS))
    assert seen[0] == ("params", {"verbose": 0, "epochs": 1, "steps": None})
    assert [call[1] for call in seen if call[0] == "on_predict_batch_begin"] == [0, 1, 2]


def test_a_callback_may_stop_either() -> None:
    """What was done until then is the result, as in Keras."""

    class Stops(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_predicting = batch == 1

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_evaluating = batch == 1

    model = compiled(one_output())
    options = {"batch_size": 4, "callbacks": [Stops()]}
    assert predict(model, X, **options, **OURS).shape == keras_predict(model, X, **options).shape == (8, 2)
    expected = keras_evaluate(model, X, Y, **options)
    assert evaluate(model, (X, Y), **options, **OURS) == pytest.approx(expected, rel=1e-5)


def test_verbose_0_prints_nothing_and_verbose_2_what_was_chosen_and_a_line_of_keras(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = compiled(one_output())
    capfd.readouterr()
    predict(model, X, **OURS)
    evaluate(model, (X, Y), **OURS)
    assert capfd.readouterr().out == ""
    evaluate(model, (X, Y), batch_size=4, cache=False, verbose=2)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("batch_size=4 (micro-batch 4 x 1). ")
    assert lines[-1].startswith("3/3 - ")
