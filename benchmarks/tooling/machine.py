"""What was measured, and on what: processor, memory, versions, revision."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

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
    """The processor's name, as Linux tells it; else its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
