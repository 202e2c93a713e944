"""Every callback class that Keras exports does in our loop what it does in `model.fit`, on the same batches."""

import csv
import importlib.util
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import callbacks as kc
from nets import numbers

import autobatch

EPOCHS, MICRO = 4, 3  # three updates of 8, 8 and 4 samples an epoch, in micro-batches of up to 3
OURS = "autobatch/"


def without_ours(names: Any) -> list[str]:
    return sorted(name for name in names if OURS not in name)


class Spy(kc.Callback):
    """Writes down every call: the hook, its number, the names of its logs, and apart from them their values."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.values: list[dict[str, float]] = []
        for name in dir(kc.Callback):
            if name.startswith("on_"):
                setattr(self, name, self._hook(name, numbered="batch" in name or "epoch" in name))

    def _hook(self, name: str, *, numbered: bool) -> Callable[..., None]:
        def called(*given: Any, logs: Any = None) -> None:
            number, given = (given[0], given[1:]) if numbered else (None, given)
            found = next((one for one in (*given, logs) if one is not None), {})
            kinds = {type(value).__name__ for key, value in found.items() if OURS not in key}
            self.calls.append((name, number, without_ours(found), kinds, bool(self.model.stop_training)))
            self.values.append({key: float(value) for key, value in found.items() if OURS not in key})

        return called


@dataclass
class Scene:
    """One training: its model, a folder of its own, and a server to report to."""

    model: Any
    folder: Path
    url: str = ""


@dataclass(frozen=True)
class Row:
    """Callbacks beside a training, and what they leave behind: numbers, texts and nests of them."""

    make: Callable[[Scene], list[Any]]
    effect: Callable[[Scene, Any], Any]
    training: dict[str, Any] = field(default_factory=dict)
    averages: bool = False
    needs: str | None = None


def of(callback: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(callback, name) for name in names}


def worsening(scene: Scene) -> Any:
    """Lets the loss rise from the third epoch on."""
    return kc.LearningRateScheduler(lambda epoch, rate: [0.05, 0.05, 5.0, 5.0][epoch])


def weight_files(scene: Scene, _: Any = None) -> dict[str, dict[str, np.ndarray]]:
    """What the files of weights and whole models in the folder hold, the optimizer's variables included."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(scene.folder.rglob("*.h5")):
        names: list[str] = []
        with h5py.File(path) as file:
            file.visit(names.append)
            found[path.name] = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
    for path in sorted(scene.folder.rglob("*.keras")):
        loaded = keras.models.load_model(path)
        found[path.name] = dict(enumerate(everything(loaded)))  # type: ignore[arg-type]
    return found


def backup(scene: Scene, _: Any) -> dict[str, Any]:
    """The files of a backup that was kept."""
    text = (scene.folder / "training_metadata.json").read_text()
    files = sorted(path.name for path in scene.folder.iterdir())
    return {"metadata": json.loads(text), "files": files, "weights": weight_files(scene)}


