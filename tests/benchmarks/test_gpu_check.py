"""The run of the checks on a GPU: the file is its state, no check costs another, and what is not measured says so."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from gpu_check.checks import CHECKS, Check
from gpu_check.parts import DONE, FAILED, SKIPPED, TIMED_OUT, compose, due, merged, part, parts_of
from gpu_check.runner import INTERRUPTED, main, read_parts
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import environment
from tooling.findings import SCHEMA_VERSION, Chart, Goal, Table
from tooling.pages import html_page, markdown_page
from tooling.results import read_folder, read_result, write_result

CHECKOUT = Path(__file__).parents[2]
BENCHMARKS = CHECKOUT / "benchmarks"
MACHINE = {"processor": "A CPU", "cores": 2, "memory_bytes": 2**34, "system": "Linux 6", "python": "3.11.7"}
HERE = {"device": "NVIDIA H200", "missing": {}}
NOWHERE = {"device": None, "missing": {"gpu": "No GPU is counted: there is none.", "pools": "No driver."}}
HARNESS = "def benchmark(*_): pass\n"
HEAD = """import json, os, pathlib, signal, subprocess, sys, time
from harness import benchmark
name = pathlib.Path(__file__).stem
file, values = pathlib.Path(sys.argv[2]), json.loads((pathlib.Path(__file__).parent / "values.json").read_text())
with open(pathlib.Path(__file__).parent / "ran", "a") as ran: ran.write(name + "\\n")
def done(): file.write_text(json.dumps(values | {"title": name, "quick": "--quick" in sys.argv}))
"""
PROGRAMS = {
    "good": "done()\n",
    "failing": "sys.exit(3)\n",
    "hanging": "time.sleep(600)\n",
    "nonsense": "file.write_text('{}')\n",
    "ending": "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)\n",
    "last": "done()\n",
}


def values(title="Good", *, quick=False, measured_at="2026-01-02T03:04:05+00:00", revision="0123456789"):
    """A result as the program of a check writes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": f"gpu_check/{title}",
        "title": title,
        "question": "Why?",
        "quick": quick,
        "command": "python",
        "measured_at": measured_at,
        "seconds": 1.5,
        "revision": revision,
        "machine": MACHINE,
        "tables": [asdict(Table("Bytes", ("who", "MiB"), [["ours", 12]]))],
        "goals": [asdict(Goal("all of it", True, "all"))],
        "notes": ["A note."],
        "samples": {"raw": [1, 2]},
        "charts": [asdict(Chart("Over time", "s", "MiB", {"ours": [(0.0, 1.0), (1.0, 2.0)]}))],
    }


def checks(*names, needs=()):
    # Far above what a program needs that does nothing, on the slowest of machines; the one that hangs waits for it.
    limit_s = {"hanging": 1}
    return tuple(Check(name, name.title(), f"Why {name}?", *[limit_s.get(name, 60)] * 2, needs) for name in names)


def run(folder, *names, words=(), needs=(), found=HERE):
    (folder / "harness.py").write_text(HARNESS, encoding="utf-8")
    (folder / "values.json").write_text(json.dumps(values()), encoding="utf-8")
    for name in names:
        (folder / f"{name}.py").write_text(HEAD + PROGRAMS[name], encoding="utf-8")
    return main(["--out", str(folder / "out"), *words], checks(*names, needs=needs), folder, lambda: found)


def ran(folder):
    return (folder / "ran").read_text(encoding="utf-8").split() if (folder / "ran").exists() else []


def kept(folder):
    return read_parts(folder / "out" / "nvidia-h200.json")


def test_without_a_gpu_every_check_is_skipped_with_its_reason_and_nothing_is_written(tmp_path, capfd):
    """Seen to fail with a file that holds nothing but reasons."""
    assert run(tmp_path, "good", "last", needs=("gpu",), found=NOWHERE) == 0
    assert capfd.readouterr().err.count("skipped: No GPU is counted: there is none.") == 2
    assert not (tmp_path / "out").exists()
    assert ran(tmp_path) == []


