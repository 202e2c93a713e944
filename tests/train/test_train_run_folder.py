"""`fit` called again on the folder of a run: it goes on as the same run, or is refused before anything is measured."""

import keras
import numpy as np
import pytest
from folders import write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import Here, compiled
from surroundings import PER_SAMPLE, Run, Sensor

import autobatch
from autobatch.errors import ArgumentError, OutOfMemoryError
from autobatch.train.checkpoint.saver import InFlight, InFlightJournal, SupervisedFolder
from autobatch.train.checkpoint.store import CHECKPOINT_NAME, CheckpointStore, folder_lock

pytestmark = pytest.mark.usefixtures("probed_once")


class InterruptedHereError(Exception):
    pass


class At(keras.callbacks.Callback):
    """Calls something at the n-th call of one hook."""

    def __init__(self, hook, number, act):
        super().__init__()
        self.left = number

        def called(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                act()

        setattr(self, hook, called)


def interrupt():
    raise InterruptedHereError


def stays_here(seed=1, units=4):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((8, 8, 3)), Here(), keras.layers.Flatten(), keras.layers.Dense(units, activation="relu")]
    # A few steps take less time than tracing them.
    options = {"metrics": None, "run_eagerly": True}
    return compiled(keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")]), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("going on") / "training", 10, 10)


def fit(folder, model, **options):
    options = {"cache": False, "verbose": 0, "workers": 1, "batch_size": 8, "epochs": 3} | options
    return autobatch.fit(model, ImageDataGenerator(rescale=1 / 255), folder, **options)


def interrupted(folder, place, number=5, **options):
    callbacks = [At("on_train_batch_end", number, interrupt)]
    with pytest.raises(InterruptedHereError):
        fit(folder, stays_here(), checkpoint=place, checkpoint_every_s=1e-6, callbacks=callbacks, **options)
    return place


@pytest.fixture(scope="module")
def begun(folder, tmp_path_factory):
    """A folder with a run that was interrupted in its second epoch; two of three updates of it are done."""
    return interrupted(folder, tmp_path_factory.mktemp("held") / "run")


@pytest.fixture(scope="module")
def scheduled(folder, tmp_path_factory):
    """The same with an effective batch of 4, then 8."""
    return interrupted(folder, tmp_path_factory.mktemp("scheduled") / "run", batch_size=[(0, 4), (1, 8)])


class NothingIsTriedError(Exception):
    pass


@pytest.fixture
def untried(monkeypatch):
    """A probe would show."""

    def no(*args, **kwargs):
        raise NothingIsTriedError

    monkeypatch.setattr("autobatch.train.opening.find_batch_size", no)


OTHERWISE = {
    "order": ({"shuffle": False}, "shuffle=False. Expected True"),
    "steps": ({"steps_per_epoch": 2}, "steps_per_epoch=2. Expected None"),
    "resized": ({"on_memory_pressure": "resize"}, "on_memory_pressure='resize'. Expected 'accumulate'"),
    "rate": ({"scale_learning_rate": "sqrt"}, "scale_learning_rate='sqrt'. Expected None"),
    "statistics": ({"batch_statistics": 4}, "batch_statistics=4. Expected 'micro'"),
    "weights": ({"class_weight": {0: 2.0, 1: 1.0}}, "class_weight={'0': 2.0, '1': 1.0}. Expected None"),
    "a schedule": ({"batch_size": [(0, 8), (2, 4)]}, "batch_size=(8, 8, 4) for epoch 2. Expected 8"),
    "size": ({"batch_size": 4}, "batch_size=4. Expected 8"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_would_use_samples_otherwise_is_refused_before_anything_is_tried(name, folder, begun, untried):
    """Seen to fail with only the number of samples compared: each was gone on with in silence."""
    options, received = OTHERWISE[name]
    with pytest.raises(ArgumentError, match="begun otherwise") as caught:
        fit(folder, stays_here(), checkpoint=begun, **options)
    assert f"Received: {received}" in str(caught.value)


@pytest.mark.parametrize("size", [[(0, 8), (1, 2)], [(0, 4)], 4, "auto"], ids=str)
def test_another_schedule_is_refused(size, folder, scheduled, untried):
    """Seen to fail with a schedule compared with nothing."""
    with pytest.raises(ArgumentError, match=r"Expected \[\(0, 4\), \(1, 8\)\], with which it was begun"):
        fit(folder, stays_here(), checkpoint=scheduled, batch_size=size)


@pytest.mark.parametrize(
    "options",
    [{}, {"epochs": 5}, {"batch_size": lambda epoch: 8}, {"batch_size": "auto"}],
    ids=["as it was", "longer", "a function", "auto"],
)
def test_the_same_run_is_gone_on_with_even_for_longer(options, folder, begun, untried):
    with pytest.raises(NothingIsTriedError):
        fit(folder, stays_here(), checkpoint=begun, **options)


def test_a_schedule_may_differ_beyond_the_epochs_that_the_run_has(folder, scheduled, untried):
    with pytest.raises(NothingIsTriedError):
        fit(folder, stays_here(), checkpoint=scheduled, batch_size=[(0, 4), (1, 8), (3, 2)], epochs=5)


def test_other_files_of_the_same_number_are_refused(begun, untried, tmp_path):
    """Seen to fail with their number compared."""
    others = write_pictures(tmp_path / "others", 10, 10)
    first = min(others.rglob("*.png"))
    first.rename(first.with_name("zzz.png"))
    with pytest.raises(ArgumentError, match="Received: other files"):
        fit(others, stays_here(), checkpoint=begun)


def test_another_model_is_refused_before_anything_is_tried(folder, begun, untried):
    """Seen to fail with the comparison left to the end of the probe."""
    with pytest.raises(ArgumentError, match="of another model"):
        fit(folder, stays_here(units=5), checkpoint=begun)


def test_a_size_above_the_number_of_samples_is_the_same_again(folder, tmp_path):
    """Seen to fail with the number given compared with the number used: 64 with 20."""
    place = interrupted(folder, tmp_path / "run", number=2, batch_size=64)
    assert fit(folder, stays_here(), checkpoint=place, batch_size=64).epoch == [0, 1, 2]


def test_the_stored_size_is_that_of_the_epoch(folder, scheduled):
    """Seen to fail with that of epoch 0, from which a restart took its rungs."""
    assert CheckpointStore(scheduled).load().state.effective_batch_size == 4
    state = (
        CheckpointStore(interrupted(folder, scheduled.parent / "later", 7, batch_size=[(0, 4), (1, 8)])).load().state
    )
    assert (state.epoch, state.effective_batch_size) == (1, 8)


def test_two_trainings_cannot_have_one_folder(folder, tmp_path):
    """Seen to fail without the lock: each overwrote what the other had saved."""
    with folder_lock(tmp_path), pytest.raises(ArgumentError, match="in use by process"):
        fit(folder, stays_here(), checkpoint=tmp_path)


def test_the_folder_is_kept_while_training_and_left_afterwards(folder, tmp_path):
    refused = []

    def another():
        with pytest.raises(ArgumentError, match="in use") as caught, folder_lock(tmp_path):
            pass
        refused.append(caught.value)

    fit(folder, stays_here(), checkpoint=tmp_path, epochs=1, callbacks=[At("on_epoch_end", 1, another)])
    assert len(refused) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_supervised_run_stays_stored_and_is_restored_without_training(folder, tmp_path):
    """Seen to fail with the folder emptied at the end."""
    model, again = stays_here(), stays_here(seed=9)
    history = fit(folder, model, checkpoint=SupervisedFolder(tmp_path))
    assert CheckpointStore(tmp_path).load().state.finished
    assert InFlightJournal(tmp_path).read() is None
    trained = At("on_train_batch_begin", 1, interrupt)
    restored = fit(folder, again, checkpoint=SupervisedFolder(tmp_path), callbacks=[trained])
    assert trained.left == 1
    assert (restored.epoch, restored.history["loss"]) == (history.epoch, history.history["loss"])
    for one, other in zip(model.variables, again.variables, strict=True):
        assert np.array_equal(one, other)
    SupervisedFolder(tmp_path).clear()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_stopped_early_is_finished_too(folder, tmp_path):
    """Seen to fail with the epochs that are left trained after all."""
    model = stays_here()
    stop = At("on_epoch_end", 1, lambda: setattr(model, "stop_training", True))
    fit(folder, model, checkpoint=SupervisedFolder(tmp_path), callbacks=[stop])
    again = stays_here(seed=9)
    assert fit(folder, again, checkpoint=SupervisedFolder(tmp_path)).epoch == [0]
    assert all(np.array_equal(one, other) for one, other in zip(model.variables, again.variables, strict=True))


def test_a_finished_run_goes_on_for_more_epochs_as_the_longer_one_would_have(folder, tmp_path):
    """Seen to fail with whatever is finished left alone."""
    whole, longer = stays_here(), stays_here(seed=9)
    expected = fit(folder, whole, seed=1)
    fit(folder, stays_here(), checkpoint=SupervisedFolder(tmp_path), epochs=2, seed=1)
    history = fit(folder, longer, checkpoint=tmp_path)
    assert history.epoch == expected.epoch
    for one, other in zip(whole.variables, longer.variables, strict=True):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert not (tmp_path / CHECKPOINT_NAME).exists()


def test_the_bound_of_a_restart_outlasts_it(folder, tmp_path):
    """Seen to fail with the bound left out: the same call again began at the size that had been killed."""
    place = interrupted(folder, SupervisedFolder(tmp_path, max_micro_batch_size=4), max_batch_size=4)
    assert CheckpointStore(place).load().state.max_micro_batch_size == 4
    report = fit(folder, stays_here(), checkpoint=tmp_path).autobatch
    assert (report.effective_batch_size, report.micro_batch_size) == (8, 4)
    assert [note for note in report.notes if "more than 4 ran out" in note]


def test_a_bound_of_the_user_is_no_bound_of_the_run(folder, tmp_path):
    place = interrupted(folder, tmp_path / "run", max_batch_size=4)
    assert CheckpointStore(place).load().state.max_micro_batch_size is None
    assert fit(folder, stays_here(), checkpoint=place).autobatch.micro_batch_size == 8


def test_the_journal_says_which_phase_runs(folder, tmp_path):
    """Seen to fail with training alone written down: a kill in validation made training smaller."""
    seen = []
    note = lambda: seen.append(InFlightJournal(tmp_path).read())  # noqa: E731
    held_out = write_pictures(tmp_path / "held out", 6, 6, seed=8)
    hooks = {"on_train_batch_begin": 1, "on_test_begin": 1, "on_test_batch_begin": 1}
    callbacks = [At(hook, number, note) for hook, number in hooks.items()] + [At("on_train_batch_begin", 4, note)]
    options = {"validation_data": held_out, "validation_batch_size": 6, "epochs": 2}
    fit(folder, stays_here(), checkpoint=tmp_path, callbacks=callbacks, **options)
    assert seen == [InFlight(8), InFlight(8), InFlight(6, "validation"), InFlight(8)]


def test_a_size_that_has_run_out_of_memory_bounds_the_run_until_it_is_entered_again():
    """Seen to fail with nothing learned, and with the size bounding the run although it ran since."""
    budgets = Sensor(8 * PER_SAMPLE, 8 * PER_SAMPLE, 8 * PER_SAMPLE, *[20 * PER_SAMPLE] * 50)
    controller = Run(budgets).controller
    controller.look()
    assert controller.max_micro_batch_size is None
    controller.ran_out(OutOfMemoryError("too little", 8))
    assert (controller.micro_batch_size < 8, controller.max_micro_batch_size) == (True, 7)
    for _ in range(40):
        controller.look()
    assert (controller.micro_batch_size, controller.max_micro_batch_size) == (8, None)
