"""The run of all benchmarks: it goes on when one fails, ends one that hangs, and leaves no process behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import environment
from tooling.catalogue import ENTRIES, Entry, is_ready
from tooling.machine import Busy, disturbances
from tooling.runner import INTERRUPTED, Settings, main, run_all, select

CHECKOUT = Path(__file__).parents[2]
BENCHMARKS = CHECKOUT / "benchmarks"
HARNESS = "def benchmark(*_): pass\n"
HEAD = "import sys, time, subprocess, os, pathlib\nfrom harness import benchmark\nfile = pathlib.Path(sys.argv[2])\n"
GOOD = "file.parent.mkdir(exist_ok=True)\nfile.write_text('{}')\n"
PROGRAMS = {
    "good": GOOD,
    "failing": "sys.exit(3)\n",
    "hanging": "subprocess.Popen(['sleep', '600'], start_new_session=True)\ntime.sleep(600)\n",
    "silent": "",
    "dying": "os.kill(os.getpid(), 9)\n",
    "leaving": GOOD + "subprocess.Popen(['sleep', '600'], start_new_session=True)\n",
    "last": GOOD,
}


def entry(name):
    # Far above what a program needs that does nothing, on the slowest of machines; the one that hangs waits for it.
    return Entry(name, name.title(), f"Why {name}?", 1 if name == "hanging" else 120, 1 if name == "hanging" else 120)


def programs(folder, *names):
    (folder / "harness.py").write_text(HARNESS, encoding="utf-8")
    for name in names:
        (folder / f"{name}.py").write_text(HEAD + PROGRAMS[name], encoding="utf-8")
    return [entry(name) for name in names]


def run(folder, *names):
    entries = programs(folder, *names)
    return run_all(entries, Settings(folder, folder / "results", grace_s=0.2), lambda _: [])


def lives(pid):
    """Whether there is such a process; one that is dead and still listed is none."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of_runs():
    def marked(one):
        try:
            return "AUTOBATCH_BENCHMARK_RUN" in one.environ() and lives(one.pid)
        except psutil.Error:
            return False

    return [one for one in psutil.process_iter() if marked(one)]


def test_all_run_in_order_whatever_becomes_of_one_which_leaves_no_process_and_in_the_end_it_is_told(tmp_path, capfd):
    """Seen to fail with a run that stops at the first failure, and with one that waits for what hangs.

    Also without a look at what bears the mark of the run: sleepers are in sessions of their own.
    """
    before = {one.pid for one in processes_of_runs()}
    failed = run(tmp_path, *PROGRAMS)
    assert {one.pid for one in processes_of_runs()} <= before
    said = capfd.readouterr().err
    assert failed == ["failing", "hanging", "silent", "dying", "leaving"]
    assert re.findall(r"^\[\d/7\] (\w+): Why \1\?", said, flags=re.MULTILINE) == list(PROGRAMS)
    assert said.rpartition("These failed:\n")[2].splitlines() == [
        "  failing: failed with status 3",
        "  hanging: not done at its deadline, and ended",
        "  silent: wrote no result",
        "  dying: failed with status -9",
        "  leaving: left 1 of its processes running; they are ended",
    ]
    assert sorted(one.name for one in (tmp_path / "results").iterdir()) == ["good.json", "last.json"]


def test_a_benchmark_that_fails_leaves_no_result_of_an_earlier_run(tmp_path):
    """Seen to fail with results that are left alone: the report would take the old one for what was measured now."""
    (tmp_path / "results").mkdir()
    old = tmp_path / "results" / "failing.json"
    old.write_text("{}", encoding="utf-8")
    run(tmp_path, "failing")
    assert not old.exists()


