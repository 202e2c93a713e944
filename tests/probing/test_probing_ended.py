"""A probe that is ended early, by its deadline: nothing of it is left behind, whoever ran the trials."""

import keras
import psutil
import pytest
from nets import Here, compiled, conv_net, numbers, pictures

import autobatch
from autobatch.data.adapters.synthetic import SyntheticSource
from autobatch.errors import ProbeTimeoutError

DATA = pictures(40)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder for temporary files, which is empty again afterwards, in a process without a child of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    children = {process.pid for process in psutil.Process().children(recursive=True)}
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    assert {process.pid for process in psutil.Process().children(recursive=True)} == children


def stays_here():
    return keras.Sequential([keras.Input((12, 12, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(4)])


@pytest.mark.parametrize("make", [conv_net, stays_here], ids=["worker", "this process"])
def test_a_deadline_leaves_the_trials_so_far_and_nothing_else(make, scratch):
    """Seen to fail with the deadline handed to nobody."""
    model = compiled(make(), loss="mse")
    before = numbers(model.variables)
    with pytest.raises(ProbeTimeoutError, match=r"0\.001 s") as caught:
        autobatch.probe(model, (DATA.x, DATA.y), timeout_s=0.001, cache=False)
    assert caught.value.best_size is None
    assert all((a == b).all() for a, b in zip(before, numbers(model.variables), strict=True))


def test_samples_made_up_for_a_model_find_its_size_under_a_limit(scratch, trials_here):
    model = compiled(conv_net(), run_eagerly=True)
    limit = psutil.Process().memory_info().rss + 2**30
    found = autobatch.probe(model, SyntheticSource(model), limit=limit, max_batch_size=64, cache=False)
    assert found.max_batch_size == 64
    assert "as if it had" in found.summary()
    assert any("synthetic" in note for note in found.notes)
