"""`autobatch report`: from saved runs to a page, and nothing of others overwritten."""

import io
import json

import pytest
from saved_runs import fit_lines, write_fit, write_probe

from autobatch.cli.main import main


def report(*words):
    """The exit status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    status = main(["report", *map(str, words)], stdout=out, stderr=err, environ={})
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_name_the_page_is_in_this_folder(folder):
    write_probe(folder / "probe.json")
    assert report("probe.json") == (0, "1 run in autobatch-report.html\n", "")
    assert "</html>" in (folder / "autobatch-report.html").read_text()


@pytest.mark.parametrize(("name", "begins"), [("x.html", "<!"), ("x.md", "<!-- autobatch report -->"), ("x.json", "{")])
def test_the_ending_says_what_is_written(name, begins, folder):
    write_probe(folder / "probe.json")
    assert report("probe.json", "-o", name)[0] == 0
    assert (folder / name).read_text().lower().startswith(begins)


def test_the_runs_of_a_folder_come_newest_first_each_once(folder):
    runs = folder / "runs"
    runs.mkdir()
    (runs / "notes.txt").write_text("mine")
    write_probe(runs / "a.json", started_at="2026-01-01T00:00:00+00:00")
    write_probe(runs / "b.json", started_at="2026-03-01T00:00:00+00:00")
    write_fit(runs / "c.jsonl", [fit_lines()[0] | {"started_at": "2026-02-01T00:00:00+00:00"}])
    status, out, err = report(runs, runs / "a.json", "--json")
    told = json.loads(out)
    assert (status, err, told["written"]) == (0, "", "autobatch-report.html")
    assert [(run["name"], run["kind"], run["outcome"]) for run in told["runs"]] == [
        ("b.json", "probe", "found"),
        ("c.jsonl", "fit", "unfinished"),
        ("a.json", "probe", "found"),
    ]


def test_a_report_as_json_is_shown_again_when_it_is_named(folder):
    """Seen to fail with "it does not begin with a run"."""
    write_probe(folder / "a.json")
    write_fit(folder / "b.jsonl")
    assert report("a.json", "b.jsonl", "-o", "two.json")[0] == 0
    told = json.loads(report("two.json", "--json")[1])
    assert [run["name"] for run in told["runs"]] == ["a.json", "b.jsonl"]


def test_a_report_in_a_folder_does_not_show_its_runs_twice(folder):
    write_probe(folder / "a.json")
    write_fit(folder / "b.jsonl")
    assert report("a.json", "b.jsonl", "-o", "two.json")[0] == 0
    status, out, err = report(".")
    assert (status, out) == (0, "2 runs in autobatch-report.html\n")
    assert "'two.json' is a report" in err


def test_files_keep_the_order_in_which_they_are_named(folder):
    write_probe(folder / "a.json", started_at="2026-03-01T00:00:00+00:00")
    write_probe(folder / "b.json", started_at="2026-01-01T00:00:00+00:00")
    told = json.loads(report("b.json", "a.json", "--json")[1])
    assert [run["name"] for run in told["runs"]] == ["b.json", "a.json"]


def test_what_is_no_run_is_left_out_of_a_folder_and_said(folder):
    write_probe(folder / "a.json")
    (folder / "history.json").write_text("{}")
    status, out, err = report(".")
    assert (status, out) == (0, "1 run in autobatch-report.html\n")
    assert err.startswith("autobatch: left out: ")
    assert "history.json" in err


def test_a_report_of_a_folder_is_none_of_its_runs(folder):
    write_probe(folder / "a.json")
    write_probe(folder / "b.json")
    results = [report(".", "-o", "report.json") for _ in range(2)]
    assert results == [(0, "2 runs in report.json\n", "")] * 2


@pytest.mark.parametrize("name", ["x.html", "x.md", "x.json"])
def test_a_report_replaces_an_earlier_one(name, folder):
    write_probe(folder / "a.json")
    write_fit(folder / "b.jsonl")
    words = ("a.json", "b.jsonl", "-o", name)
    assert [report(*words)[0], report(*words)[0]] == [0, 0]


@pytest.mark.parametrize("name", ["mine.html", "mine.md", "mine.json", "other.html"])
def test_what_is_no_report_is_left_alone_unless_forced(name, folder):
    """Seen to fail with every file of that ending taken for a report."""
    write_probe(folder / "a.json")
    (folder / "mine.json").write_text("{}")
    (folder / name).write_text("mine")
    status, out, err = report("a.json", "-o", name)
    assert (status, out, (folder / name).read_text()) == (2, "", "mine")
    assert "--force" in err
    assert report("a.json", "-o", name, "--force")[0] == 0
    assert (folder / name).read_text() != "mine"


def test_a_saved_run_is_not_overwritten_by_its_report(folder):
    path = write_probe(folder / "a.json")
    before = path.read_bytes()
    assert report("a.json", "-o", "a.json")[0] == 2
    assert path.read_bytes() == before


def test_a_folder_of_that_name_is_left_alone(folder):
    write_probe(folder / "a.json")
    (folder / "x.html").mkdir()
    assert report("a.json", "-o", "x.html")[0] == 2


REFUSED = {
    "no such file": (["missing.json"], "cannot be read"),
    "not a run": (["text.json"], "holds no run of autobatch"),
    "a folder without runs": (["empty"], "There is no run in"),
    "another ending": (["run.json", "-o", "x.pdf"], "Expected a name in .html, .md or .json"),
    "no folder for it": (["run.json", "-o", "none/x.html"], "in a folder that exists"),
    "nothing": ([], "RUN"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_reported_is_said_and_nothing_is_written(what, folder):
    words, message = REFUSED[what]
    write_probe(folder / "run.json")
    (folder / "text.json").write_text("hello")
    (folder / "empty").mkdir()
    names = sorted(path.name for path in folder.iterdir())
    status, out, err = report(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert sorted(path.name for path in folder.iterdir()) == names