def rows_of(scene: Scene, _: Any) -> list[dict[str, Any]]:
    with (scene.folder / "log.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert all(None not in row and None not in row.values() for row in rows)
    return [{name: float(value) for name, value in row.items() if OURS not in name} for row in rows]


def events(scene: Scene, _: Any) -> dict[str, Any]:
    """Everything that was written for TensorBoard: by folder, name and step."""
    found: dict[str, Any] = {}
    for path in sorted(scene.folder.rglob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if OURS not in value.tag:
                    key = f"{path.parent.name} {value.tag} {event.step}"
                    found[key] = measured(value)
            if event.HasField("graph_def"):
                found[f"{path.parent.name} graph"] = 1.0
    return found


def measured(value: Any) -> Any:
    array = tf.make_ndarray(value.tensor)
    timed = "steps_per_second" in value.tag
    return array.astype(float) if array.dtype.kind in "fi" and not timed else float(array.size)


def traces(scene: Scene, found: Any) -> dict[str, Any]:
    kept = sorted({path.name.split(".", 1)[-1] for path in (scene.folder / "train" / "plugins").rglob("*.*")})
    scalars = {name: value for name, value in events(scene, found).items() if "batch_2" not in name}
    return {"profile": kept, **scalars}


def posts(scene: Scene, _: Any) -> list[dict[str, float]]:
    return [{name: value for name, value in one.items() if OURS not in name} for one in RECEIVED[scene.folder.name]]


def bar(_: Scene, found: Any) -> dict[str, Any]:
    shown = without_ours(found.progbar._values)
    return of(found, "target", "seen", "epochs", "verbose") | {"shown": shown, "steps": found.progbar.target}


def spoil(scene: Scene) -> Any:
    def at(epoch: int, logs: Any) -> None:
        if epoch == 1:
            scene.model.layers[-1].bias.assign([np.nan, 0])

    return kc.LambdaCallback(on_epoch_begin=at)


def told(scene: Scene) -> list[Any]:
    seen: list[Any] = []
    callback = kc.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(epoch),
        on_epoch_end=lambda epoch, logs: seen.append({key: logs[key] for key in without_ours(logs)}),
        on_train_begin=lambda logs: seen.append("begins"),
        on_train_end=lambda logs: seen.append(without_ours(logs)),
        on_train_batch_begin=lambda batch, logs: seen.append(batch),
        on_train_batch_end=lambda batch, logs: seen.append({key: logs[key] for key in without_ours(logs)}),
    )
    callback.seen = seen
    return [callback]


def nothing(*_: Any) -> None:
    return None


def checkpoint(name: str, **options: Any) -> Row:
    return Row(lambda scene: [worsening(scene), kc.ModelCheckpoint(scene.folder / name, **options)], weight_files)


def board(effect: Any = events, **options: Any) -> Row:
    return Row(lambda scene: [kc.TensorBoard(scene.folder, **options)], effect, needs="tensorboard")


def stopper(**options: Any) -> Row:
    names = ("stopped_epoch", "best", "best_epoch", "wait")
    return Row(lambda scene: [worsening(scene), kc.EarlyStopping(**options)], lambda scene, found: of(found, *names))


def backing(**options: Any) -> Row:
    options = {"delete_checkpoint": False} | options
    return Row(lambda scene: [kc.BackupAndRestore(scene.folder, **options)], backup)


TABLE: dict[str, dict[str, Row]] = {
    "Callback": {"": Row(lambda scene: [kc.Callback()], lambda scene, found: found.params)},
    "CallbackList": {
        "": Row(
            lambda scene: kc.CallbackList(
                [kc.EarlyStopping(monitor="loss", mode="max", patience=1)],
                add_history=True,
                model=scene.model,
                epochs=EPOCHS,
                steps=3,
                verbose=0,
            ),
            lambda scene, found: of(found, "params") | of(found.callbacks[0], "best", "stopped_epoch"),
        )
    },
    "History": {
        "": Row(
            lambda scene: [kc.History()],
            lambda scene, found: (
                {"epoch": found.epoch, "same": found is scene.model.history}
                | {name: found.history[name] for name in without_ours(found.history)}
            ),
        )
    },
    "LambdaCallback": {"": Row(told, lambda scene, found: found.seen)},
    "EarlyStopping": {
        "restores": stopper(monitor="val_loss", patience=1, restore_best_weights=True),
        "stops": stopper(monitor="loss", mode="max", patience=0),
        "later": stopper(monitor="loss", mode="max", patience=1, start_from_epoch=1, restore_best_weights=True),
        "never": stopper(patience=9, restore_best_weights=True),
    },
    "LearningRateScheduler": {
        "": Row(lambda scene: [worsening(scene)], lambda scene, found: float(scene.model.optimizer.learning_rate))
    },
    "ReduceLROnPlateau": {
        "": Row(
            lambda scene: [
                kc.ReduceLROnPlateau("loss", mode="max", factor=0.5, patience=1, cooldown=1, min_lr=1e-3, verbose=1)
            ],
            lambda scene, found: of(found, "best", "wait") | {"rate": float(scene.model.optimizer.learning_rate)},
        )
    },
    "ModelCheckpoint": {
        "epochs": checkpoint("{epoch}-{val_loss:.2f}.weights.h5", save_weights_only=True),
        "every second update": checkpoint("{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=2),
        "every fifth update": checkpoint("{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=5),
        "the best": checkpoint("{epoch}.weights.h5", save_weights_only=True, save_best_only=True),
        "whole models": checkpoint("{epoch}.keras"),
    },
    "BackupAndRestore": {
        "epochs": backing(),
        "every second update": backing(save_freq=2),
        "two": backing(double_checkpoint=True),
        "deleted": Row(
            lambda scene: [kc.BackupAndRestore(scene.folder / "gone")],
            lambda scene, found: (scene.folder / "gone").exists(),
        ),
    },
    "CSVLogger": {"": Row(lambda scene: [kc.CSVLogger(scene.folder / "log.csv")], rows_of)},
    "TensorBoard": {
        "epochs": board(),
        "batches": board(update_freq="batch"),
        "every second batch": board(update_freq=2),
        "weights": board(histogram_freq=1, write_images=True, write_graph=False),
        "speed": board(write_steps_per_second=True, update_freq=1),
        "profile": board(traces, profile_batch=2),
        "profile of several": board(traces, profile_batch=(2, 4)),
    },
    "TerminateOnNaN": {
        "": Row(lambda scene: [spoil(scene), kc.TerminateOnNaN()], lambda scene, found: scene.model.stop_training)
    },
    "SwapEMAWeights": {
        "for validation": Row(lambda scene: [kc.SwapEMAWeights()], nothing, averages=True),
        "for callbacks": Row(
            lambda scene: [
                kc.SwapEMAWeights(swap_on_epoch=True),
                kc.ModelCheckpoint(scene.folder / "{epoch}.weights.h5", save_weights_only=True),
            ],
            weight_files,
            averages=True,
        ),
    },
    "ProgbarLogger": {
        "a bar": Row(lambda scene: [kc.ProgbarLogger()], bar, training={"verbose": 1}),
        "lines": Row(lambda scene: [kc.ProgbarLogger()], bar, training={"verbose": 2}),
        "nothing": Row(lambda scene: [kc.ProgbarLogger()], bar, training={"verbose": 0}),
    },
    "RemoteMonitor": {
        "as a form": Row(lambda scene: [kc.RemoteMonitor(scene.url, f"/{scene.folder.name}")], posts, needs="requests"),
        "as JSON": Row(
            lambda scene: [kc.RemoteMonitor(scene.url, f"/{scene.folder.name}", send_as_json=True)],
            posts,
            needs="requests",
        ),
    },
    "OrbaxCheckpoint": {
        "": Row(
            lambda scene: [kc.OrbaxCheckpoint(scene.folder, max_to_keep=None, save_on_background=False)],
            lambda scene, found: sorted(path.name for path in scene.folder.iterdir()),
            needs="orbax",
        )
    },
}
RECEIVED: dict[str, list[dict[str, float]]] = {}


class Handler(BaseHTTPRequestHandler):
    """Takes what `RemoteMonitor` posts."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        text = body if body.startswith("{") else parse_qs(body)["data"][0]
        RECEIVED.setdefault(self.path.strip("/"), []).append(json.loads(text))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def averaging(tmp_path_factory: pytest.TempPathFactory, shared_bench: Any) -> Any:
    """A bench whose optimizer averages the weights and counts its updates for a schedule."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=1, decay_rate=0.7)
    optimizer = keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.5)
    return type(shared_bench)(tmp_path_factory.mktemp("averaging"), optimizer=optimizer)


def close(one: Any, other: Any, rel: float = 1e-4) -> bool:
    """Whether two nests have the same form and, to float32 rounding, the same numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key], rel) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(close(a, b, rel) for a, b in zip(one, other, strict=True))
    if isinstance(one, float | np.ndarray | np.generic):
        return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=rel, atol=1e-5, equal_nan=True)
    return bool(one == other)


def everything(model: Any) -> list[np.ndarray]:
    return numbers([*model.variables, *model.optimizer.variables])


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind."""

    history: Any
    spy: Spy
    values: list[np.ndarray]


def trained(bench: Any, run: str, beside: Any, *, micro: int = MICRO, **options: Any) -> Trained:
    """Trains the model as it stands, with a spy behind the other callbacks."""
    spy = Spy()
    if isinstance(beside, kc.CallbackList):
        beside.callbacks.append(spy)
        spy.set_model(bench.model)
    else:
        beside = [*beside, spy]
    cut = {"micro": micro, "is_watched": True} if run == "ours" else {}
    history = getattr(bench, run)(callbacks=beside, **{"epochs": EPOCHS, **cut, **options})
    return Trained(history, spy, everything(bench.model))


def require_same(theirs: Trained, ours: Trained) -> None:
    """Whether two trainings were the same: calls, logs, history, weights and optimizer."""
    assert ours.spy.calls == theirs.spy.calls
    assert close(ours.spy.values, theirs.spy.values)
    assert ours.history.epoch == theirs.history.epoch
    assert [name for name in ours.history.history if OURS not in name] == list(theirs.history.history)
    assert close({name: ours.history.history[name] for name in theirs.history.history}, theirs.history.history)
    assert close(ours.values, theirs.values)


def test_every_callback_that_keras_exports_has_a_row() -> None:
    """A callback that a new Keras brings has to be placed in the table."""
    exported = {name for name, one in vars(kc).items() if inspect.isclass(one) and issubclass(one, kc.Callback)}
    assert exported == set(TABLE)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, rows in TABLE.items() for kind in rows])
