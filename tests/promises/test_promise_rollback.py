"""Promise 5, the faults: a micro-batch that fails is undone, and its samples are redone smaller, each once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from faults import EFFECTIVE, Watched, differences, put_back, state, stateful_model, train
from nets import pictures
from tensorflow.python.framework import config as determinism

from autobatch.errors import DoesNotFitError, UpdateInterruptedError

DATA = pictures(2 * EFFECTIVE + 5)
SUPPORT = Path(__file__).parent.parent / "support"


@pytest.fixture(autouse=True)
def deterministic_ops() -> Iterator[None]:
    determinism.enable_op_determinism()
    yield
    determinism.disable_op_determinism()


def once(call: int) -> Callable[[int], bool]:
    return lambda number: number == call


def twice(call: int) -> Callable[[int], bool]:
    return lambda number: number in {call, call + 1}


def every_third_from(call: int) -> Callable[[int], bool]:
    return lambda number: number >= call and (number - call) % 3 == 0 and number < call + 7


@pytest.mark.parametrize("fault", [once, twice, every_third_from])
@pytest.mark.parametrize("micro", [EFFECTIVE, EFFECTIVE // 2])
def test_a_fault_at_any_micro_batch_leaves_no_trace(micro: int, fault: Callable[[int], Callable[[int], bool]]) -> None:
    """Seen to fail without `Backup.restore`, and with gradients added before the pass was over."""
    model, loss = stateful_model()
    calm, _ = stateful_model()
    faulty_engine, calm_engine = (Watched(one, DATA[:2]) for one in (model, calm))
    start = state(calm)
    calls = sum(-(-size // micro) for size in (EFFECTIVE, EFFECTIVE, 5))
    for call in range(1, calls + 1):
        put_back(model, start)
        put_back(calm, start)
        loss.calls, loss.fails = 0, fault(call)
        train(model, DATA, micro=micro, engine=faulty_engine)
        cuts = [cut for cut in faulty_engine.cuts if cut]
        assert loss.calls > sum(map(len, cuts)), f"the fault at call {call} did not happen"
        assert [sum(cut) for cut in cuts] == [EFFECTIVE, EFFECTIVE, 5]
        train(calm, DATA, cuts=cuts, engine=calm_engine)
        assert differences(model, calm) == [], f"fault at call {call}"


def test_an_error_that_is_not_about_memory_passes_unchanged_and_changes_nothing() -> None:
    """Seen to fail with every error taken for memory."""
    model, _ = stateful_model(once(2), lambda: ValueError("a bad label, OOM when allocating nothing"))
    before: dict[str, np.ndarray] = {}

    def remember(call: int) -> bool:
        if call == 2:
            before.update(state(model))
        return call == 2

    model.loss.fails = remember
    with pytest.raises(Exception, match="a bad label") as caught:
        train(model, DATA)
    assert type(caught.value).__name__ == "InvalidArgumentError"  # what TensorFlow makes of it, not ours
    model_after = state(model)
    assert not [name for name in before if "iteration" in name and before[name] != model_after[name]]


def test_when_one_sample_does_not_fit_the_error_says_so_and_the_model_is_whole() -> None:
    """Seen to fail with the last rung tried for ever."""
    model, _ = stateful_model(lambda call: call > 1)
    calm, _ = stateful_model()
    with pytest.raises(DoesNotFitError, match="Not even one sample") as caught:
        train(model, DATA)
    train(calm, DATA[:EFFECTIVE])
    assert "OOM when allocating" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
    assert differences(model, calm) == []


def test_a_failure_while_the_optimizer_writes_is_said_and_never_called_rolled_back() -> None:
    """Seen to fail without the mark that is set before the first write."""
    model, loss = stateful_model()
    apply = model.optimizer.apply

    def half(gradients: list[object], variables: list[object]) -> None:
        import tensorflow as tf

        apply(gradients, variables)
        with tf.control_dependencies([variable.value.handle for variable in variables]):
            tf.numpy_function(_fail, [gradients[0]], tf.float32)

    def _fail(_: np.ndarray) -> np.ndarray:
        raise MemoryError("OOM when allocating tensor")

    model.optimizer.apply = half
    for micro in (EFFECTIVE, 4):
        loss.calls = 0
        with pytest.raises(UpdateInterruptedError, match="checkpoint"):
            train(model, DATA, micro=micro)
        assert loss.calls == EFFECTIVE // micro, "samples were run again though weights had moved"


CAPPED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
from faults import differences, state
from nets import compiled, pictures
from autobatch.data.cut import rungs
from autobatch.errors import OutOfMemoryError
from autobatch.step.tensorflow.engine import TensorFlowEngine
from autobatch.step.engine import Whole
from autobatch.train.feed import Feed
from autobatch.train.controller import falling
from autobatch.train.updating import Cutter
import faults
faults.EFFECTIVE = EFFECTIVE = 256

def model():
    keras.utils.set_random_seed(5)
    layers = [keras.Input((64, 64, 3))]
    for width in (16, 32):
        layers += [keras.layers.Conv2D(width, 3, padding="same"), keras.layers.BatchNormalization()]
        layers += [keras.layers.ReLU()]
    layers += [keras.layers.Dropout(0.3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, "softmax")]
    return compiled(keras.Sequential(layers), optimizer=keras.optimizers.Adam(1e-3))

data = pictures(2 * EFFECTIVE + 40, side=64)
keras.utils.set_random_seed(0)
from tensorflow.python.framework import config
config.enable_op_determinism()
hit = model()
decisions = []
engine = faults.Watched(hit, data[:2])
cutter = Cutter(falling(EFFECTIVE, rungs(EFFECTIVE, EFFECTIVE), lambda *d: decisions.append(d[:2])))
feed = Feed(faults.InMemory(data))
hit.reset_metrics()
for start in range(0, data.size, EFFECTIVE):
    cutter.update(engine, feed, min(EFFECTIVE, data.size - start))
calm = model()
again = faults.train(calm, data, micro=EFFECTIVE, cuts=engine.cuts)
print(json.dumps({"decisions": decisions, "cuts": engine.cuts, "same_cuts": again.cuts == engine.cuts,
                  "differences": differences(hit, calm), "loss": float(hit.get_metrics_result()["loss"])}))
"""


@pytest.mark.slow
def test_a_real_out_of_memory_is_rolled_back_bit_for_bit() -> None:
    """Under TensorFlow's capped allocator. Seen to fail without `Backup.restore`."""
    environ = os.environ | {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": "700",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, str(SUPPORT)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["decisions"], "nothing ran out of memory"
    assert result["decisions"][0][0] == 256
    assert result["same_cuts"]
    assert result["differences"] == []
