"""Promise 5, the faults: a micro-batch that fails is undone, and its samples are redone smaller, each once."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rollback_scene
from faults import EFFECTIVE, FaultyLoss, Watched, out_of_memory, put_back, state, stateful_model, train
from nets import compiled, conv_net, pictures
from tensorflow.python.framework import config as determinism

from autobatch.data.batch import Batch
from autobatch.errors import DoesNotFitError, UpdateInterruptedError

DATA = pictures(2 * EFFECTIVE + 5)


@pytest.fixture(autouse=True, scope="module")
def deterministic_ops() -> Iterator[None]:
    determinism.enable_op_determinism()
    yield
    determinism.disable_op_determinism()


class Lab:
    """A model whose steps fail on demand, put back before every run; it is compiled once."""

    def __init__(self) -> None:
        self.model, self.loss = stateful_model()
        self._engine = Watched(self.model, DATA[:2])
        self._start = state(self.model)

    def begin(self, fails: Callable[[int], bool], error: Callable[[], Exception] = out_of_memory) -> None:
        put_back(self.model, self._start)
        self.loss.calls, self.loss.fails, self.loss.error = 0, fails, error

    def train(self, data: Batch = DATA, micro: int = EFFECTIVE) -> list[list[int]]:
        """The micro-batches of each update."""
        return [cut for cut in train(self.model, data, micro=micro, engine=self._engine).cuts if cut]

    def require_as_in_calm(self, cuts: list[list[int]], what: str) -> None:
        """The state is that of a run in these micro-batches in which nothing failed, bit for bit."""
        ours = state(self.model)
        self.begin(lambda call: False)
        train(self.model, DATA[: sum(map(sum, cuts))], cuts=cuts, engine=self._engine)
        calm = state(self.model)
        assert [name for name in ours if ours[name].tobytes() != calm[name].tobytes()] == [], what


@pytest.fixture(scope="module")
def lab(deterministic_ops: None) -> Lab:
    return Lab()


def once(call: int) -> Callable[[int], bool]:
    return lambda number: number == call


def twice(call: int) -> Callable[[int], bool]:
    return lambda number: number in {call, call + 1}


def every_third_from(call: int) -> Callable[[int], bool]:
    return lambda number: number >= call and (number - call) % 3 == 0 and number < call + 7


@pytest.mark.parametrize("fault", [once, twice, every_third_from])
@pytest.mark.parametrize("micro", [EFFECTIVE, EFFECTIVE // 2])
def test_a_fault_at_any_micro_batch_leaves_no_trace(
    lab: Lab, micro: int, fault: Callable[[int], Callable[[int], bool]]
) -> None:
    """Seen to fail without `Backup.restore`, and with gradients added before the pass was over."""
    calls = sum(-(-size // micro) for size in (EFFECTIVE, EFFECTIVE, 5))
    for call in range(1, calls + 1):
        lab.begin(fault(call))
        cuts = lab.train(micro=micro)
        assert lab.loss.calls > sum(map(len, cuts)), f"the fault at call {call} did not happen"
        assert [sum(cut) for cut in cuts] == [EFFECTIVE, EFFECTIVE, 5]
        lab.require_as_in_calm(cuts, f"fault at call {call}")


def test_an_error_that_is_not_about_memory_passes_unchanged_and_changes_nothing(lab: Lab) -> None:
    """Seen to fail with every error taken for memory."""
    before: dict[str, np.ndarray] = {}

    def remember(call: int) -> bool:
        if call == 2:
            before.update(state(lab.model))
        return call == 2

    lab.begin(remember, lambda: ValueError("a bad label, OOM when allocating nothing"))
    with pytest.raises(Exception, match="a bad label") as caught:
        lab.train()
    assert type(caught.value).__name__ == "InvalidArgumentError"  # what TensorFlow makes of it, not ours
    after = state(lab.model)
    assert not [name for name in before if "iteration" in name and before[name] != after[name]]


def test_when_one_sample_does_not_fit_the_error_says_so_and_the_model_is_whole(lab: Lab) -> None:
    """Seen to fail with the last rung tried for ever."""
    lab.begin(lambda call: call > 1)
    with pytest.raises(DoesNotFitError, match="Not even one sample") as caught:
        lab.train()
    assert "OOM when allocating" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
    lab.require_as_in_calm([[EFFECTIVE]], "the update before it")


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