def test_a_callback_does_what_it_does_in_keras(
    shared_bench: Any, averaging: Any, url: str, tmp_path: Path, name: str, kind: str
) -> None:
    """Hooks, logs, history, weights, optimizer, and what the callback is for.

    Seen to fail with the steps left out of the parameters, and with one optimizer step for each micro-batch.
    """
    row = TABLE[name][kind]
    if row.needs and importlib.util.find_spec(row.needs) is None:
        pytest.skip(f"{row.needs} is not installed")
    bench = averaging if row.averages else shared_bench
    results, effects = [], []
    for run in ("keras", "ours"):
        (tmp_path / run).mkdir()
        scene = Scene(bench.begin(), tmp_path / run, url)
        made = row.make(scene)
        results.append(trained(bench, run, made, **row.training))
        found = next(one for one in made if type(one).__name__ == name) if isinstance(made, list) else made
        effects.append(row.effect(scene, found))
    require_same(*results)
    assert close(effects[1], effects[0]), effects


def stop_at_second(model: Any) -> list[Any]:
    def stop(batch: int, logs: Any) -> None:
        if batch == 1:
            model.stop_training = True

    return [kc.LambdaCallback(on_train_batch_end=stop)]


# What both trainings are asked for.
TRAININGS: dict[str, dict[str, Any]] = {
    "with validation": {},
    "without validation": {"validate": False},
    "validation now and then": {"validation_freq": 2},
    "validation after some epochs": {"validation_freq": [1, 4]},
    "validation never reached": {"validation_freq": [7]},
    "validation in one step": {"validation_steps": 1},
    "a later epoch": {"initial_epoch": 2},
    "no epochs left": {"initial_epoch": EPOCHS},
    "fewer updates than a pass": {"steps_per_epoch": 2},
    "more updates than a pass": {"steps_per_epoch": 4, "validate": False},
    "stopped within an epoch": {},
    "class weights": {"class_weight": {0: 0.3, 1: 2.0}},
}


