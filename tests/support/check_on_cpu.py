"""A check of `scripts/gpu_check` as its program, on a CPU: it shows that the check works, and measures nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from programs import environment

_CHECKOUT = Path(__file__).resolve().parents[2]


def look(check: str, folder: Path, *words: str) -> dict[str, Any]:
    """Runs its quick form on a CPU; what it has written."""
    path = folder / f"{check}.json"
    program = str(_CHECKOUT / "benchmarks" / "gpu_check" / f"{check}.py")
    command = [sys.executable, program, "--stage", "cpu", "--quick", "--json", str(path), *words]
    here = environment(PYTHONPATH=os.pathsep.join([str(_CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert written["benchmark"] == f"gpu_check/{check}"
    return written


def missed(written: dict[str, Any]) -> list[str]:
    """The goals that it has not reached."""
    return [goal["text"] for goal in written["goals"] if goal["met"] is False]
