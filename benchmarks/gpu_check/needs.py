"""What a check may need, and why it is not there; `python benchmarks/gpu_check/needs.py` prints the reasons.

It is asked in a process of its own: looking for memory pools starts CUDA, and a program that has CUDA open holds some
of the memory that the checks are about.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from groups import NoGroupError, memory_group

from autobatch.memory.cuda_pool import find_pools
from autobatch.memory.read import read_memory

_FRAMEWORK = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
_PATIENCE_S = 180


def gpu() -> str | None:
    """One that the driver tells of, and that TensorFlow can use."""
    reading = read_memory()
    if not reading.devices:
        return next((note for note in reading.notes if "GPU" in note or "CUDA" in note), "There is no GPU.")
    words = [sys.executable, "-c", _FRAMEWORK]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.stdout.split()[-1:] in ([], ["0"]):
        return f"TensorFlow does not use {reading.devices[0].name}: its build for GPUs or CUDA's libraries are missing."
    return None


def pools() -> str | None:
    """A GPU whose driver has memory pools."""
    found, notes = find_pools()
    if found and found[0]:
        return None
    return " ".join(notes) or "The driver has no memory pools for GPU:0."


def cgroup() -> str | None:
    """Root, and memory control groups."""
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