DRY = pytest.mark.filterwarnings(
    "ignore:Your input ran out:UserWarning", "ignore:The data .*come to an end:UserWarning"
)


@DRY
@pytest.mark.parametrize("micro", [8, MICRO])
@pytest.mark.parametrize("kind", TRAININGS)
def test_a_callback_is_called_as_keras_calls_it(shared_bench: Any, kind: str, micro: int) -> None:
    """Hooks with their numbers and logs, history, weights and optimizer, whatever the training is asked for.

    Seen to fail with the logs of a batch left out, without `on_test_begin`, with the updates of an epoch that is
    stopped run to the end, with validation after every epoch, with all its steps run whatever bounds them, and with
    a pass begun where no epochs are left.
    """
    results = []
    for run in ("keras", "ours"):
        model = shared_bench.begin()
        beside = stop_at_second(model) if kind == "stopped within an epoch" else []
        results.append(trained(shared_bench, run, beside, micro=micro, **TRAININGS[kind]))
    require_same(*results)


class Predicted(kc.Callback):
    """Writes down the number of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        del logs
        self.calls.append(("begin", batch))

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        del logs
        self.calls.append(("end", batch))


@pytest.mark.usefixtures("trials_here")
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_callbacks_are_called_once_for_each_execution(steps: int) -> None:
    """Of an epoch of three updates. Seen to fail with a call for each update."""
    require_same_calls(steps)


@pytest.mark.usefixtures("trials_here")
@DRY
def test_steps_are_rounded_up_to_whole_executions() -> None:
    """Seen to fail with as many as were asked for."""
    require_same_calls(2, 1)


@pytest.mark.usefixtures("trials_here")
@pytest.mark.filterwarnings("ignore:Limiting:UserWarning", "ignore:keras.config.max_:UserWarning")
@DRY
@pytest.mark.parametrize(("epochs", "steps"), [(1, None), (None, 2), (1, 1), (5, 5)])
def test_keras_own_limits_hold(epochs: int | None, steps: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with either of them ignored."""
    monkeypatch.setattr("keras.src.backend.config._MAX_EPOCHS", epochs)
    monkeypatch.setattr("keras.src.backend.config._MAX_STEPS_PER_EPOCH", steps)
    require_same_calls(1)


