"""A training on disk: what comes back is what was there, bit for bit, or a clear error, whatever fails meanwhile."""

import errno
import functools
import json
import math
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from faults import variables
from hypothesis import given
from hypothesis import strategies as st
from nets import compiled, conv_net, pictures, update

from autobatch._atomic_file import Disk
from autobatch.backend import current_backend, engine_for
from autobatch.data.epoch import rungs
from autobatch.errors import ArgumentError, DataError
from autobatch.train.checkpoint.saver import InFlight, InFlightJournal, next_smaller_micro_batch
from autobatch.train.checkpoint.store import CheckpointState, CheckpointStore

DATA = pictures(16)
STATE = CheckpointState(
    epoch=2,
    update=3,
    pass_number=1,
    position=12,
    effective_batch_size=8,
    max_micro_batch_size=4,
    seed=7,
    samples=16,
    history={"loss": [0.5, 0.25]},
    epochs_done=[0, 1],
)


def optimizers():
    return {
        "sgd with momentum": keras.optimizers.SGD(0.05, momentum=0.9),
        "adamw with averages": keras.optimizers.AdamW(1e-3, use_ema=True),
        "scaled": keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3), initial_scale=8.0),
        "schedule": keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-2, 3, 0.5)),
    }


def built(optimizer=None, *, norm=True, dropout=0.5, run_eagerly=False, **net):
    optimizer = optimizer or keras.optimizers.Adam(1e-3)
    model = compiled(conv_net(norm=norm, dropout=dropout, **net), optimizer=optimizer, run_eagerly=run_eagerly)
    return model, engine_for(model, DATA[:2])


def trained(updates, model, engine):
    for number in range(updates):
        update(engine, DATA[8 * (number % 2) : 8 * (number % 2) + 8], (4, 4))


def values(model):
    """Bit for bit what a run leaves behind, listed by somebody else than the code under test."""
    return [np.array(variable.value).tobytes() for variable in variables(model)]


@pytest.fixture(scope="module")
def model():
    return built()[0]


@pytest.fixture
def saved(model, tmp_path):
    """A model and its checkpoint."""
    checkpoint = CheckpointStore(tmp_path / "runs" / "7")
    checkpoint.save(model, STATE)
    return model, checkpoint


@functools.cache
def restored(name):
    """What two models are worth, one saved and one restored: at once, and both trained on."""
    with tempfile.TemporaryDirectory() as folder:
        model, engine = built(optimizers()[name], run_eagerly=True)
        trained(1, model, engine)
        checkpoint = CheckpointStore(Path(folder))
        checkpoint.save(model, STATE)
        before = values(model)
        trained(1, model, engine)
        other, other_engine = built(optimizers()[name], seed=5, run_eagerly=True)
        assert checkpoint.restore(other, checkpoint.load()) == STATE
        after = values(other)
        trained(1, other, other_engine)
    return (before, after), (values(model), values(other))


@pytest.mark.parametrize("name", optimizers())
def test_every_variable_comes_back_bit_for_bit(name):
    """Seen to fail with the optimizer's variables left out of `state_variables`, and with the metrics left out."""
    (before, after), _ = restored(name)
    assert after == before


@pytest.mark.parametrize("name", optimizers())
def test_a_restored_training_goes_on_as_the_one_that_was_never_stopped(name):
    """Seen to fail with the seeds of dropout layers left out of `state_variables`."""
    _, (model, other) = restored(name)
    assert other == model


