"""The checks on a GPU in a control group that stands for one: real processes, seen from a second one.

What only a GPU can show (the driver's figures, its pools, its refusals) is not measured here, and has to say so. Checks
that train or probe take minutes: `AUTOBATCH_REHEARSE=1 pytest tests/benchmarks/test_gpu_check_smoke.py` plays them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_check import bystander, cycles, largest
from gpu_check import stage as stages
from groups import memory_group
from programs import environment
from tooling.results import read_folder, read_result

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow
rehearsal = pytest.mark.skipif(not os.environ.get("AUTOBATCH_REHEARSE"), reason="minutes long: set AUTOBATCH_REHEARSE")


@pytest.fixture
def _groups():
    """Skips where no control group can be made."""
    with memory_group(2**30):
        pass


def rehearse(folder, *names):
    """Rehearses checks through the script, and returns what is kept of them."""
    words = [sys.executable, str(CHECKOUT / "scripts" / "gpu_check"), "--stage", "cpu", "--quick"]
    words += ["--out", str(folder), "--only", *names]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return read_result(folder / "cpu-stage.json")


def met(result, title):
    """The goals of a check, by their texts."""
    return {goal.text.removeprefix(f"{title}: "): goal.met for goal in result.goals if goal.text.startswith(title)}


def program(check, folder):
    """What the program of a check writes in its quick form on a CPU."""
    path = folder / f"{check}.json"
    words = [sys.executable, str(CHECKOUT / "benchmarks" / "gpu_check" / f"{check}.py"), "--stage", "cpu", "--quick"]
    here = environment(PYTHONPATH=os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([*words, "--json", str(path)], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["benchmark"] == f"gpu_check/{check}"
    return written


@pytest.mark.cgroup
@pytest.mark.usefixtures("_groups")
def test_what_an_actor_takes_is_read_by_itself_and_from_outside_and_is_back_at_its_end(tmp_path):
    result = rehearse(tmp_path, "readings")
    assert met(result, "Readings") == {
        "a process reads what it has taken as its own": True,
        "another process reads it as that one's": True,
        "what is free falls by it": True,
        "and is back when it has ended": True,
    }
    assert [device for device, _ in read_folder(tmp_path / "results", tmp_path).gpus] == ["cpu-stage"]


@pytest.mark.cgroup
@pytest.mark.usefixtures("_groups")
def test_a_search_by_running_out_kills_a_bystander_however_busy_the_machine_is(tmp_path):
    """Seen to fail, on a busy machine, with a search that stays at the edge for a second."""
    with stages.opened("cpu", 500) as stage:
        control = bystander.control(stage, 16 * stages.MIB, tmp_path / "stop")
    assert (control.lived, control.ended, control.why) == (False, 0, "")


@rehearsal
@pytest.mark.timeout(900)
@pytest.mark.cgroup
@pytest.mark.usefixtures("_groups")
def test_a_bystander_lives_through_our_probe_and_a_search_by_running_out_kills_it(tmp_path):
    result = rehearse(tmp_path, "faults.bystander", "suite")
    assert met(result, "A bystander") == {
        "the bystander lives through our whole probe": True,
        "no trial of ours runs out of memory": True,
        "accelerate's or Lightning's search kills it": None,
    }
    assert met(result, "Tests") == {"all tests that need a GPU pass": None}


@rehearsal
@pytest.mark.timeout(900)
def test_a_cpu_shows_a_training_that_is_rolled_back(tmp_path):
    written = program("rollback", tmp_path)
    assert [goal["text"] for goal in written["goals"] if goal["met"] is False] == []


@rehearsal
@pytest.mark.timeout(900)
def test_a_cpu_shows_cycles_to_their_end(tmp_path):
    """What fits near the edge of a pool is partly luck, so how the goals come out is for a GPU to say."""
    written = program("cycles", tmp_path)
    assert len(written["goals"]) == 4
    assert len(written["samples"]["cycles"]) == cycles.LOOK.cycles


@rehearsal
@pytest.mark.timeout(900)
def test_a_cpu_shows_a_search_that_finds_the_largest(tmp_path):
    """How it stands beside others, and how near predictions come, is for a device and a net of some size to say."""
    written = program("largest", tmp_path)
    ours = written["samples"]["row"]["searches"][0]
    assert ours["answer_ran"]
    assert largest.USUAL < ours["answer"] <= written["samples"]["row"]["true_largest"]
    assert set(written["samples"]["speeds"]) == {"auto", "largest", "32"}
    probe = written["samples"]["probe"]
    assert [event["kind"] for event in probe][-1] == "found"
    assert 1 <= probe[-1]["size"] <= 16