def test_one_that_fails_hangs_dies_or_writes_nonsense_costs_no_other(tmp_path, capfd):
    """Seen to fail with a run that stops at the first failure, and with one that believes whatever was written."""
    names = ["good", "failing", "hanging", "nonsense", "last"]  # what else may happen is the benchmarks' own to test
    assert run(tmp_path, *names) == 1
    capfd.readouterr()
    states = {name: (one["state"], one["why"]) for name, one in kept(tmp_path).items()}
    assert ran(tmp_path) == names
    assert states["good"] == states["last"] == (DONE, "")
    assert states["failing"] == (FAILED, "failed with status 3")
    assert states["hanging"] == (TIMED_OUT, "not done at its deadline, and ended")
    assert states["nonsense"][0] == FAILED
    assert "holds no result" in states["nonsense"][1]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "nvidia-h200.json",
        "nvidia-h200.samples.json.gz",
    ]


def test_a_run_that_is_ended_loses_the_check_it_was_in_and_the_next_one_goes_on_there(tmp_path):
    """Seen to fail with the file written at the end of the run."""
    (tmp_path / "harness.py").write_text(HARNESS, encoding="utf-8")
    (tmp_path / "values.json").write_text(json.dumps(values()), encoding="utf-8")
    for name in ("good", "ending", "last"):
        (tmp_path / f"{name}.py").write_text(HEAD + PROGRAMS[name], encoding="utf-8")
    start = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(BENCHMARKS), str(CHECKOUT / "tests" / "support")]!r}