def test_numbers_that_numpy_does_not_know_come_back(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        model, other = (built(norm=False, dropout=0.0, l2=False, seed=seed)[0] for seed in (1, 2))
    finally:
        keras.config.set_dtype_policy("float32")
    assert "bfloat16" in {variable.dtype for variable in current_backend().state_variables(model)}
    checkpoint = CheckpointStore(tmp_path)
    checkpoint.save(model, STATE)
    checkpoint.restore(other, checkpoint.load())
    assert values(other) == values(model)


def test_the_seed_that_keras_shares_comes_back_even_where_nothing_has_drawn_from_it(tmp_path):
    """Seen to fail with the seed taken for a variable of the model: the model is then called another one."""
    model, _ = built()
    checkpoint = CheckpointStore(tmp_path)
    keras.utils.clear_session(free_memory=False)
    keras.random.normal((1,))
    checkpoint.save(model, STATE)
    expected = np.array(keras.random.normal((4,)))
    keras.utils.clear_session(free_memory=False)
    checkpoint.restore(model, checkpoint.load())
    assert np.array_equal(np.array(keras.random.normal((4,))), expected)


def test_a_model_that_was_built_again_is_the_same_model(saved):
    """Keras numbers its layers anew. Seen to fail with names compared as they are."""
    _, checkpoint = saved
    again, _ = built()
    checkpoint.restore(again, checkpoint.load())


OTHERS = {
    "fewer layers": (None, {"norm": False}),
    "another width": (None, {"classes": 4, "side": 14}),
    "another optimizer": (keras.optimizers.SGD, {}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_is_refused_before_anything_is_written(name, saved):
    """Seen to fail with the comparison left out: variables are then written until one does not fit."""
    optimizer, net = OTHERS[name]
    model = compiled(conv_net(**{"norm": True, "dropout": 0.5} | net), optimizer=optimizer and optimizer(0.1))
    side = net.get("side", 12)
    engine_for(model, pictures(2, side=side))
    before = values(model)
    _, checkpoint = saved
    stored = checkpoint.load()
    with pytest.raises(ArgumentError, match=r"of another model.*Received: .* Expected"):
        checkpoint.restore(model, stored)
    assert values(model) == before


@pytest.mark.parametrize("name", OTHERS)
def test_the_weights_alone_tell_another_model_before_anything_is_run(name, saved):
    """One with fewer layers is told by `restore`, and so is another optimizer. Seen to fail with nothing compared."""
    optimizer, net = OTHERS[name]
    model = compiled(conv_net(**{"norm": True, "dropout": 0.5} | net), optimizer=optimizer and optimizer(0.1))
    _, checkpoint = saved
    stored = checkpoint.load()
    if name == "another width":
        with pytest.raises(ArgumentError, match=r"of another model.*Received: .* Expected"):
            checkpoint.require_weights(model, stored)
    else:
        checkpoint.require_weights(model, stored)


def test_weights_of_the_same_model_that_was_built_again_are_not_refused(saved):
    _, checkpoint = saved
    checkpoint.require_weights(compiled(conv_net(norm=True, dropout=0.5)), checkpoint.load())


def test_where_there_is_none_there_is_none(tmp_path):
    assert CheckpointStore(tmp_path / "no" / "such").load() is None


def test_what_is_cleared_is_gone_and_the_folder_stays(saved):
    _, checkpoint = saved
    checkpoint.clear()
    checkpoint.clear()
    assert checkpoint.load() is None
    assert list(checkpoint.path.parent.iterdir()) == []


DAMAGE = {
    "empty": lambda body: b"",
    "a byte": lambda body: body[:1],
    "half": lambda body: body[: len(body) // 2],
    "one byte short": lambda body: body[:-1],
    "one byte more": lambda body: body + b"x",
    "foreign": lambda body: b"PK\x03\x04" + body,
    "another version": lambda body: body.replace(b"checkpoint 3\n", b"checkpoint 9\n", 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_an_error_never_a_fresh_start(name, saved):
    """Seen to fail with `None` returned for what cannot be read."""
    _, checkpoint = saved
    checkpoint.path.write_bytes(DAMAGE[name](checkpoint.path.read_bytes()))
    with pytest.raises(DataError, match="cannot be used") as caught:
        checkpoint.load()
    assert caught.value.path == str(checkpoint.path)


def test_any_flipped_bit_is_noticed(saved):
    """Seen to fail with the digest not compared."""
    _, checkpoint = saved
    whole = checkpoint.path.read_bytes()
    for place in np.random.default_rng(1).integers(0, len(whole), 40):
        body = bytearray(whole)
        body[place] ^= 1 << (place % 8)
        checkpoint.path.write_bytes(body)
        with pytest.raises(DataError):
            checkpoint.load()


def test_a_folder_in_its_place_is_an_error(tmp_path):
    checkpoint = CheckpointStore(tmp_path)
    checkpoint.path.mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        checkpoint.load()


def test_a_file_that_changed_since_it_was_loaded_is_not_restored(saved):
    """Seen to fail with the digest not compared again."""
    model, checkpoint = saved
    stored = checkpoint.load()
    model.optimizer.iterations.assign_add(1)
    checkpoint.save(model, STATE)
    before = values(model)
    with pytest.raises(DataError, match="has changed"):
        checkpoint.restore(model, stored)
    assert values(model) == before


def test_a_description_without_a_standing_is_an_error(saved, monkeypatch):
    model, checkpoint = saved
    monkeypatch.setattr(CheckpointState, "to_dict", lambda state: {"epoch": 1})
    checkpoint.save(model, STATE)
    with pytest.raises(DataError, match="describes no training"):
        checkpoint.load()


def test_a_history_of_any_numbers_survives(saved):
    model, checkpoint = saved
    odd = {"loss": [math.nan, math.inf], "rate": [np.float32(0.5)], "per_class": [np.array([1.0, 2.0])], "o": [object]}
    checkpoint.save(model, CheckpointState(0, 0, 0, 0, 8, None, 1, 16, history=odd))
    history = checkpoint.load().state.history
    assert math.isnan(history["loss"][0])
    assert (history["loss"][1], history["rate"], history["per_class"]) == (math.inf, [0.5], [[1.0, 2.0]])
    assert "object" in history["o"][0]


class FailingDisk(Disk):
    """Fails its `first`-th operation, once or for good; `step` counts what was asked for."""

    def __init__(self, first, number=errno.ENOSPC, *, for_good=False):
        self.first, self.number, self.for_good, self.step = first, number, for_good, 0

    def _fail(self):
        self.step += 1
        if self.step == self.first or (self.for_good and self.step >= self.first):
            raise OSError(self.number, "made to fail")

    def make_folder(self, folder):
        self._fail()
        super().make_folder(folder)

    def open(self, path):
        self._fail()
        return super().open(path)

    def write(self, file, data):
        self._fail()
        super().write(file, data)

    def sync(self, file):
        self._fail()
        super().sync(file)

    def replace(self, draft, path):
        self._fail()
        super().replace(draft, path)

    def sync_folder(self, folder):
        self._fail()
        super().sync_folder(folder)


def test_the_failing_disk_fails_every_operation_but_removal():
    """An operation that is added to `Disk` has to be added to the fault tests."""
    operations = {name for name in vars(Disk) if not name.startswith("_")}
    assert operations - {"remove"} == {name for name in vars(FailingDisk) if not name.startswith("_")}


def failed_with(number, checkpoint, model, state):
    """Whether a save failed; if it did, with that error."""
    try:
        checkpoint.save(model, state)
    except OSError as error:
        if error.errno != number:
            raise
        return True
    return False


@pytest.mark.parametrize(("number", "for_good"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["once", "for good"])
def test_whichever_operation_of_a_save_fails_a_whole_checkpoint_stays_and_no_draft(number, for_good, saved):
    """Seen to fail with the file written in place, and with the draft left where it is after an error."""
    model, checkpoint = saved
    old, new = STATE, CheckpointState(3, 0, 3, 0, 8, 4, 7, 16)
    failures = 0
    for first in range(1, 1000):
        checkpoint.save(model, old)
        disk = FailingDisk(first, number, for_good=for_good)
        failing = CheckpointStore(checkpoint.path.parent, disk)
        failures += failed_with(number, failing, model, new)
        found = checkpoint.load().state
        assert [entry.name for entry in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]
        if disk.step < first:
            break
        # Only the last operation, which waits for the new name, comes after the new file stands.
        assert found in (old, new)
        assert found == old or first == disk.step
    assert found == new
    assert failures == first - 1 > len(current_backend().state_variables(model))


def test_a_save_that_was_killed_half_way_leaves_the_one_before_and_the_next_one_cleans_up(saved):
    model, checkpoint = saved

    class Killed(Disk):
        def sync(self, file):
            raise SystemExit

        def remove(self, path):
            """A dead process removes nothing."""

    with pytest.raises(SystemExit):
        CheckpointStore(checkpoint.path.parent, Killed()).save(model, STATE)
    assert len(list(checkpoint.path.parent.iterdir())) == 2
    assert checkpoint.load().state == STATE
    checkpoint.save(model, STATE)
    assert [entry.name for entry in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]


def test_the_journal_says_what_was_written_last(tmp_path):
    journal = InFlightJournal(tmp_path / "run")
    assert journal.read() is None
    journal.write(8)
    journal.write(4)
    assert journal.read() == InFlight(4)
    journal.write(4, "validation")
    assert journal.read() == InFlight(4, "validation")
    journal.clear()
    assert journal.read() is None
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '{"micro_batch_size": "4", "phase": "training"}',
        '{"micro_batch_size": 4, "phase": []}',
        '{"size": 4}',
        "null",
    ],
)
def test_a_journal_that_makes_no_sense_says_nothing(body, tmp_path):
    journal = InFlightJournal(tmp_path)
    journal.path.write_text(body)
    assert journal.read() is None


def test_a_journal_that_cannot_be_written_says_what_it_said_before(tmp_path):
    InFlightJournal(tmp_path).write(8)
    for first in range(1, 6):
        failing = InFlightJournal(tmp_path, FailingDisk(first))
        with pytest.raises(OSError, match="made to fail"):
            failing.write(8)
        assert InFlightJournal(tmp_path).read() == InFlight(8)
    assert json.loads(failing.path.read_bytes()) == {"micro_batch_size": 8, "phase": "training"}


@given(effective=st.integers(1, 4096), data=st.data())
def test_the_next_smaller_micro_batch_is_a_rung_that_is_no_less_than_half(effective, data):
    micro = data.draw(st.integers(1, effective))
    after = next_smaller_micro_batch(micro, effective)
    assert after is None if micro == 1 else after in rungs(effective, effective)
    assert after is None or (after < micro and 2 * after >= micro - 1)


@given(micro=st.integers(1, 4096))
def test_where_the_effective_batch_is_not_known_the_micro_batch_is_halved(micro):
    assert next_smaller_micro_batch(micro, None) == (None if micro == 1 else -(-micro // 2))
