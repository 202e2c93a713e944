"""Promise 5 and 8 for real: a neighbour takes the memory that a training was sized for, and gives it back.

Both are in a control group with a hard limit, which MobileNetV2 at 64 samples fills to about 80 %. The kernel kills
inside it. The fastest neighbour comes here, once; `AUTOBATCH_SEEDS=5` has it and slower ones come as often as wanted,
and `benchmarks/neighbour.py` draws what happens.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groups import kills, memory_group
from neighbour_scene import EFFECTIVE, MIB, Played, play
from nets import relative_l2

from autobatch.data.epoch import rungs

pytestmark = [pytest.mark.slow, pytest.mark.cgroup, pytest.mark.timeout(600)]

# The net, the limit of the group, and what the neighbour takes of it, in MiB. MobileNetV2 at 64 samples was seen with
# 1,700 to 2,000 MiB of its own under `share_memory`.
DEEP = ("MobileNetV2", 2400, 1200)
PLAIN = ("conv net", 1400, 700)
SEEDS = int(os.environ.get("AUTOBATCH_SEEDS", "0"))
PAIRS = [(rate, seed) for rate in (50, 150, 300) for seed in range(SEEDS)] or [(300, 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures are, and the trials of a training that had the machine for itself."""
    place = tmp_path_factory.mktemp("neighbour")
    alone = play(place, group=None, net=DEEP[0], trainer="autobatch", updates=1)
    assert alone.trainer == 0, alone.stderr
    return place


@pytest.fixture(params=PAIRS, ids=lambda p: f"{p[0]} MiB/s, seed {p[1]}")
def scene(request: Any, folder: Path) -> Iterator[tuple[Played, int]]:
    rate, seed = request.param
    net, limit, amount = DEEP
    with memory_group(limit * MIB) as group:
        played = play(
            folder,
            group=group,
            net=net,
            trainer="autobatch",
            seed=seed,
            rate_mib_s=rate,
            amount_mib=amount,
            hold_s=3.0,
        )
        yield played, kills(group)


def test_both_live_and_the_training_makes_way_and_comes_back(scene: tuple[Played, int]) -> None:
    """Seen to fail (the training is killed) with a policy that never shrinks; so is Keras, below."""
    played, killed = scene
    assert (played.trainer, played.neighbour, killed) == (0, 0, 0), played.stderr
    micros = played.micros
    assert micros[0] == EFFECTIVE
    assert min(micros) < EFFECTIVE / 2
    assert micros[-1] == EFFECTIVE
    # Down the ladder and up again, and a few changes of mind while the neighbour is on its way.
    assert len(micros) - 1 <= 2 * len(rungs(EFFECTIVE, EFFECTIVE))


def test_plain_keras_at_the_same_size_is_killed(folder: Path) -> None:
    net, limit, amount = DEEP
    with memory_group(limit * MIB) as group:
        played = play(
            folder, group=group, net=net, trainer="keras", rate_mib_s=150, amount_mib=amount, allocator="default"
        )
        assert played.trainer == -9
        assert kills(group) >= 1


def test_what_is_computed_stays_the_same(tmp_path: Path) -> None:
    """A net without batch statistics, 40 updates with a pause after each, beside the same in calm.

    The weights were seen to differ by 1e-5 at most, which is rounding. Seen to fail (by 1e-2) with half of what is left
    of an update dropped when it is cut again.
    """
    net, limit, amount = PLAIN
    calm = play(tmp_path, group=None, net=net, trainer="autobatch", updates=40)
    assert calm.micros == [EFFECTIVE]
    with memory_group(limit * MIB) as group:
        played = play(
            tmp_path,
            group=group,
            net=net,
            trainer="autobatch",
            rate_mib_s=150,
            amount_mib=amount,
            updates=40,
            pause_s=0.2,
        )
    assert (played.trainer, played.neighbour) == (0, 0), played.stderr
    assert min(played.micros) < EFFECTIVE / 2
    with np.load(played.summary["weights"]) as ours, np.load(calm.summary["weights"]) as theirs:
        assert len(ours.files) == len(theirs.files) > 0
        assert relative_l2([ours[name] for name in ours.files], [theirs[name] for name in theirs.files]) < 1e-4
