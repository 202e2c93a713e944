"""A supervised training that the kernel kills at any micro-batch ends as if nobody had killed it.

The training fills its control group on purpose, in the middle of a micro-batch, so that the kernel kills it. What
comes of it is compared with the same training in peace: weights, History, and the logbook that the model keeps of the
samples it was trained on, which is part of its state and so tells what the surviving state has really seen.
"""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import kill_scene
import numpy as np
import pytest
from groups import kills, memory_group
from nets import relative_l2
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.cgroup, pytest.mark.timeout(300)]

LIMIT_BYTES = 1792 * 2**20
SAMPLES, EFFECTIVE, MICRO, EPOCHS = 40, 8, 4, 3
UPDATES, CUT = SAMPLES // EFFECTIVE, EFFECTIVE // MICRO  # updates in an epoch, micro-batches in an update
SMALLER = {1: 3, 2: 2}  # the micro-batch after one kill, and after two
START = 'echo 0 > $1; shift; exec "$@"'


@dataclass(frozen=True)
class Told:
    """What a training left behind."""

    status: int
    kills: int
    remarks: str
    data: dict[str, Any]
    weights: list[np.ndarray]
    seen: np.ndarray


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(SAMPLES):
        pixels = draw.integers(0, 256, (kill_scene.SIDE, kill_scene.SIDE, 3), dtype=np.uint8)
        pixels[0, 0, 0] = number
        place = folder / f"class{number % kill_scene.CLASSES}"
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels, "RGB").save(place / f"{number:02}.png")
    return folder


def train(folder: Path, pictures: Path, lives: list[int], every_s: float) -> Told:
    """Runs the command in a group of its own; `lives` says at which micro-batch each life of the training ends."""
    (folder / "kills").write_text("\n".join(map(str, lives)))
    words = ["fit", "kill_scene:model", pictures, "--rescale", 1, "--epochs", EPOCHS, "--seed", 3, "--json"]
    words += ["--batch-size", EFFECTIVE, "--max-batch-size", MICRO, "--output", folder / "out.keras"]
    words += ["--checkpoint", folder / "run", "--checkpoint-every", every_s]
    environ = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(Path(kill_scene.__file__).parent), *sys.path]),
        "AUTOBATCH_CACHE_DIR": str(folder / "cache"),
        "KILL_SCENE": str(folder),
    }
    with memory_group(LIMIT_BYTES) as group:
        command = ["sh", "-c", START, "sh", group / "cgroup.procs", sys.executable, "-m", "autobatch", *words]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=280, check=False, env=environ
        )
        killed = kills(group)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-3000:]}"
    net = keras.saving.load_model(folder / "out.keras")
    logbook = net.get_layer("logbook")
    return Told(
        done.returncode,
        killed,
        done.stderr,
        json.loads(done.stdout),
        [np.array(variable.value) for variable in net.trainable_variables],
        np.array(logbook.seen.value)[: int(logbook.count.value)],
    )


@pytest.fixture(scope="module")
def peace(tmp_path_factory, pictures):
    """The same training, not disturbed."""
    told = train(tmp_path_factory.mktemp("peace"), pictures, [], 60.0)
    assert told.kills == 0
    return told


@dataclass(frozen=True)
class Plan:
    """At which micro-batch each life of a training ends, and how often it is saved: at every update, or epoch."""

    lives: list[int]
    every_s: float

    @classmethod
    def of(cls, seed: int) -> "Plan":
        draw = random.Random(seed + 20)
        at_every_update = seed % 2 == 0
        first = draw.randint(1 + CUT if at_every_update else 1 + CUT * UPDATES, CUT * UPDATES * EPOCHS)
        again = [draw.randint(1, CUT * UPDATES)] if seed % 3 == 1 else []
        return cls([first, *again], 1e-6 if at_every_update else 60.0)

    def goes_on(self) -> str:
        """Where the second life begins."""
        epoch, update = divmod((self.lives[0] - 1) // CUT, UPDATES)
        return f"from epoch {epoch + 1}, after update {update if self.every_s < 1 else 0}, "


# Saved at every epoch and killed twice, first in the middle of an update; saved at every update and killed between two.
@pytest.mark.parametrize("seed", [1, 2])
def test_a_training_killed_at_a_random_micro_batch_ends_as_if_it_had_not_been(seed, peace, pictures, tmp_path):
    """Seen to fail with the metrics, the optimizer or the position left out of what is restored, and the limit."""
    plan = Plan.of(seed)
    told = train(tmp_path, pictures, plan.lives, plan.every_s)
    assert told.kills == len(plan.lives), told.remarks
    assert told.remarks.count("the kernel killed the training for memory") == len(plan.lives)
    assert plan.goes_on() in told.remarks
    assert told.data["run"]["micro_batch_size"] == SMALLER[len(plan.lives)]
    assert told.seen.tolist() == peace.seen.tolist()
    assert relative_l2(told.weights, peace.weights) < 1e-5
    assert told.data["epochs"] == peace.data["epochs"]
    for name in ("loss", "accuracy"):
        assert told.data["history"][name] == pytest.approx(peace.data["history"][name], rel=1e-4)


def test_in_peace_every_sample_is_used_once_an_epoch(peace):
    """What the others are compared with."""
    assert np.array_equal(np.sort(peace.seen.reshape(EPOCHS, SAMPLES)), np.tile(np.arange(SAMPLES), (EPOCHS, 1)))
