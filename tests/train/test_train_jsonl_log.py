"""The log of a run: whole lines at any moment, to the end whatever that is, and never in the way of the training."""

import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from programs import environment
from saved_runs import ran, result
from surroundings import NOTHING_RESERVED, PLAIN, Clock, Eager, Numbered, Sensor, need, small_net

import autobatch
from autobatch.backend import engine_for
from autobatch.errors import ArgumentError, DataError, DoesNotFitError
from autobatch.report.runs import Observation, read_record
from autobatch.results.run import RunReport
from autobatch.testing import FakeEngine
from autobatch.train.control.controller import Controller, ControllerHooks
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import PolicyDecision
from autobatch.train.control.watcher import RunBudgets
from autobatch.train.jsonl_log import AppendOnlyFile, JsonlLog, LogDir, encoded, open_jsonl_log
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.recorder import Recorder

BUDGETS = (800, 400, 400, 800, 800, 800)


class Failing(AppendOnlyFile):
    """A file whose operations are numbered over all of them and fail when `fails` says so."""

    def __init__(self, path, fails, error=errno.ENOSPC):
        super().__init__(path)
        self.count, self._fails, self._error = 0, fails, error

    def write(self, line):
        self._maybe_fail()
        return super().write(line)

    def sync(self):
        self._maybe_fail()
        return super().sync()

    def _maybe_fail(self):
        self.count += 1
        if self._fails(self.count):
            raise OSError(self._error, os.strerror(self._error))


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def train(folder, opens=AppendOnlyFile, *, verbose=0, engine=None):
    """A training of six updates whose memory shrinks and grows, logged; its History, its report and its log.

    Args:
        folder: Where the log goes.
        opens: Opens its file.
        verbose: As in `fit`.
        engine: What runs the updates; a real one if left out.
    """
    clock = Clock(step_s=1.0)
    model = small_net() if engine is None else small_net(metrics=None)
    engine = engine or engine_for(model, Numbered(8).read([0, 1], 0))
    with open_jsonl_log(LogDir(folder, "python train.py", opens)) as log:
        log.began_s = 0.0
        recorder = Recorder(None, clock, log=log, verbose=verbose)
        recorder.add_trial(ran(8))
        recorder.add_probe(result())
        report = recorder.begin(result(), 8, 8, 1)
        outside = ControllerHooks(
            decided=lambda *what: recorder.decide("training", *what),
            watch=Eager(Sensor(*BUDGETS), RunBudgets(NOTHING_RESERVED), clock=clock),
            seen=lambda snapshot, size, headroom: recorder.observe("training", snapshot, size, headroom),
            note=recorder.note,
            sleep=clock.sleep,
        )
        controller = Controller(Policy((8, 4, 2, 1), {"host": need}, PLAIN), 8, outside)
        plan = TrainingPlan(effective_batch_size=8, epochs=2, verbose=verbose, workers=1, recorder=recorder)
        history = run(model, engine, Numbered(24), MicroBatchRunner(controller), plan)
    return history, report, log


def test_a_training_is_written_down_from_its_beginning_to_its_end(tmp_path):
    history, report, log = train(tmp_path / "a" / "b")
    assert log.path == only_file(tmp_path / "a" / "b")
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{os.getpid()}\.jsonl", log.path.name)
    record = read_record(log.path)
    assert (record.kind, record.outcome, record.command) == ("fit", "done", "python train.py")
    assert record.environment["host_total_bytes"] > 0
    assert record.result == result()
    assert record.decisions == tuple(report.decisions)
    assert record.observations == tuple(report.observations)
    assert {type(one) for one in record.observations} == {Observation}
    assert [epoch.logs["loss"] for epoch in record.epochs] == history.history["loss"]
    assert len(record.decisions) == 2
    events = [line["event"] for line in lines_of(log.path)]
    assert events[:4] == ["run", "trial", "probe", "begin"]
    assert (events.count("epoch"), events[-1]) == (2, "end")


def test_times_never_go_back(tmp_path):
    log = train(tmp_path)[2]
    times = [line["at_s"] for line in lines_of(log.path) if line["event"] in {"observation", "decision"}]
    assert times == sorted(times)
    assert lines_of(log.path)[0]["at_s"] == 0.0


