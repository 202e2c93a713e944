"""Promise 5, the faults: a micro-batch that fails is undone, and its samples are redone smaller, each once."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rollback_scene
from faults import EFFECTIVE, FaultyLoss, Watched, differences, out_of_memory, put_back, state, stateful_model, train
from nets import compiled, conv_net, pictures
from tensorflow.python.framework import config as determinism

from autobatch.errors import DoesNotFitError, UpdateInterruptedError

DATA = pictures(2 * EFFECTIVE + 5)


@pytest.fixture(autouse=True, scope="module")
def deterministic_ops() -> Iterator[None]:
    determinism.enable_op_determinism()
    yield
    determinism.disable_op_determinism()


class Pair:
    """A model whose steps fail, and a calm one in the same state; both are compiled once."""

    def __init__(self) -> None:
        self.model, self.loss = stateful_model()
        self.calm, _ = stateful_model()
        self.faulty_engine, self.calm_engine = (Watched(one, DATA[:2]) for one in (self.model, self.calm))
        self._start = state(self.calm)

    def begin(self, fails: Callable[[int], bool], error: Callable[[], Exception] | None = None) -> None:
        put_back(self.model, self._start)
        put_back(self.calm, self._start)
        self.loss.calls, self.loss.fails, self.loss.error = 0, fails, error or out_of_memory


@pytest.fixture(scope="module")
def pair(deterministic_ops: None) -> Pair:
    return Pair()


def once(call: int) -> Callable[[int], bool]:
    return lambda number: number == call


def twice(call: int) -> Callable[[int], bool]:
    return lambda number: number in {call, call + 1}


def every_third_from(call: int) -> Callable[[int], bool]:
    return lambda number: number >= call and (number - call) % 3 == 0 and number < call + 7


@pytest.mark.parametrize("fault", [once, twice, every_third_from])
@pytest.mark.parametrize("micro", [EFFECTIVE, EFFECTIVE // 2])
def test_a_fault_at_any_micro_batch_leaves_no_trace(
    pair: Pair, micro: int, fault: Callable[[int], Callable[[int], bool]]
) -> None:
    """Seen to fail without `Backup.restore`, and with gradients added before the pass was over."""
    calls = sum(-(-size // micro) for size in (EFFECTIVE, EFFECTIVE, 5))
    for call in range(1, calls + 1):
        pair.begin(fault(call))
        train(pair.model, DATA, micro=micro, engine=pair.faulty_engine)
        cuts = [cut for cut in pair.faulty_engine.cuts if cut]
        assert pair.loss.calls > sum(map(len, cuts)), f"the fault at call {call} did not happen"
        assert [sum(cut) for cut in cuts] == [EFFECTIVE, EFFECTIVE, 5]
        train(pair.calm, DATA, cuts=cuts, engine=pair.calm_engine)
        assert differences(pair.model, pair.calm) == [], f"fault at call {call}"


def test_an_error_that_is_not_about_memory_passes_unchanged_and_changes_nothing(pair: Pair) -> None:
    """Seen to fail with every error taken for memory."""
    before: dict[str, np.ndarray] = {}

    def remember(call: int) -> bool:
        if call == 2:
            before.update(state(pair.model))
        return call == 2

    pair.begin(remember, lambda: ValueError("a bad label, OOM when allocating nothing"))
    with pytest.raises(Exception, match="a bad label") as caught:
        train(pair.model, DATA, engine=pair.faulty_engine)
    assert type(caught.value).__name__ == "InvalidArgumentError"  # what TensorFlow makes of it, not ours
    after = state(pair.model)
    assert not [name for name in before if "iteration" in name and before[name] != after[name]]


def test_when_one_sample_does_not_fit_the_error_says_so_and_the_model_is_whole(pair: Pair) -> None:
    """Seen to fail with the last rung tried for ever."""
    pair.begin(lambda call: call > 1)
    with pytest.raises(DoesNotFitError, match="Not even one sample") as caught:
        train(pair.model, DATA, engine=pair.faulty_engine)
    train(pair.calm, DATA[:EFFECTIVE], engine=pair.calm_engine)
    assert "OOM when allocating" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
    assert differences(pair.model, pair.calm) == []


def test_a_failure_while_the_optimizer_writes_is_said_and_never_called_rolled_back() -> None:
    """Seen to fail without the mark that is set before the first write."""
    loss = FaultyLoss(lambda call: False)
    model = compiled(conv_net(), loss=loss, metrics=None)
    apply = model.optimizer.apply

    def half(gradients: list[object], variables: list[object]) -> None:
        import tensorflow as tf

        apply(gradients, variables)
        with tf.control_dependencies([variable.value.handle for variable in variables]):
            tf.numpy_function(_fail, [gradients[0]], tf.float32)

    def _fail(_: np.ndarray) -> np.ndarray:
        raise MemoryError("OOM when allocating tensor")

    model.optimizer.apply = half
    engine = Watched(model, DATA[:2])
    for micro in (EFFECTIVE, 4):
        loss.calls = 0
        with pytest.raises(UpdateInterruptedError, match="checkpoint"):
            train(model, DATA, micro=micro, engine=engine)
        assert loss.calls == EFFECTIVE // micro, "samples were run again though weights had moved"


@pytest.mark.slow
def test_a_real_out_of_memory_is_rolled_back_bit_for_bit() -> None:
    """Under TensorFlow's capped allocator. Seen to fail without `Backup.restore`."""
    played = rollback_scene.play()
    assert played["decisions"], "nothing ran out of memory"
    assert played["decisions"][0][0] == rollback_scene.EFFECTIVE
    assert played["same_cuts"]
    assert played["differences"] == []