def test_a_program_that_is_not_there_is_told_and_not_started(tmp_path, capfd):
    run_all([entry("good")], Settings(tmp_path, tmp_path / "results"), lambda _: [])
    assert "  good: there is no benchmark in good.py" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_run_is_the_end_of_its_benchmark_which_tidies_up(tmp_path, number):
    """Seen to fail without the signal to the child, which is in a session of its own."""
    programs(tmp_path, "good")
    (tmp_path / "good.py").write_text(
        HEAD + f"here = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    (here / 'draft').write_text(str(child.pid))\n"
        "    (here / 'draft').rename(here / 'started')\n"
        "    time.sleep(600)\n"
        "finally:\n"
        "    (here / 'tidied').touch()\n",
        encoding="utf-8",
    )
    code = (
        "import sys; from pathlib import Path; from tooling.catalogue import Entry; from tooling.runner import main\n"
        f"sys.exit(main([], [Entry('good', 'G', 'Why?')], Path({str(tmp_path)!r}), lambda _: []))"
    )
    here = environment(PYTHONPATH=f"{BENCHMARKS}:{CHECKOUT}")
    with subprocess.Popen([sys.executable, "-c", code], env=here, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "Ended." in said
    assert (tmp_path / "tidied").exists()
    assert not lives(int((tmp_path / "started").read_text(encoding="utf-8")))


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([one.name for one in ENTRIES])), st.sets(st.sampled_from([one.name for one in ENTRIES]))
)
def test_what_runs_is_in_the_order_of_the_list_whatever_the_words(only, skip):
    names = [one.name for one in ENTRIES]
    assert [one.name for one in select(ENTRIES, only, skip)] == [n for n in names if n in only and n not in skip]
    assert [one.name for one in select(ENTRIES, None, skip)] == [n for n in names if n not in skip]


def test_the_quick_form_goes_to_a_folder_of_its_own_and_says_so_to_the_benchmark(tmp_path):
    entries = programs(tmp_path, "good")
    (tmp_path / "good.py").write_text(HEAD + GOOD + "assert '--quick' in sys.argv", encoding="utf-8")
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert main(["--quick"], entries, tmp_path, lambda _: []) == 0
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert (tmp_path / "results-quick" / "good.json").exists()


def test_the_list_names_all_in_order_and_runs_nothing(tmp_path, capsys):
    assert main(["--list"], programs(tmp_path, "good", "last"), tmp_path) == 0
    assert capsys.readouterr().out == "good  Why good?\nlast  Why last?\n"


def test_every_benchmark_is_in_the_list_and_in_the_readme():
    """Seen to fail with a program that the list lacks."""
    own = {"harness", "models", "releasable"}  # the last takes as long as all others
    ready = {path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in own and is_ready(path)}
    names = [one.name for one in ENTRIES]
    readme = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert ready <= set(names)
    assert re.findall(r"^\| `(\w+)` \|", readme, flags=re.MULTILINE) == names


@pytest.mark.parametrize(
    ("source", "ready"),
    [
        ("from harness import Findings, benchmark", True),
        ("from harness import Findings", False),
        ("import json", False),
        ("this is no Python", True),
        (None, False),
    ],
)
def test_a_program_is_one_that_can_be_run_if_it_speaks_the_interface(tmp_path, source, ready):
    """One that cannot be read is run, so that it fails in the open."""
    path = tmp_path / "x.py"
    if source is not None:
        path.write_text(source, encoding="utf-8")
    assert is_ready(path) == ready


@pytest.mark.parametrize(
    ("load", "busy", "governors", "said"),
    [
        (0.3, [Busy(7, "cron", 0.02)], {"performance"}, []),
        (None, [], (), []),
        (1.9, [], (), ["load was 1.9"]),
        (0.1, [Busy(7, "make", 0.93)], (), [r"make \(process 7, 0.93 cores\)\. Measure"]),
        (
            0.1,
            [Busy(n, f"p{n}", 0.2 + n / 10) for n in range(5)],
            (),
            [r"p4 \(process 4, 0.60 cores\), p3 .* and 2 more"],
        ),
        (0.1, [], {"powersave", "performance"}, [r"governor: powersave\)"]),
    ],
)
def test_what_disturbs_is_told_with_its_numbers(load, busy, governors, said):
    found = disturbances(load, 2, busy, governors)
    assert len(found) == len(said)
    for sentence, pattern in zip(found, said, strict=True):
        assert re.search(pattern, sentence)


@pytest.mark.parametrize("program", ["run", "report"])
def test_without_the_package_it_says_how_to_install_it(program, tmp_path):
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-E", str(BENCHMARKS / program)]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install -e '.[benchmarks]'" in done.stderr
    assert os.access(BENCHMARKS / program, os.X_OK)