def require_same_calls(execution: int, steps: int | None = None) -> None:
    """Of a training with validation, an evaluation and a prediction, with 20 samples at 8."""

    def made() -> Any:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse", steps_per_execution=execution)
        return model

    x, y = np.ones((20, 4), np.float32), np.ones((20, 2), np.float32)
    once = {"batch_size": 8, "verbose": 0}
    options: dict[str, Any] = {"epochs": 2, "validation_data": (x, y), "shuffle": False, **once}
    options |= {"steps_per_epoch": steps, "validation_steps": steps}
    theirs, ours = Spy(), Spy()
    by_keras, by_us = made(), made()
    by_keras.fit(x, y, callbacks=[theirs], **options)
    by_keras.evaluate(x, y, callbacks=[theirs], steps=steps, **once)
    autobatch.fit(by_us, (x, y), callbacks=[ours], cache=False, **options)
    autobatch.evaluate(by_us, (x, y), callbacks=[ours], steps=steps, cache=False, **once)
    assert [call[:3] for call in ours.calls] == [call[:3] for call in theirs.calls]
    assert int(by_us.optimizer.iterations) == int(by_keras.optimizer.iterations)
    expected, predicted = Predicted(), Predicted()
    made().predict(x, callbacks=[expected], steps=steps, **once)
    autobatch.predict(made(), x, callbacks=[predicted], steps=steps, cache=False, **once)
    assert predicted.calls == expected.calls


class Noting(keras.layers.Layer):
    """Writes a summary in its call."""

    def call(self, x: Any) -> Any:
        tf.summary.scalar("seen", tf.reduce_sum(x))
        return x


def folders_of(board: Path) -> list[str]:
    """Where its layer's summaries have gone."""
    files = sorted(board.rglob("events.out.tfevents.*"))
    found = ((path, tf.compat.v1.train.summary_iterator(str(path))) for path in files)
    tags = ((path, value.tag) for path, read in found for event in read for value in event.summary.value)
    return [path.parent.name for path, tag in tags if tag.endswith("seen")]


@pytest.mark.usefixtures("trials_here")
def test_summaries_of_layers_are_written(tmp_path: Path) -> None:
    """Of training and validation. Seen to fail with the steps that were traced for the trials."""
    x, y = np.ones((10, 5), np.float32), np.ones((10, 1), np.float32)
    options = {"batch_size": 4, "validation_data": (x, y), "verbose": 0}
    for run in ("keras", "ours"):
        model = keras.Sequential([keras.Input((5,)), Noting(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        options["callbacks"] = [kc.TensorBoard(tmp_path / run, update_freq=1)]
        if run == "keras":
            model.fit(x, y, **options)
        else:
            autobatch.fit(model, (x, y), cache=False, **options)
    assert folders_of(tmp_path / "ours") == folders_of(tmp_path / "keras") == ["train"] * 3 + ["validation"] * 3


class BrokenError(Exception):
    pass


BACKUPS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "every second update": {"save_freq": 2},
    "two": {"double_checkpoint": True},
}


@pytest.mark.parametrize("kind", BACKUPS)
def test_a_backup_is_gone_on_from_as_keras_does(shared_bench: Any, tmp_path: Path, kind: str) -> None:
    """Interrupted in the second epoch, and begun again with a model of other weights.

    Seen to fail with the epoch that the backup sets ignored.
    """

    def interrupt() -> Any:
        seen = []

        def stop(batch: int, logs: Any) -> None:
            seen.append(batch)
            if len(seen) == 6:
                raise BrokenError

        return kc.LambdaCallback(on_train_batch_end=stop)

    results = []
    for run in ("keras", "ours"):
        backup = lambda run=run: kc.BackupAndRestore(tmp_path / run, **BACKUPS[kind])  # noqa: E731
        shared_bench.begin()
        with pytest.raises(BrokenError):
            trained(shared_bench, run, [backup(), interrupt()])
        shared_bench.begin(spoiled=True)
        results.append(trained(shared_bench, run, [backup()]))
        assert not (tmp_path / run).exists()
    require_same(*results)
    assert results[1].history.epoch == [1, 2, 3]
