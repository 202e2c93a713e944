"""What a probe would do is told without any trial, and nothing is changed by asking."""

import json

import keras
import numpy as np
import pytest
from nets import Here, compiled, conv_net, numbers, pictures

from autobatch.data.adapters.synthetic import SyntheticSource
from autobatch.errors import ArgumentError, DoesNotFitError
from autobatch.probing.cache import Cache
from autobatch.probing.probe import dry_run
from autobatch.probing.request import UserRequest
from autobatch.probing.tuner import Tuner, TunerSeams
from autobatch.results.trial import Outcome, Trial
from autobatch.testing import memory_reading

GIB = 2**30
DATA = pictures(40)
ALLOWED = "the most that was allowed (max_batch_size=7)"
SEAMS = TunerSeams(memory_reading, lambda *_, **__: pytest.fail("a place for trials was made"))


def look(model=None, data=(DATA.x, DATA.y), **options):
    return dry_run(model or compiled(conv_net()), data, seams=SEAMS, **{"cache": False, **options})


@pytest.mark.parametrize(
    ("options", "mode", "cap", "effective", "reason"),
    [
        ({}, "auto", 40, None, "all the samples there are"),
        ({"batch_size": "largest", "max_batch_size": 7}, "largest", 7, None, ALLOWED),
        ({"batch_size": 16}, "micro", 16, 16, "the effective batch"),
    ],
)
def test_it_tells_what_would_be_looked_for(options, mode, cap, effective, reason):
    found = look(**options)
    assert (found.mode, found.cap, found.effective_batch_size, found.cap_reason) == (mode, cap, effective, reason)
    assert found.first_size == 2
    assert str(cap) in str(found)


def test_it_tells_the_budget_and_what_is_pretended():
    found = look(limit=8 * GIB, reserve=GIB)
    assert found.reserves == {"host": GIB}
    assert found.budgets["host"] <= 8 * GIB - GIB
    assert found.limits == {"host": "host, as if it had 8.0 GiB"}
    assert "As if the host had 8.0 GiB." in found.notes


@pytest.mark.parametrize(("layers", "where"), [((), "worker"), ((Here(),), "caller")])
def test_it_tells_where_trials_would_run_and_why(layers, where):
    model = keras.Sequential([keras.Input((12, 12, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(4)])
    found = look(compiled(model, loss="mse"))
    assert found.where == where
    assert (found.why_here is None) == (where == "worker")


def test_it_tells_of_an_earlier_answer(tmp_path):
    model = compiled(conv_net())
    task = UserRequest(model=model, data=(DATA.x, DATA.y), batch_size="largest", trial_timeout_s=1.0).open()
    key = Tuner(model, task.samples, task.request, seams=SEAMS)._key()
    trial = Trial(40, Outcome.RAN, {"host": GIB}, 0.1, 400.0)
    Cache(tmp_path).put(key, {"searches": [{"trials": [trial.to_dict()], "beside_bytes": {}}]})
    assert look(model, batch_size="largest", cache=tmp_path).earlier_size == 40
    assert look(model, batch_size="largest", cache=False).earlier_size is None


def test_nothing_is_run_and_nothing_is_changed():
    """Seen to fail with a runner made to find out whether the model can be run."""
    model = compiled(conv_net())
    before, state = numbers(model.variables), np.random.get_state()[1].copy()
    look(model, seed=3)
    assert all(map(np.array_equal, before, numbers(model.variables)))
    assert np.array_equal(state, np.random.get_state()[1])
    assert model.train_function is None
    assert not model.optimizer.built


def test_what_it_tells_is_json():
    found = look(batch_size=16)
    assert json.loads(json.dumps(found.to_dict()))["first_size"] == 2
    assert set(found.to_dict()) == set(type(found).__dataclass_fields__)


def test_the_samples_of_a_synthetic_source_are_no_bound():
    """Seen to fail with "all the samples there are"."""
    model = compiled(conv_net())
    found = look(model, SyntheticSource(model))
    assert (found.cap, found.cap_reason) == (2**16, "the most that is tried of synthetic samples")
    assert any("synthetic" in note for note in found.notes)


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"limit": 0}, {"cache": 7}, {"batch_size": 0}, {"bach_size": 4}, {"reserve": "all"}]
)
def test_what_a_probe_refuses_is_refused(options):
    with pytest.raises(ArgumentError, match="Received"):
        look(**options)


def test_without_room_it_says_what_a_probe_would_say():
    with pytest.raises(DoesNotFitError, match="Nothing is left"):
        look(limit=GIB // 4)  # this process holds more than that
