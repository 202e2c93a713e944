"""Promises 1 to 3 where they can be lost: in a control group whose limit kills.

A user's process looks for the largest size in a group of its own and then trains at it, 20 updates and an evaluation.
The budget is what the trials had: the group's limit, less the reserve, what the process holds, and what the worker
holds by itself (it stands beside the process while it proves a size: 234 MiB of it come with importing TensorFlow).

That the answer is near the true largest is shown by a fresh process, without a worker and under no limit, that trains
as the user's does at a ninth more samples: its high-water mark grows by more than the budget.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from groups import kills, memory_group

from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.cgroup, pytest.mark.timeout(900)]

MIB = 2**20
SCENE = Path(__file__).parent.parent / "support" / "budget_scene.py"
UPDATES = 20
NO_LIMIT = 1 << 40


@dataclass(frozen=True)
class Scene:
    """What a process said that looked for a size in a group, and what became of the group."""

    said: dict[str, Any]
    kills: int

    @property
    def result(self) -> ProbeResult:
        return ProbeResult.from_dict(self.said["result"])

    @property
    def budget_bytes(self) -> int:
        return self.result.budgets["host"]


def run_in(group: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join([str(SCENE.parent), *sys.path])}
    command = [sys.executable, str(SCENE), str(group / "cgroup.procs"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, env=environ)


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-3000:]}"
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with memory_group(1150 * MIB) as group:
        yield Scene(answer(run_in(group, "find")), kills(group))


def test_no_trial_was_killed_and_nothing_else_was(scene: Scene) -> None:
    """Seen to fail with a worker that reports 0.6 of its peak and has no `WORST` to speak of."""
    assert {trial.outcome for trial in scene.result.trials} <= {Outcome.RAN, Outcome.OVER_BUDGET}
    assert scene.kills == 0


def test_the_size_that_is_returned_trains_within_the_budget(scene: Scene) -> None:
    """The worker is gone by then, so the process has its own budget."""
    assert scene.said["updates"] == UPDATES
    assert scene.said["growth_bytes"] <= scene.said["free_bytes"]


def test_what_would_be_worth_trying_is_over_the_budget(scene: Scene) -> None:
    assert scene.said["too_large_by"] > 0


def test_it_is_near_the_true_largest(scene: Scene) -> None:
    """One in a dozen runs of a size takes a tenth less: it is what it may take that counts.

    Seen to fail (184 of 240), as the one above, with bounds that are 30 % too high.
    """
    found = scene.result.max_batch_size
    more = int(found / 0.9) + 1
    growths: list[int] = []
    with memory_group(NO_LIMIT) as group:
        while len(growths) < 3 and max(growths, default=0) <= scene.budget_bytes:
            said = answer(run_in(group, str(more)))
            assert said["updates"] == UPDATES
            growths.append(int(said["growth_bytes"]))
    print(f"\n{found} samples; {[growth // MIB for growth in growths]} MiB at {more};")
    print(f"budget {scene.budget_bytes // MIB} MiB, of the process alone {scene.said['free_bytes'] // MIB};")
    print(scene.result.summary())
    assert max(growths) > scene.budget_bytes


def test_a_trial_that_is_killed_for_real_takes_only_itself() -> None:
    """The worker reports half its peaks, so sizes are tried that don't fit.

    Seen to fail with the kernel's count of kills unread. (It holds without the worker's offer to be killed first, too:
    here the worker is the largest process of the group.)
    """
    with memory_group(900 * MIB) as group:
        said = answer(run_in(group, "halved"))
        killed = kills(group)
    result = ProbeResult.from_dict(said["result"])
    sizes = [trial.size for trial in result.trials]
    outcomes = [trial.outcome for trial in result.trials]
    first = outcomes.index(Outcome.OUT_OF_MEMORY)
    assert outcomes.count(Outcome.OUT_OF_MEMORY) == killed >= 1
    assert Outcome.KILLED not in outcomes
    assert all(size < sizes[first] for size in sizes[first + 1 :])
    assert result.batch_size in sizes
    assert said["updates"] == UPDATES
