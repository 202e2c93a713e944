"""Saved runs are read back as they were, also those that have not ended."""

import dataclasses
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saved_runs import fit_lines, probe_object, ran, result, write_fit, write_probe

from autobatch.errors import DataError
from autobatch.report.runs import Begun, Decision, Epoch, read_record, record_of


def test_a_probe_is_read_back(tmp_path):
    record = read_record(write_probe(tmp_path / "x.json"))
    assert (record.name, record.kind, record.outcome, record.best_so_far) == ("x.json", "probe", "found", 64)
    assert record.result == result()
    assert record.trials == result().trials
    assert record.notes == ("No GPU is counted.",)
    assert record.raw == probe_object()


def test_a_probe_without_a_result_keeps_its_trials_and_its_error():
    error = {"kind": "DoesNotFitError", "message": "too large"}
    trials = [ran(1).to_dict()]
    record = record_of(probe_object(result=None, trials=trials, error=error, outcome="does_not_fit"), "x")
    assert (record.outcome, record.result, record.error) == ("does_not_fit", None, error)
    assert record.trials == (ran(1),)


def test_a_training_is_read_back(tmp_path):
    record = read_record(write_fit(tmp_path / "run.jsonl"))
    assert (record.kind, record.outcome, record.command) == ("fit", "done", "python train.py")
    assert record.begun == Begun(8, 8, 1, 3)
    assert record.result == result()
    assert [(seen.micro_batch_size, seen.device_bytes) for seen in record.observations] == [(8, None), (4, 3)]
    assert record.decisions == (Decision(0, 1, "training", 8, 4, "others | took it", 4.3, -(2**20)),)
    assert record.notes == ("a", "b")
    assert record.raw == fit_lines()


def test_what_was_no_number_in_the_logs_is_nan():
    lines = fit_lines()
    (epoch,) = read_lines(lines).epochs
    assert isinstance(epoch, Epoch)
    assert epoch.logs["loss"] == 0.5
    assert math.isnan(epoch.logs["accuracy"])


def read_lines(lines, tail=""):
    with tempfile.TemporaryDirectory() as folder:
        path = write_fit(Path(folder) / "run.jsonl", lines)
        path.write_bytes(path.read_bytes() + tail.encode())
        return read_record(path)


@given(cut=st.integers(min_value=0))
def test_a_training_that_was_cut_anywhere_is_read_as_far_as_it_is_whole(cut):
    """Seen to fail with an error for the last line."""
    lines = fit_lines()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    first = len(json.dumps(lines[0]))
    cut = first + cut % (len(text) - first + 1)
    whole = [line for line in text[:cut].split("\n") if line in {json.dumps(one) for one in lines}]
    record = read_lines([], tail=text[:cut])
    assert len(record.raw) == len(whole)
    assert record.outcome == ("done" if len(whole) == len(lines) else "unfinished")


def test_a_line_that_is_torn_in_the_middle_is_left_out(tmp_path):
    """As a disk leaves it that was full for a while. Seen to fail with reading that ends at the first of them."""
    path = write_fit(tmp_path / "run.jsonl")
    lines = path.read_text().split("\n")
    lines[7] = lines[7][:20] + "\n\0\0\0"
    path.write_text("\n".join(lines))
    record = read_record(path)
    assert record.outcome == "done"
    assert len(record.observations) == 1


def test_a_training_whose_probe_was_ended_has_the_trials_so_far():
    lines = [fit_lines()[0], *fit_lines()[1:3], {"event": "end", "at_s": 2.0, "outcome": "interrupted", "error": None}]
    record = read_lines(lines)
    assert [trial.size for trial in record.trials] == [2, 16]
    assert (record.best_so_far, record.begun, record.result, record.outcome) == (16, None, None, "interrupted")


NO_RUNS = {
    "nothing": "",
    "no JSON": "hello\n",
    "another object": '{"kind": "list"}',
    "a list": "[1, 2]",
    "a number": "3",
    "events without a run": '{"event": "begin"}\n',
    "bytes": "\x89PNG\r\n\x1a\n\0\0",
    "a probe without anything": '{"schema_version": 2, "kind": "probe"}',
    "a probe whose trials are none": json.dumps(probe_object() | {"trials": [{"size": 1}]}),
    "a probe of lists": json.dumps(probe_object() | {"result": [1]}),
    "brackets without end": "[" * 100_000,
    "a report of nothing": '{"schema_version": 2, "kind": "report", "runs": [{"name": "x", "raw": null}]}',
    "a report of a report": '{"schema_version": 2, "kind": "report", "runs": [{"name": "x", "raw": {"runs": []}}]}',
    "a report without runs": '{"schema_version": 2, "kind": "report"}',
    "a training whose numbers are none": '{"event":"run","schema_version":2}\n{"event":"observation","at_s":"x"}\n',
    "a training without an end of numbers": json.dumps(fit_lines()[0])
    + '\n{"event":"begin","effective_batch_size":Infinity,"micro_batch_size":1,"accumulation_steps":1,'
    + '"seed":1,"notes":[]}',
}


@pytest.mark.parametrize("what", NO_RUNS)
def test_what_is_no_run_is_named(what, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(NO_RUNS[what], encoding="latin-1")
    with pytest.raises(DataError, match="no run of autobatch") as caught:
        read_record(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("text", [json.dumps(probe_object() | {"schema_version": 9}), '{"event":"run"}'])
def test_a_run_of_another_version_is_said_to_be_one(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"another version.*Expected 2"):
        read_record(path)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_what_cannot_be_read_is_named(name, tmp_path):
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_record(tmp_path / name)
    assert caught.value.path == str(tmp_path / name)


def test_what_to_type_next_is_read_back():
    assert record_of(probe_object(next="autobatch fit m:model pictures"), "x").next == "autobatch fit m:model pictures"
    assert record_of(probe_object(), "x").next is None


COLOURED = "\x1b[1m\x1b[31mOut of\x1b[0m memory\x1b[2K"


def test_the_colours_of_a_terminal_are_not_shown_and_stay_in_the_raw_data():
    """Seen to fail with messages shown as they were written."""
    error = {"kind": "OOM", "message": COLOURED}
    failed = record_of(probe_object(result(reasons=(COLOURED,)), error=error), "x")
    assert (failed.error, failed.result.reasons) == ({"kind": "OOM", "message": "Out of memory"}, ("Out of memory",))
    assert failed.raw["error"] == error
    noted = read_lines([fit_lines()[0], {"event": "note", "at_s": 1.0, "text": COLOURED}])
    assert noted.notes == ("Out of memory",)
    assert noted.raw[1]["text"] == COLOURED


def test_every_field_of_a_decision_is_read_back():
    """A field of `Decision` that the reader does not know would be lost in silence."""
    values = {"epoch": 1, "update": 2, "before": 3, "after": 4, "returned_bytes": 5, "held_bytes": 6}
    line = {**values, "phase": "p", "reason": "r", "at_s": 7.0, "headroom_bytes": 8}
    assert set(line) == {field.name for field in dataclasses.fields(Decision)}
    record = read_lines([fit_lines()[0], {"event": "decision", **line}])
    assert record.decisions == (Decision(**line),)
