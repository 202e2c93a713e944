"""Our loop calls Keras' callbacks as Keras' own `fit` does, and computes what it computes."""

import csv
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from folders import tiny_model
from nets import numbers, relative_l2

HOOKS = {
    "on_batch_begin": "train",  # Keras 2's name, called from on_train_batch_begin
    "on_batch_end": "train",
    "on_epoch_begin": "train",
    "on_epoch_end": "train",
    "on_train_batch_begin": "train",
    "on_train_batch_end": "train",
    "on_train_begin": "train",
    "on_train_end": "train",
    "on_test_batch_begin": "train",
    "on_test_batch_end": "train",
    "on_test_begin": "train",
    "on_test_end": "train",
    "on_predict_batch_begin": "never",  # nothing is predicted while training
    "on_predict_batch_end": "never",
    "on_predict_begin": "never",
    "on_predict_end": "never",
    "set_params": "train",
    "set_model": "train",
}


def recorder() -> tuple[Any, list[tuple[Any, ...]]]:
    """A callback with every hook there is, and the list of its calls: name, position, and names of the logs."""
    calls: list[tuple[Any, ...]] = []

    def hook(name: str) -> Callable[..., None]:
        kept = getattr(keras.callbacks.Callback, name)

        def record(self: Any, *args: Any, **kwargs: Any) -> None:
            given = inspect.signature(kept).bind(self, *args, **kwargs)
            given.apply_defaults()
            arguments = {key: value for key, value in given.arguments.items() if key not in {"self", "model"}}
            calls.append((name, *((key, plain(value)) for key, value in arguments.items())))
            kept(self, *args, **kwargs)

        return record

    kind = type("Recorder", (keras.callbacks.Callback,), {name: hook(name) for name in HOOKS})
    return kind(), calls


OURS = ["autobatch/micro_batch", "autobatch/accumulation_steps", "autobatch/headroom_bytes"]


def plain(value: Any) -> Any:
    return sorted(set(value) - set(OURS)) if isinstance(value, dict) else value


def keras_own(history: dict[str, Any]) -> list[str]:
    return [name for name in history if name not in OURS]


def test_every_hook_that_keras_has_is_watched() -> None:
    """A hook that a new Keras brings has to be placed in the table, and called where Keras calls it."""
    there = {name for name in dir(keras.callbacks.Callback) if name.startswith(("on_", "set_"))}
    assert there == set(HOOKS)


@pytest.mark.parametrize("micro", [8, 3])
@pytest.mark.parametrize("validate", [True, False])
def test_every_hook_is_called_as_keras_calls_it(bench: Any, micro: int, validate: bool) -> None:
    """Seen to fail with the logs of a batch left out, and without `on_test_begin`."""
    (theirs, expected), (ours, calls) = recorder(), recorder()
    bench.keras(tiny_model(), validate=validate, callbacks=[theirs])
    bench.ours(tiny_model(), validate=validate, callbacks=[ours], micro=micro)
    assert calls == expected
    called = {name for name, *_ in calls}
    rare = set() if validate else {name for name in HOOKS if name.startswith("on_test")}
    assert called == {name for name, when in HOOKS.items() if when == "train"} - rare


def test_a_callback_is_told_the_same_parameters(bench: Any) -> None:
    """Seen to fail with the steps left out."""
    (theirs, _), (ours, _) = recorder(), recorder()
    bench.keras(tiny_model(), callbacks=[theirs])
    bench.ours(tiny_model(), callbacks=[ours])
    assert ours.params == theirs.params == {"verbose": 0, "epochs": 2, "steps": 3}


@pytest.mark.parametrize("micro", [8, 3, 1])
def test_loss_metrics_and_weights_are_those_of_keras(bench: Any, micro: int) -> None:
    """Seen to fail with the metrics kept from one epoch to the next."""
    options = {"metrics": ["accuracy", keras.metrics.AUC(name="auc")], "weighted_metrics": ["mse"]}
    theirs, ours = tiny_model(**options), tiny_model(**options)
    expected = bench.keras(theirs, epochs=3).history
    history = bench.ours(ours, epochs=3, micro=micro).history
    assert keras_own(history) == list(expected)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, rel=1e-5), name
    assert relative_l2(numbers(ours.weights), numbers(theirs.weights)) < 1e-5


