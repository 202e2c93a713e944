"""All checks, in the order of their worth, what each needs, and why that is not there.

`python benchmarks/gpu_check/checks.py` prints what is missing. It is asked in a process of its own: looking for memory
pools starts CUDA, and a program that has CUDA open holds some of the memory that the checks are about.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from groups import NoGroupError, memory_group

from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.cuda_pool import find_pools

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    name: str  # what it is called on the command line; "faults" means all of `faults.*`
    title: str  # for people
    asks: str  # what it answers
    deadline_s: float = 300  # after which its full form is ended
    quick_deadline_s: float = 150  # the same of its quick form
    needs: tuple[str, ...] = ("gpu",)  # what must be there for it to be run: keys of `NEEDS`
    words: tuple[str, ...] = ()  # what the program is given besides where to write, its form and its stage

    @property
    def program(self) -> str:
        """Its file, without the ending: one for each of the faults, one for all of `largest.*`."""
        return self.name.removeprefix("faults.").partition(".")[0]

    def path(self, folder: Path = FOLDER) -> Path:
        return folder / f"{self.program}.py"

    def limit_s(self, *, quick: bool) -> float:
        return self.quick_deadline_s if quick else self.deadline_s


_NETS = ("MobileNetV2 at 224", "ResNet50 at 224", "EfficientNetB0 at 224", "transformer")
_POLICIES = {"float32": "float32", "mixed": "mixed_float16"}


def _largest(net: str, policy: str, *, xla: bool) -> Check:
    how = "xla" if xla else "plain"
    short = net.replace(" at ", "@")
    words = ("--net", net, "--policy", _POLICIES[policy], *["--xla"] * xla)
    title = f"Largest size and speed: {net}, {policy}, {'with' if xla else 'without'} XLA"
    asks = "How near is the answer to the largest size, how soon, and how fast does it train?"
    return Check(f"largest.{short}.{policy}.{how}", title, asks, 500, 300, words=words)


CHECKS: tuple[Check, ...] = (
    Check("readings", "Readings", "Are the readings of a GPU, and of who holds it, the driver's?", 240, 120),
    Check("trials", "Trials", "Are told peaks those seen from outside, and is their memory gone?", 600, 400),
    Check(
        "sharing", "Sharing", "Do the bytes come back within one micro-batch of a shrink?", 500, 300, ("gpu", "pools")
    ),
    Check("faults.bystander", "A bystander", "Does a job on the same GPU live through the search?", 900, 540),
    Check("faults.neighbour", "A neighbour", "Does a training outlive a neighbour that grabs memory?", 900, 300),
    Check("faults.rollback", "A real failure", "Is what runs out of memory undone, bit for bit?", 400, 240),
    Check("faults.cycles", "Failures in a row", "Do 20 failures leave throughput and capacity?", 500, 300),
    Check("joint", "Joint limits", "Do the host and the GPU decide together?", 450, 450, ("gpu", "cgroup")),
    *(_largest(net, "float32", xla=False) for net in _NETS),
    Check("suite", "Tests", "Do the tests pass that need a GPU?", 400, 400),
    *(
        _largest(net, policy, xla=xla)
        for net, policy, xla in product(_NETS, _POLICIES, (False, True))
        if policy != "float32" or xla
    ),
)


def select(checks: Iterable[Check], words: Iterable[str] | None) -> list[Check]:
    """The checks that some words name, in the order of the list; all if there are no words.

    Example:
        >>> some = [Check(name, "", "") for name in ("readings", "faults.cycles", "faultless")]
        >>> [one.name for one in select(some, ["faults"])]
        ['faults.cycles']
    """
    wanted = None if words is None else set(words)
    return [one for one in checks if wanted is None or wanted & set(_names(one))]


def names(checks: Iterable[Check]) -> list[str]:
    return list(dict.fromkeys(name for one in checks for name in _names(one)))


def _names(check: Check) -> list[str]:
    pieces = check.name.split(".")
    return [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]


_FRAMEWORK = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
_PATIENCE_S = 180


def gpu() -> str | None:
    reading = read_memory()
    if not reading.devices:
        return next((note for note in reading.notes if "GPU" in note or "CUDA" in note), "There is no GPU.")
    words = [sys.executable, "-c", _FRAMEWORK]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.stdout.split()[-1:] in ([], ["0"]):
        return f"TensorFlow does not use {reading.devices[0].name}: its build for GPUs or CUDA's libraries are missing."
    return None


def pools() -> str | None:
    found, notes = find_pools()
    if found and found[0]:
        return None
    return " ".join(notes) or "The driver has no memory pools for GPU:0."


def cgroup() -> str | None:
    try:
        with memory_group(2**30):
            return None
    except NoGroupError as error:
        return str(error)


NEEDS: dict[str, Callable[[], str | None]] = {"gpu": gpu, "pools": pools, "cgroup": cgroup}


def look() -> dict[str, Any]:
    """What is missing, each with its reason, and what the GPU is called; asked in a process of its own."""
    words = [sys.executable, str(Path(__file__).resolve())]
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=2 * _PATIENCE_S)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        return {"device": None, "missing": dict.fromkeys(NEEDS, f"Looking for it failed: {said or error}"[-500:])}
    return found


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    MISSING = {name: why for name, look_for in NEEDS.items() if (why := look_for()) is not None}
    DEVICES = read_memory().devices
    print(json.dumps({"device": DEVICES[0].name if DEVICES else None, "missing": MISSING}))