from test_gpu_check import HERE, Path, checks, main
folder = Path({str(tmp_path)!r})
sys.exit(main(["--out", str(folder / "out")], checks("good", "ending", "last"), folder, lambda: HERE))
"""
    ended = subprocess.run(
        [sys.executable, "-c", start], check=False, capture_output=True, text=True, env=environment(), timeout=120
    )
    assert ended.returncode == INTERRUPTED, ended.stderr
    assert list(kept(tmp_path)) == ["good"]
    (tmp_path / "ending.py").write_text(HEAD + PROGRAMS["good"], encoding="utf-8")
    again = main(["--out", str(tmp_path / "out")], checks("good", "ending", "last"), tmp_path, lambda: HERE)
    assert again == 0
    assert ran(tmp_path) == ["good", "ending", "ending", "last"]


def test_nothing_is_begun_that_may_take_longer_than_is_left(tmp_path, capfd):
    """Seen to fail with a check that is begun and cut off."""
    assert run(tmp_path, "good", "hanging", words=("--seconds", "10")) == 1
    assert "good: not begun: it may take 60 s" in capfd.readouterr().err
    assert ran(tmp_path) == ["hanging"]


def test_a_quick_part_is_replaced_by_a_full_one_and_never_the_other_way(tmp_path):
    """Seen to fail with what was found last in place of what is worth more."""
    assert run(tmp_path, "good", words=("--quick",)) == 0
    assert kept(tmp_path)["good"]["quick"] is True
    assert run(tmp_path, "good", words=("--quick",)) == 0
    assert ran(tmp_path) == ["good"]
    assert run(tmp_path, "good") == 0
    assert kept(tmp_path)["good"]["quick"] is False
    assert run(tmp_path, "good", words=("--quick", "--again", "good")) == 0
    assert kept(tmp_path)["good"]["quick"] is False
    assert ran(tmp_path) == ["good"] * 3


def test_a_check_that_cannot_be_run_today_keeps_what_it_has_found_and_one_that_fails_does_not():
    found = {"good": part(DONE, quick=False, result=values())}
    assert merged(found, "good", part(SKIPPED, quick=False, why="No GPU.")) == found
    assert merged(found, "good", part(FAILED, quick=True, why="It broke.")) == found
    assert merged(found, "good", part(FAILED, quick=False, why="It broke."))["good"]["state"] == FAILED


def test_a_file_that_holds_something_else_is_not_written_over(tmp_path, capfd):
    file = tmp_path / "out" / "nvidia-h200.json"
    write_result(file, values())
    before = file.read_text(encoding="utf-8")
    assert run(tmp_path, "good") == 1
    assert "Nothing was run" in capfd.readouterr().err
    assert (file.read_text(encoding="utf-8"), ran(tmp_path)) == (before, [])


def test_a_check_whose_need_or_program_is_missing_says_which_beside_those_that_run(tmp_path):
    assert run(tmp_path, "good") == 0
    two = (*checks("good"), *checks("absent"), *checks("last", needs=("pools",)))
    assert main(["--out", str(tmp_path / "out")], two, tmp_path, lambda: HERE | {"missing": NOWHERE["missing"]}) == 0
    assert kept(tmp_path)["absent"]["why"] == "there is no program absent.py yet"
    page = markdown_page(read_folder(tmp_path / "results", tmp_path / "out"))
    assert "not measured**: Absent: Why absent?" in page.replace("\\", "")


def test_a_rehearsal_goes_to_no_folder_of_real_results(tmp_path):
    with pytest.raises(SystemExit):
        main(["--stage", "cpu"], checks("good"), tmp_path, lambda: NOWHERE)


def test_the_composed_file_is_a_result_that_the_pages_show_with_all_it_holds(tmp_path):
    """Seen to fail with titles that do not name their check: two checks may call a table the same."""
    parts = {
        "good": part(DONE, quick=True, seconds=2, result=values(revision="a", quick=True)),
        "last": part(DONE, quick=False, seconds=3, result=values("Last", revision="b")),
        "failing": part(FAILED, quick=False, why="failed with status 3", seconds=1),
    }
    file = tmp_path / "gpu" / "nvidia-h200.json"
    write_result(file, compose(parts, checks("good", "failing", "last", "silent"), MACHINE, "scripts/gpu_check"))
    result = read_result(file)
    assert (result.quick, result.seconds, result.revision) == (True, 5, "a and b")
    assert [table.title for table in result.tables] == ["Checks", "Good: Bytes", "Last: Bytes"]
    folder = read_folder(tmp_path / "results", tmp_path / "gpu")
    for page in (markdown_page(folder), html_page(folder)):
        assert "nvidia-h200: On a real GPU" in page
        assert "Silent: Why silent?" in page
        assert "failed with status 3" in page
        assert "Last: A note." in page


STATES = st.sampled_from((DONE, FAILED, TIMED_OUT, SKIPPED))
NAMES = st.sampled_from(("good", "last", "of a newer program", "faults.cycles"))
SOME = st.dictionaries(
    NAMES,
    st.builds(
        lambda state, quick: part(state, quick=quick, why="why", result=values() if state == DONE else None),
        STATES,
        st.booleans(),
    ),
)


@settings(max_examples=25)
@given(SOME)
def test_parts_come_back_from_the_file_whole_whatever_the_list_knows(parts):
    """Seen to fail with the parts of the list alone: a file of a newer program lost its own."""
    known = checks("good", "last")
    composed = compose(parts, known, MACHINE, "scripts/gpu_check")
    assert parts_of(json.loads(json.dumps(composed["samples"]))) == json.loads(json.dumps(parts))
    backwards = dict(reversed(list(parts.items())))
    again = compose(backwards, known, MACHINE, "scripts/gpu_check")
    assert {**again, "samples": None} == {**composed, "samples": None}


@settings(max_examples=25)
@given(SOME, st.booleans())
def test_what_is_done_is_due_no_more_but_for_a_full_form_of_what_was_quick(parts, quick):
    known = checks("good", "last")
    waiting = {one.name for one in due(known, parts, quick=quick)}
    for one in known:
        state = parts.get(one.name)
        done = state is not None and state["state"] == DONE and (quick or not state["quick"])
        assert (one.name in waiting) is not done
    assert due(known, parts, quick=quick, again=["last"])[-1:] == [known[1]]


def test_every_check_of_the_list_has_a_name_a_question_and_time_for_its_full_form():
    assert len({one.name for one in CHECKS}) == len(CHECKS)
    for one in CHECKS:
        assert one.asks.endswith("?"), one.name
        assert one.deadline_s >= one.quick_deadline_s > 0, one.name


def test_the_script_starts_and_says_what_there_is():
    words = [sys.executable, str(CHECKOUT / "scripts" / "gpu_check"), "--list"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("\n")) >= len(CHECKS)