def test_history_is_keras_own(bench: Any) -> None:
    model = tiny_model()
    history = bench.ours(model, epochs=3, initial_epoch=1)
    assert type(history) is keras.callbacks.History
    assert model.history is history
    assert history.epoch == [1, 2]
    assert all(type(value) in {int, float} for values in history.history.values() for value in values)


def test_class_weights_mean_what_they_mean_to_keras(bench: Any) -> None:
    """Seen to fail with class weights left out of the updates."""
    weights = {0: 0.2, 1: 3.0}
    theirs, ours = tiny_model(), tiny_model()
    expected = bench.keras(theirs, class_weight=weights).history
    history = bench.ours(ours, class_weight=weights, micro=3).history
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    assert relative_l2(numbers(ours.weights), numbers(theirs.weights)) < 1e-5
    assert history["loss"][0] != pytest.approx(bench.keras(tiny_model()).history["loss"][0], rel=1e-2)


@pytest.mark.parametrize(
    ("freq", "epochs", "expected"), [(1, 3, 3), (2, 5, 2), ([1, 4], 4, 2), ([7], 3, 0)], ids=["1", "2", "list", "never"]
)
def test_validation_happens_after_the_epochs_asked_for(bench: Any, freq: Any, epochs: int, expected: int) -> None:
    """Seen to fail with validation after every epoch."""
    theirs = bench.keras(tiny_model(), validation_freq=freq, epochs=epochs).history
    history = bench.ours(tiny_model(), validation_freq=freq, epochs=epochs).history
    assert len(history.get("val_loss", [])) == len(theirs.get("val_loss", [])) == expected
    assert keras_own(history) == list(theirs)