ENDS = {
    "interrupted": (KeyboardInterrupt(), None),
    "error": (ValueError("mine"), {"kind": "ValueError", "message": "mine"}),
    "leaving": (SystemExit(3), {"kind": "SystemExit", "message": "3"}),
}


@pytest.mark.parametrize("what", ENDS)
def test_every_way_out_is_written_down_and_passes_on(what, tmp_path):
    """Seen to fail with `except Exception`."""
    error, described = ENDS[what]
    with pytest.raises(type(error)) as caught, open_jsonl_log(tmp_path):
        raise error
    assert caught.value is error
    end = lines_of(only_file(tmp_path))[-1]
    assert (end["event"], end["outcome"]) == ("end", "interrupted" if what == "interrupted" else "error")
    assert end["error"] == described


def test_an_error_that_cannot_be_shown_is_still_named(tmp_path):
    class UnshownError(Exception):
        def __str__(self):
            raise RuntimeError

    with pytest.raises(UnshownError), open_jsonl_log(tmp_path):
        raise UnshownError
    assert read_record(only_file(tmp_path)).error == {"kind": "UnshownError", "message": ""}


def test_runs_of_the_same_second_have_files_of_their_own(tmp_path):
    with open_jsonl_log(tmp_path) as one, open_jsonl_log(tmp_path) as other, open_jsonl_log(tmp_path) as third:
        pass
    assert len({one.path, other.path, third.path}) == 3
    assert {read_record(path).outcome for path in tmp_path.iterdir()} == {"done"}


def test_whoever_reads_along_sees_whole_lines(tmp_path):
    """Seen to fail with lines that wait in a buffer."""
    with open_jsonl_log(tmp_path) as log:
        for number in range(3):
            log.add_note(f"note {number}")
            text = log.path.read_text()
            assert text.endswith("\n")
            assert read_record(log.path).notes[-1] == f"note {number}"


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_jsonl_log(None) as log:
        log.add_note("x")
    assert (log.path, list(tmp_path.iterdir())) == (None, [])


def trained(folder, opens):
    """The sizes of all micro-batches, the report and the log of a training that computes nothing."""
    engine = FakeEngine()
    history, report, log = train(folder, opens, engine=engine)
    assert len(history.epoch) == 2
    return [[part.size for part in update] for update in engine.updates], report, log


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """How many operations on the file a training takes, and the sizes of its micro-batches."""
    made = []

    def opens(path):
        made.append(Failing(path, lambda _: False))
        return made[-1]

    sizes = trained(tmp_path_factory.mktemp("calm"), opens)[0]
    return made[0].count, sizes


def test_a_disk_that_fails_at_any_moment_is_said_once_and_ends_no_training(calm, tmp_path, caplog):
    """Operation 1, 2, 3, ... fails once; then all from there on. Seen to fail with the guard removed."""
    count, expected = calm
    assert count > 15
    for number in range(1, count + 1):
        for name, fails in {"once": number.__eq__, "for good": number.__le__}.items():
            caplog.clear()
            folder = tmp_path / f"{number} {name}"
            sizes, report, log = trained(folder, lambda path, fails=fails: Failing(path, fails))
            assert sizes == expected, folder
            said = [one.getMessage() for one in caplog.records if "is not complete" in one.getMessage()]
            assert said == [log.failure], folder
            assert "No space left on device" in log.failure
            assert [note for note in report.notes if "is not complete" in note] == said, folder
            if number > 1:
                assert read_record(log.path).kind == "fit", folder


