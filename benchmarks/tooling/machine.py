"""What was measured, and on what: processor, memory, versions, revision."""

import os
import platform
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import autobatch

_HERE = Path(__file__).resolve().parents[1]
_PACKAGES = ("keras", "tensorflow", "numpy", "scipy", "pillow")
# What some benchmarks measure beside, or with; said where it is installed.
_OTHERS = ("accelerate", "lightning", "torch", "opencv-python-headless")


def machine() -> dict[str, Any]:
    """What is measured on, as JSON-ready values that name no host and no user."""
    reading = autobatch.read_memory()
    limits = [group.limit_bytes for group in reading.control_groups]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "memory_limit_bytes": min(limits, default=None),
        "gpus": [device.name for device in reading.devices],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": _packages(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def revision(folder: Path = _HERE) -> str | None:
    """The commit that is measured, with a plus if something was changed since; `None` outside a checkout."""

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # Results and pages are made by measuring: they change nothing of what was measured.
        left_out = (":!results", ":!gpu", ":!RESULTS.md", ":!results.html")
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "../autobatch", "../tests/support", ".", *left_out
        )
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _packages() -> dict[str, str | None]:
    others = {name: _version(name) for name in _OTHERS}
    return {
        "autobatch": autobatch.__version__,
        **{name: _version(name) for name in _PACKAGES},
        **{name: found for name, found in others.items() if found is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


_MOST_LOAD = 0.25  # of a core, for each core
_MOST_BUSY = 0.10  # of a core, for a single process
_NAMED = 3
_GOVERNORS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Busy:
    """A process that computes."""

    pid: int  # of the process
    name: str  # of its program
    cores: float  # how many it keeps busy


def disturbances(load: float | None, cores: int, busy: Sequence[Busy], governors: Collection[str] = ()) -> list[str]:
    """What may disturb a measurement, a sentence each.

    Example:
        >>> disturbances(1.9, 2, [Busy(7, "make", 0.93)])[1]
        'Others compute: make (process 7, 0.93 cores). Measure when they have ended.'
    """
    said = []
    if load is not None and load > _MOST_LOAD * cores:
        said.append(f"The machine is busy: its load was {load:.1f} in the last minute, on {cores} cores.")
    loud = sorted((one for one in busy if one.cores >= _MOST_BUSY), key=lambda one: (-one.cores, one.pid))
    if loud:
        named = ", ".join(f"{one.name} (process {one.pid}, {one.cores:.2f} cores)" for one in loud[:_NAMED])
        more = f" and {len(loud) - _NAMED} more" if len(loud) > _NAMED else ""
        said.append(f"Others compute: {named}{more}. Measure when they have ended.")
    slow = sorted(set(governors) - {"performance"})
    if slow:
        said.append(f"The processors change their clock as they like (governor: {', '.join(slow)}).")
    return said


def look(seconds: float = 0.5, *, with_load: bool = True) -> list[str]:
    """What may disturb a measurement now, from the load, the other processes and the processors' clock."""
    load = os.getloadavg()[0] if with_load else None
    return disturbances(load, os.cpu_count() or 1, _busy(seconds), _governors())


def _busy(seconds: float) -> list[Busy]:
    before = _used()
    began = time.perf_counter()
    time.sleep(seconds)
    after, watched_s = _used(), time.perf_counter() - began
    return [
        Busy(pid, name, (used - before[pid][1]) / watched_s) for pid, (name, used) in after.items() if pid in before
    ]


def _used() -> dict[int, tuple[str, float]]:
    """Of each other process, its name and the processor time it has used."""
    facts = [one.info for one in psutil.process_iter(["pid", "name", "cpu_times"])]
    return {
        one["pid"]: (one["name"], one["cpu_times"].user + one["cpu_times"].system)
        for one in facts
        if one["cpu_times"] is not None and one["pid"] != os.getpid()
    }


def _governors(folder: Path = _GOVERNORS) -> set[str]:
    try:
        return {file.read_text(encoding="ascii").strip() for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    except OSError:
        return set()