def test_validation_steps_bound_the_validation(bench: Any) -> None:
    """Seen to fail with all steps run."""
    theirs = bench.keras(tiny_model(), validation_steps=1).history
    history = bench.ours(tiny_model(), validation_steps=1).history
    everything = bench.ours(tiny_model()).history
    assert history["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)
    assert history["val_loss"] != pytest.approx(everything["val_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("steps", "sizes"),
    [(2, [8, 8, 4, 8]), (3, [8, 8, 4] * 2), (5, [8, 8, 4, 8, 8, 4, 8, 8, 4, 8])],
    ids=["less than a pass", "a pass", "more than a pass"],
)
def test_steps_per_epoch_cut_the_stream_of_samples_elsewhere(bench: Any, steps: int, sizes: list[int]) -> None:
    """The next epoch goes on where the last one stopped. Seen to fail with the rest of a pass dropped."""
    seen: list[int] = []

    class Loss(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            seen.append(int(y_pred.shape[0]))
            return keras.losses.categorical_crossentropy(y_true, y_pred)

    model = tiny_model(loss=Loss(), run_eagerly=True)
    seen.clear()
    history = bench.ours(model, steps_per_epoch=steps, validate=False)
    assert seen[-len(sizes) :] == sizes
    assert int(model.optimizer.iterations) == 2 * steps
    assert history.params["steps"] == steps


def test_shuffle_puts_each_pass_in_an_order_of_its_own(bench: Any) -> None:
    """Seen to fail with `shuffle` ignored."""
    orders: list[list[bytes]] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            orders.append([])

    class Layer(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            if orders:
                orders[-1].extend(sample.tobytes() for sample in np.asarray(inputs))
            return inputs

    def run(shuffle: bool) -> list[list[bytes]]:
        orders.clear()
        layers = [keras.Input((8, 8, 3)), Layer(), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
        model = keras.Sequential(layers)
        model.compile("sgd", "categorical_crossentropy", run_eagerly=True)
        orders.clear()
        bench.ours(model, shuffle=shuffle, validate=False, callbacks=[Watch()])
        return [list(order) for order in orders]

    first, second = run(shuffle=True)
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 20
    assert first != second
    plain_first, plain_second = run(shuffle=False)
    assert plain_first == plain_second
    assert sorted(plain_first) == sorted(first)
    assert plain_first != first


def test_early_stopping_stops_and_restores(bench: Any) -> None:
    """Seen to fail with `stop_training` never looked at."""
    model = tiny_model()
    stopper = keras.callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=1e9, restore_best_weights=True)
    first: list[Any] = []
    remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: first.append(numbers(model.weights)))
    history = bench.ours(model, epochs=9, callbacks=[remember, stopper])
    assert history.epoch == [0, 1]
    assert stopper.stopped_epoch == 1
    assert relative_l2(numbers(model.weights), first[0]) == 0


def test_stopping_within_an_epoch_ends_it_there_and_still_ends_the_epoch(bench: Any) -> None:
    """As Keras does. Seen to fail with the updates of the epoch run to the end."""

    def stop_at_second() -> Any:
        model = tiny_model()

        def stop(batch: int, logs: Any) -> None:
            if batch == 1:
                model.stop_training = True

        return model, keras.callbacks.LambdaCallback(on_train_batch_end=stop)

    results = []
    for run in (bench.keras, bench.ours):
        recording, calls = recorder()
        model, stopper = stop_at_second()
        run(model, callbacks=[recording, stopper])
        results.append(calls)
    assert results[0] == results[1]
    assert sum(name == "on_train_batch_end" for name, *_ in results[1]) == 2


def test_checkpoints_are_written_and_hold_the_weights(bench: Any, tmp_path: Path) -> None:
    model = tiny_model()
    path = tmp_path / "best-{epoch}.weights.h5"
    bench.ours(model, callbacks=[keras.callbacks.ModelCheckpoint(path, save_weights_only=True, monitor="val_loss")])
    other = tiny_model()
    other.load_weights(tmp_path / "best-2.weights.h5")
    assert relative_l2(numbers(other.weights), numbers(model.weights)) == 0
    assert (tmp_path / "best-1.weights.h5").exists()


def test_csv_logger_writes_a_row_for_each_epoch(bench: Any, tmp_path: Path) -> None:
    history = bench.ours(tiny_model(), callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    with (tmp_path / "log.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["val_loss"]) for row in rows] == pytest.approx(history.history["val_loss"])


def test_the_learning_rate_that_callbacks_set_is_used(bench: Any) -> None:
    """Against Keras, which leaves both callbacks their say."""

    def callbacks() -> list[Any]:
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.1, 0.0, 0.5, 0.05][epoch]),
            keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=0, min_delta=1e9),
        ]

    theirs, ours = tiny_model(), tiny_model()
    expected = bench.keras(theirs, callbacks=callbacks(), epochs=4).history
    history = bench.ours(ours, callbacks=callbacks(), micro=3, epochs=4).history
    assert history["learning_rate"] == pytest.approx(expected["learning_rate"])
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert relative_l2(numbers(ours.weights), numbers(theirs.weights)) < 1e-5


def test_a_schedule_counts_updates_whatever_the_micro_batch(bench: Any) -> None:
    """Seen to fail with one optimizer step for each micro-batch."""

    def model() -> Any:
        schedule = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=1, decay_rate=0.7)
        return tiny_model(optimizer=keras.optimizers.SGD(schedule))

    theirs, ours = model(), model()
    bench.keras(theirs)
    bench.ours(ours, micro=2)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == 6
    assert relative_l2(numbers(ours.weights), numbers(theirs.weights)) < 1e-5


def test_nan_terminates(bench: Any) -> None:
    """Seen to fail with the logs of a batch left out."""
    model = tiny_model()

    def spoil(epoch: int, logs: Any) -> None:
        if epoch == 1:
            model.layers[-1].bias.assign([np.nan, 0])

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_begin=spoil), keras.callbacks.TerminateOnNaN()]
    recording, calls = recorder()
    history = bench.ours(model, epochs=5, callbacks=[*callbacks, recording])
    assert history.epoch == [0, 1]
    assert sum(name == "on_train_batch_end" for name, *_ in calls) == 3 + 1


class BrokenError(Exception):
    pass


def test_a_backup_is_restored_and_training_goes_on_there(bench: Any, tmp_path: Path) -> None:
    """Seen to fail with the epoch that the backup sets ignored."""

    def stop(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise BrokenError

    backup = tmp_path / "backup"
    interrupted = tiny_model()
    with pytest.raises(BrokenError):
        bench.ours(
            interrupted,
            epochs=4,
            callbacks=[
                keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False),
                keras.callbacks.LambdaCallback(on_epoch_begin=stop),
            ],
        )
    resumed, straight = tiny_model(), tiny_model()
    history = bench.ours(resumed, epochs=4, callbacks=[keras.callbacks.BackupAndRestore(backup)])
    bench.ours(straight, epochs=4)
    assert history.epoch == [1, 2, 3]
    assert relative_l2(numbers(resumed.weights), numbers(straight.weights)) < 1e-5


