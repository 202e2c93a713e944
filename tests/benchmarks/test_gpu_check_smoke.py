"""The checks on a GPU, rehearsed in a control group that stands for one: real processes, seen from a second one.

What only a GPU can show (the driver's figures, its pools, its refusals) is not measured here, and has to say so. The
checks that train are left out for their time; `scripts/gpu_check --stage cpu --quick --out FOLDER` rehearses them all.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from groups import memory_group
from programs import environment
from tooling.results import read_folder, read_result

CHECKOUT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.cgroup]


@pytest.fixture(autouse=True)
def require_groups():
    """Skips where no control group can be made."""
    with memory_group(2**30):
        pass


def rehearse(folder, *names):
    """Rehearses checks through the script, and returns what is kept of them."""
    words = [sys.executable, str(CHECKOUT / "scripts" / "gpu_check"), "--stage", "cpu", "--quick"]
    words += ["--out", str(folder), "--only", *names]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_result(folder / "cpu-stage.json")


def met(result, title):
    """The goals of a check, by their texts."""
    return {goal.text.removeprefix(f"{title}: "): goal.met for goal in result.goals if goal.text.startswith(title)}


def test_what_an_actor_takes_is_read_by_itself_and_from_outside_and_is_back_at_its_end(tmp_path):
    result = rehearse(tmp_path, "readings", "suite")
    assert met(result, "Readings") == {
        "a process reads what it has taken as its own": True,
        "another process reads it as that one's": True,
        "what is free falls by it": True,
        "and is back when it has ended": True,
    }
    assert met(result, "Tests") == {"all tests that need a GPU pass": None}
    assert [device for device, _ in read_folder(tmp_path / "results", tmp_path).gpus] == ["cpu-stage"]


def test_a_bystander_lives_through_our_probe_and_a_search_by_running_out_kills_it(tmp_path):
    goals = met(rehearse(tmp_path, "faults.bystander"), "A bystander")
    assert goals == {
        "the bystander lives through our whole probe": True,
        "no trial of ours runs out of memory": True,
        "accelerate's or Lightning's search kills it": None,
    }