class Short(AppendOnlyFile):
    """A disk with room for half a line, once."""

    def __init__(self, path, at):
        super().__init__(path)
        self.count, self._at = 0, at

    def write(self, line):
        self.count += 1
        return super().write(line[: len(line) // 2] if self.count == self._at else line)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    """Seen to fail with the next line written right behind it."""
    lines = len(read_record(trained(tmp_path / "calm", AppendOnlyFile)[2].path).raw)
    for number in range(2, 12):
        _, _, log = trained(tmp_path / str(number), lambda path, number=number: Short(path, number))
        assert "there was room for" in log.failure
        record = read_record(log.path)
        # One line is torn, and what is said of it is a line more.
        assert (record.outcome, len(record.raw)) == ("done", lines)


class Planned:
    """A file with room for so many bytes at each write, `None` for all of them."""

    def __init__(self, *rooms):
        self.text, self._rooms = b"", list(rooms)

    def write(self, line):
        room = self._rooms.pop(0) if self._rooms else None
        taken = line[:room]
        self.text += taken
        return len(taken)


@pytest.mark.parametrize("rooms", [(5, 0), (5, 0, 0), (5, 1, 0), (0, 5, 0)])
def test_a_line_that_was_cut_off_spoils_no_other_however_long_the_disk_is_full(rooms):
    """Seen to fail with the torn line forgotten at a write of nothing."""
    file = Planned(*rooms)
    log = JsonlLog(file, "x")
    for number in range(len(rooms) + 1):
        log.write("note", {"number": number})
    assert json.loads(file.text.split(b"\n")[-2])["number"] == len(rooms)


def test_what_goes_wrong_before_the_file_is_there_leaves_none(tmp_path, monkeypatch):
    """Seen to fail with the file opened before it is known what to write first."""
    monkeypatch.setattr(sys, "orig_argv", ["python", object()])
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "train.py", raising=False)
    with pytest.raises(TypeError), open_jsonl_log(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_removed_meanwhile_is_said_once(tmp_path, caplog):
    class Removed(AppendOnlyFile):
        def __init__(self, path):
            super().__init__(path)
            path.unlink()

    _, report, log = trained(tmp_path, Removed)
    assert "the file has been removed" in log.failure
    assert sum("is not complete" in one.getMessage() for one in caplog.records) == 1
    assert report.notes == (*result().notes, log.failure)


BAD_FOLDERS = {
    "a file": lambda folder: folder / "file",
    "below a file": lambda folder: folder / "file" / "log",
    "a name that is too long": lambda folder: folder / ("x" * 300),
}


@pytest.mark.parametrize("what", BAD_FOLDERS)
def test_a_folder_that_cannot_be_made_is_an_error_before_anything_runs(what, tmp_path):
    (tmp_path / "file").write_text("")
    folder = BAD_FOLDERS[what](tmp_path)
    began = []
    with pytest.raises(DataError, match="No log can be written") as caught, open_jsonl_log(folder):
        began.append("it")
    assert caught.value.path == str(folder)
    assert began == []


def test_what_is_no_path_is_refused():
    with pytest.raises(ArgumentError, match=r"Received: log_dir=3\."), open_jsonl_log(3):
        pass


def test_logs_are_numbers_and_what_is_none_is_null_or_left_out(tmp_path):
    logs = {"loss": np.float32(0.5), "nan": float("nan"), "inf": np.inf, "count": np.int64(3), "text": "x", "list": [1]}
    logs |= {"huge": 10**400}
    with open_jsonl_log(tmp_path) as log:
        log.add_epoch(0, logs)
    line = lines_of(log.path)[1]
    assert line["logs"] == {"loss": 0.5, "nan": None, "inf": None, "count": 3.0}
    assert lines_of(log.path)[-1]["outcome"] == "done"


def test_a_line_is_one_line_of_strict_json():
    line = encoded({"a": "x\ny\u2028\udcff", "b": {"c": (np.int64(3), float("inf"))}, "d": object()})
    assert line.count(b"\n") == 1
    assert json.loads(line)["b"] == {"c": [3, None]}
    assert line.isascii()


def test_a_decision_is_printed_in_between_the_lines_of_keras(tmp_path, capfd):
    """Seen to fail with decisions that are logged only."""
    _, report, _ = train(tmp_path, verbose=2)
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if " -> " in line] == [str(one) for one in report.decisions]
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    assert "" not in lines


def test_a_decision_does_not_stand_in_the_progress_bar(tmp_path, capfd):
    """Seen to fail with the sentence printed where the bar had come to."""
    _, report, _ = train(tmp_path, verbose=1)
    printed = capfd.readouterr().out
    assert [printed.count(f"\n{one}\n") for one in report.decisions] == [1, 1]


def test_a_note_is_printed_once_and_kept(capfd, caplog):
    recorder = Recorder(verbose=1)
    recorder.report = report = RunReport(8, 8, 1, None, [])
    recorder.note("something")
    recorder.note("something")
    assert capfd.readouterr() == ("\nsomething\n", "")
    assert [one.getMessage() for one in caplog.records] == list(report.notes) == ["something"]


def test_with_verbose_0_nothing_is_printed(tmp_path, capfd):
    _, report, _ = train(tmp_path)
    assert report.decisions != []
    assert capfd.readouterr() == ("", "")


def test_a_run_of_any_length_keeps_few_readings_in_memory(tmp_path):
    log = JsonlLog()
    log.began_s = 0.0
    recorder = Recorder(log=log)
    recorder.report = report = RunReport(8, 8, 1, None, [])
    snapshot = Eager(Sensor(800), RunBudgets(NOTHING_RESERVED), clock=Clock()).look()
    for _ in range(100):
        recorder.observe("training", snapshot, 8, 0)
    assert len(report.observations) == 1


def test_times_of_a_run_count_from_when_it_was_called():
    """Not from when its training began, an hour of trials later."""
    clock = Clock()
    recorder = Recorder(None, clock, log=JsonlLog(clock=clock))
    recorder.report = report = RunReport(8, 8, 1, None, [])
    clock.now_s = 3600.0
    recorder.decide("training", PolicyDecision("shrink", 8, 4, "why", "host"))
    assert report.decisions[0].at_s == 3600.0


FIT = """
import sys
import keras
import numpy as np
import autobatch
from autobatch.train.control.state import PolicyDecision

keras.utils.set_random_seed(1)


class Here(keras.layers.Dense):
    def get_config(self):
        raise NotImplementedError  # no worker is started


model = keras.Sequential([keras.Input((2,)), Here(4), keras.layers.Dense(1)])
model.compile("sgd", loss="mse", run_eagerly=True)


class Shrinks(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        # What a controller says that has lost its memory.
        recorders = [one for one in __import__("gc").get_objects() if type(one).__name__ == "Recorder"]
        if batch == 1:
            recorders[0].decide("training", PolicyDecision("shrink", 8, 4, "others took it", "host"))
            recorders[0].note("something is odd")


x = np.zeros((32, 2), "float32")
history = autobatch.fit(
    model, (x, x[:, :1]), batch_size=8, cache=False, verbose=0, epochs=2, callbacks=[Shrinks()], log_dir=sys.argv[1]
)
assert len(history.autobatch.decisions) == 2, history.autobatch.decisions
assert history.autobatch.log_file.startswith(sys.argv[1])
"""


@pytest.mark.slow
def test_a_real_fit_writes_its_log_and_with_verbose_0_not_a_word_elsewhere(tmp_path):
    """Neither to stdout nor to stderr, though it decides and notes. Seen to fail with a logger without a handler."""
    script = tmp_path / "train.py"
    script.write_text(FIT)
    ran_ = subprocess.run(
        [sys.executable, "train.py", str(tmp_path / "log")],
        cwd=tmp_path,
        env=environment(TF_CPP_MIN_LOG_LEVEL="3", PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    greetings = "absl::InitializeLog|cpu_feature_guard|rebuild TensorFlow|computation_placer|cuda|oneDNN"
    said = [line for line in ran_.stderr.splitlines() if not re.search(greetings, line)]
    assert (ran_.returncode, ran_.stdout, said) == (0, "", [])
    record = read_record(only_file(tmp_path / "log"))
    assert (record.outcome, record.command) == ("done", f"python train.py {tmp_path / 'log'}")
    assert record.begun is not None
    assert record.begun.effective_batch_size == 8
    assert len(record.epochs) == len(record.decisions) == 2
    assert "something is odd" in record.notes
    assert record.result is not None
    tried = [line["size"] for line in lines_of(only_file(tmp_path / "log")) if line["event"] == "trial"]
    assert tried == [trial.size for trial in record.result.trials]
    assert len(record.observations) > 0
    assert record.environment["keras_backend"] == "tensorflow"


def test_a_training_whose_probe_finds_nothing_is_written_down_too(tmp_path):
    """Its beginning and its end, with the reason."""
    x = np.zeros((8, 2), np.float32)
    with pytest.raises(DoesNotFitError):
        autobatch.fit(small_net(), (x, x[:, :1]), reserve=0.9999, cache=False, verbose=0, log_dir=tmp_path)
    record = read_record(only_file(tmp_path))
    assert (record.outcome, record.begun, record.result) == ("error", None, None)
    assert record.error is not None
    assert record.error["kind"] == "DoesNotFitError"


def test_a_log_that_cannot_be_made_is_an_error_before_the_data_are_looked_at(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="No log can be written"):
        autobatch.fit(small_net(), object(), log_dir=tmp_path / "file")