def test_an_epoch_begun_later_sees_the_pictures_of_that_epoch(bench: Any) -> None:
    """Two runs in a row are one. Seen to fail with the order of every run begun at epoch 0."""
    straight, twice = tiny_model(), tiny_model()
    bench.ours(straight, epochs=3, shuffle=True)
    bench.ours(twice, epochs=1, shuffle=True)
    bench.ours(twice, epochs=3, initial_epoch=1, shuffle=True)
    assert relative_l2(numbers(twice.weights), numbers(straight.weights)) < 1e-6


def test_a_callback_may_change_the_logs_that_the_next_one_sees(bench: Any) -> None:
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["mine"] = float(epoch)

    assert bench.ours(tiny_model(), callbacks=[Adds()]).history["mine"] == [0.0, 1.0]


@pytest.mark.parametrize("error", [BrokenError("of my own"), KeyboardInterrupt(), SystemExit(3), MemoryError("mine")])
@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end", "on_test_batch_end", "on_epoch_end"])
def test_what_a_callback_raises_passes_and_no_thread_stays(bench: Any, error: BaseException, hook: str) -> None:
    """Seen to fail with the loader left open."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    callback = keras.callbacks.Callback()
    setattr(callback, hook, fail)
    threads = set(threading.enumerate())
    with pytest.raises(type(error)) as caught:
        bench.ours(tiny_model(run_eagerly=True), callbacks=[callback])
    assert caught.value is error
    assert set(threading.enumerate()) <= threads


def test_verbose_0_prints_nothing_at_all(bench: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Seen to fail with a progress bar whatever is asked for."""
    bench.ours(tiny_model(), verbose=0)
    assert capfd.readouterr() == ("", "")


def test_verbose_2_prints_the_lines_of_keras(bench: Any, capfd: pytest.CaptureFixture[str]) -> None:
    bench.ours(tiny_model(), verbose=2)
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    assert [line for line in lines if "val_loss" in line and line.startswith("3/3 - ")] == lines[1::2]
    assert len(lines) == 4


def test_a_callback_list_of_the_users_own_is_used_as_it_is(bench: Any) -> None:
    model = tiny_model()
    recording, calls = recorder()
    callbacks = keras.callbacks.CallbackList([recording], add_history=True, model=model, epochs=2, steps=3, verbose=0)
    history = bench.ours(model, callbacks=callbacks)
    assert history.epoch == [0, 1]
    assert sum(name == "on_train_batch_end" for name, *_ in calls) == 6


def test_no_epochs_left_is_no_error(bench: Any) -> None:
    """As in Keras: train begins and ends. Seen to fail with a pass begun all the same."""
    results = []
    for run in (bench.keras, bench.ours):
        recording, calls = recorder()
        assert run(tiny_model(), epochs=2, initial_epoch=2, callbacks=[recording]).epoch == []
        results.append(calls)
    assert results[0] == results[1]


@pytest.mark.parametrize("micro", [8, 3])
def test_the_logs_say_how_updates_are_run_from_the_first_update_on(bench: Any, micro: int) -> None:
    """Seen to fail with the names added from the first reading on."""
    batches: list[dict[str, Any]] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(dict(logs)))
    history = bench.ours(tiny_model(), callbacks=[watch], micro=micro).history
    for logs in [*batches, *({name: values[0] for name, values in history.items()},)]:
        assert set(OURS) <= set(logs)
        assert logs["autobatch/micro_batch"] == micro
        assert logs["autobatch/accumulation_steps"] == -(-8 // micro)
        assert np.isnan(logs["autobatch/headroom_bytes"])


def test_the_progress_bar_leaves_them_out(bench: Any, capfd: Any) -> None:
    """Seen to fail with Keras' own progress bar."""
    bench.ours(tiny_model(), verbose=1)
    printed = capfd.readouterr().out
    assert "3/3" in printed
    assert "autobatch" not in printed


def test_a_csv_has_them_as_columns(bench: Any, tmp_path: Path) -> None:
    bench.ours(tiny_model(), callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["autobatch/micro_batch"]) for row in rows] == [8, 8]
