"""Reports are written in one step, by the ending of their name."""

import json

import pytest
from saved_runs import probe_object, write_fit, write_probe
from surroundings import FailingDisk, full_disk

from autobatch.errors import ArgumentError, DataError
from autobatch.report.markdown import markdown_page
from autobatch.report.runs import read_record, read_records, record_of
from autobatch.report.write import is_own_report, write_report

PROBE = record_of(probe_object(), "probe.json")


def test_markdown_is_written(tmp_path):
    write_report([PROBE], tmp_path / "x.md")
    assert (tmp_path / "x.md").read_text() == markdown_page([PROBE])


def test_a_page_is_written(tmp_path):
    write_report([PROBE], tmp_path / "x.HTML")
    assert "</html>" in (tmp_path / "x.HTML").read_text()


def test_a_probe_as_json_is_read_back(tmp_path):
    write_report([PROBE], tmp_path / "x.json")
    assert read_record(tmp_path / "x.json").raw == PROBE.raw


def test_several_runs_as_json_keep_what_their_files_hold(tmp_path):
    training = read_record(write_fit(tmp_path / "run.jsonl"))
    write_report([PROBE, training], tmp_path / "x.json")
    written = json.loads((tmp_path / "x.json").read_text())
    assert [run["raw"] for run in written["runs"]] == [PROBE.raw, training.raw]


def test_several_runs_as_json_are_read_back(tmp_path):
    """Seen to fail with files of one run only."""
    training = read_record(write_fit(tmp_path / "run.jsonl"))
    write_report([PROBE, training], tmp_path / "x.json")
    assert read_records(tmp_path / "x.json") == [PROBE, training]
    with pytest.raises(DataError, match=r"holds 2 runs\. Expected a file of one"):
        read_record(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["x.pdf", "x", ".html", "x.html.gz"])
def test_another_ending_is_refused(name, tmp_path):
    with pytest.raises(ArgumentError, match=r"Expected a name in \.html, \.md or \.json"):
        write_report([PROBE], tmp_path / name)


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path):
    """Seen to fail with the file written in place."""
    path = tmp_path / "x.md"
    path.write_text("before")
    with pytest.raises(DataError, match="No space left") as caught:
        write_report([PROBE], path, disk=FailingDisk(lambda name: full_disk(name) if name == "write" else None))
    assert caught.value.path == str(path)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["x.md"]


def test_names_that_are_no_text_are_written_as_well_as_they_can_be(tmp_path):
    for ending in (".md", ".html", ".json"):
        write_report([record_of(probe_object(command="a\udcff"), "b\udcff.json")], tmp_path / f"x{ending}")


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_a_report_is_known_again(ending, tmp_path):
    path = tmp_path / f"x{ending}"
    write_report([PROBE, PROBE], path)
    assert is_own_report(path)


def test_several_runs_as_json_are_known_again(tmp_path):
    write_report([PROBE, PROBE], tmp_path / "x.json")
    assert is_own_report(tmp_path / "x.json")


def test_a_saved_run_is_no_report_that_could_be_made_anew(tmp_path):
    """Seen to fail with any object of autobatch taken for a report."""
    assert not is_own_report(write_probe(tmp_path / "x.json"))


@pytest.mark.parametrize("name", ["x.html", "x.md", "x.json", "x.txt"])
def test_what_others_have_written_is_no_report(name, tmp_path):
    (tmp_path / name).write_text("<html><head><title>autobatch</title>")
    assert not is_own_report(tmp_path / name)
