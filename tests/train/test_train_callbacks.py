"""Our loop computes what Keras' own `fit` computes, and heeds what its callbacks ask for."""

import csv
import threading
from contextlib import nullcontext
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from nets import numbers, relative_l2

from autobatch.testing import FakeEngine

OURS = {"autobatch/micro_batch", "autobatch/accumulation_steps", "autobatch/headroom_bytes"}


@pytest.mark.parametrize("micro", [8, 3, 1])
def test_loss_metrics_and_weights_are_those_of_keras(bench: Any, micro: int) -> None:
    """Seen to fail with the metrics kept from one epoch to the next."""
    expected, weights = bench.keras(epochs=3).history, numbers(bench.model.weights)
    bench.begin()
    history = bench.ours(epochs=3, micro=micro).history
    assert list(history) == list(expected)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, rel=1e-5), name
    assert relative_l2(numbers(bench.model.weights), weights) < 1e-5


def test_class_weights_mean_what_they_mean_to_keras(bench: Any) -> None:
    """Seen to fail with class weights left out of the updates."""
    weights = {0: 0.2, 1: 3.0}
    expected, trained = bench.keras(class_weight=weights).history, numbers(bench.model.weights)
    bench.begin()
    history = bench.ours(class_weight=weights, micro=3).history
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    assert relative_l2(numbers(bench.model.weights), trained) < 1e-5
    bench.begin()
    assert history["loss"][0] != pytest.approx(bench.ours().history["loss"][0], rel=1e-2)


@pytest.mark.parametrize(
    ("steps", "sizes", "short"),
    [(2, [[8, 8], [4]], 1), (3, [[8, 8, 4]] * 2, None), (5, [[8, 8, 4]] * 2, 3)],
    ids=["less than a pass", "a pass", "more than a pass"],
)
def test_an_epoch_has_its_steps_or_what_the_pass_has_left(
    bench: Any, steps: int, sizes: list[list[int]], short: int | None
) -> None:
    """The next one goes on where the last stopped, as in Keras. Seen to fail with the rest of a pass dropped."""
    engine, counted = FakeEngine(), []
    counting = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: counted.append(len(engine.updates)))
    words = f"come to an end after {short} of {steps} updates"
    with pytest.warns(UserWarning, match=words) if short else nullcontext():
        history = bench.ours(engine=engine, steps_per_epoch=steps, validate=False, callbacks=[counting])
    assert history.params["steps"] == len(sizes[-1])
    updates = iter([sum(part.size for part in update) for update in engine.updates])
    assert [list(islice(updates, until - since)) for since, until in pairwise([0, *counted])] == sizes


def samples(engine: FakeEngine) -> list[bytes]:
    """What it was handed, in order."""
    return [picture.tobytes() for update in engine.updates for part in update for picture in part.x]


def test_shuffle_puts_each_pass_in_an_order_of_its_own(bench: Any) -> None:
    """Seen to fail with `shuffle` ignored."""
    shuffled, plain = FakeEngine(), FakeEngine()
    bench.ours(engine=shuffled, shuffle=True, validate=False)
    bench.ours(engine=plain, shuffle=False, validate=False)
    first, second = samples(shuffled)[:20], samples(shuffled)[20:]
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 20
    assert first != second
    plain_first, plain_second = samples(plain)[:20], samples(plain)[20:]
    assert plain_first == plain_second
    assert sorted(plain_first) == sorted(first)
    assert plain_first != first


def test_an_epoch_begun_later_sees_the_pictures_of_that_epoch(bench: Any) -> None:
    """Two runs in a row are one. Seen to fail with the order of every run begun at epoch 0."""
    straight, twice = FakeEngine(), FakeEngine()
    bench.ours(engine=straight, epochs=3, shuffle=True)
    bench.ours(engine=twice, epochs=1, shuffle=True)
    bench.ours(engine=twice, epochs=3, initial_epoch=1, shuffle=True)
    assert samples(twice) == samples(straight)


def test_early_stopping_stops_and_restores(bench: Any) -> None:
    """Seen to fail with `stop_training` never looked at."""
    stopper = keras.callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=1e9, restore_best_weights=True)
    first: list[Any] = []
    remember = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: first.append(numbers(bench.model.weights))
    )
    history = bench.ours(epochs=9, callbacks=[remember, stopper])
    assert history.epoch == [0, 1]
    assert stopper.stopped_epoch == 1
    assert relative_l2(numbers(bench.model.weights), first[0]) == 0


def test_nan_terminates(bench: Any) -> None:
    """Seen to fail with the logs of a batch left out."""

    def spoil(epoch: int, logs: Any) -> None:
        if epoch == 1:
            bench.model.layers[-1].bias.assign([np.nan, 0])

    ended: list[int] = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=spoil, on_train_batch_end=lambda batch, logs: ended.append(batch)
    )
    history = bench.ours(epochs=5, callbacks=[watch, keras.callbacks.TerminateOnNaN()])
    assert history.epoch == [0, 1]
    assert ended == [0, 1, 2, 0]


def test_a_callback_may_change_the_logs_that_the_next_one_sees(bench: Any) -> None:
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["mine"] = float(epoch)

    assert bench.ours(callbacks=[Adds()]).history["mine"] == [0.0, 1.0]


class BrokenError(Exception):
    pass


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
        bench.ours(callbacks=[callback])
    assert caught.value is error
    assert set(threading.enumerate()) <= threads


def test_verbose_0_prints_nothing_at_all(bench: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Seen to fail with a progress bar whatever is asked for."""
    bench.ours(verbose=0)
    assert capfd.readouterr() == ("", "")


def test_verbose_2_prints_the_lines_of_keras(bench: Any, capfd: pytest.CaptureFixture[str]) -> None:
    bench.ours(verbose=2)
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    assert [line for line in lines if "val_loss" in line and line.startswith("3/3 - ")] == lines[1::2]
    assert len(lines) == 4


@pytest.mark.parametrize("micro", [8, 3])
def test_the_logs_say_how_updates_are_run_from_the_first_update_on(bench: Any, micro: int) -> None:
    """Seen to fail with the names added from the first reading on."""
    batches: list[dict[str, Any]] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(dict(logs)))
    history = bench.ours(callbacks=[watch], micro=micro, log_memory=True).history
    for logs in [*batches, *({name: values[0] for name, values in history.items()},)]:
        assert set(logs) >= OURS
        assert logs["autobatch/micro_batch"] == micro
        assert logs["autobatch/accumulation_steps"] == -(-8 // micro)
        assert np.isnan(logs["autobatch/headroom_bytes"])


def test_the_progress_bar_leaves_them_out(bench: Any, capfd: Any) -> None:
    """Seen to fail with Keras' own progress bar."""
    bench.ours(verbose=1, log_memory=True)
    printed = capfd.readouterr().out
    assert "3/3" in printed
    assert "autobatch" not in printed


def test_a_csv_has_them_as_columns(bench: Any, tmp_path: Path) -> None:
    bench.ours(callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")], log_memory=True)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["autobatch/micro_batch"]) for row in rows] == [8, 8]
