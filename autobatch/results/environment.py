"""What a run depended on, for whoever wants to run it again: versions, machine, limits, and the command.

Versions, machine and limits name no host, no user and no folder. The command keeps its words as they were typed, with
the folders and names among them: it is to be run again.
"""

import builtins
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from autobatch.memory.reading import MemoryReading

_PACKAGES = ("keras", "numpy", "nvidia-ml-py")
_PACKAGE = "autobatch"
# What starts a notebook's kernel is no command that would run the notebook again.
_LAUNCHERS = ("ipykernel_launcher.py", "colab_kernel_launcher.py")


def environment(
    reading: MemoryReading | None = None, *, packages: Sequence[str] = (), cpu_info: Path = Path("/proc/cpuinfo")
) -> dict[str, Any]:
    """Versions and machine as JSON-ready values; no name of a host, a user or a folder. Imports none of it.

    A version is `None` for what is not installed. `packages` are those of the framework, by their distributions' names.
    """
    versions = {name.replace("-", "_"): package_version(name) for name in (*packages, *_PACKAGES)}
    return {
        "autobatch": getattr(sys.modules.get(_PACKAGE), "__version__", None),
        "python": platform.python_version(),
        **versions,
        "platform": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_model": _cpu_model(cpu_info),
        **_keras(sys.modules.get("keras")),
        **({} if reading is None else _memory(reading)),
    }


def command(
    argv: Sequence[str] | None = None,
    original: Sequence[str] | None = None,
    main: ModuleType | None = None,
    *,
    interactive: bool | None = None,
) -> str | None:
    """What to type to run this process again: `autobatch ...`, or `python train.py ...`, quoted for a shell.

    `None` where there is none: in a notebook, in an interactive shell, or for code that was handed over on the command
    line or through a pipe.
    """
    argv = sys.argv if argv is None else argv
    original = sys.orig_argv if original is None else original
    main = sys.modules.get("__main__") if main is None else main
    if interactive is None:
        interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive) or hasattr(builtins, "__IPYTHON__")
    spec = getattr(main, "__spec__", None)
    if getattr(spec, "name", None) == f"{_PACKAGE}.__main__" or (argv and Path(argv[0]).name == _PACKAGE):
        return shlex.join([_PACKAGE, *argv[1:]])
    script = getattr(main, "__file__", None)
    if interactive or script is None or Path(script).name in _LAUNCHERS:
        return None
    return shlex.join(["python", *original[1:]])


def package_version(package: str) -> str | None:
    """The version of a distribution, imported or not; `None` for what is not installed."""
    # What is imported first: its package may have another name (tensorflow-cpu).
    version = getattr(sys.modules.get(package), "__version__", None)
    if version is not None:
        return str(version)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model(path: Path) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next((name for name in named if name), None)


def _keras(keras: ModuleType | None) -> Mapping[str, str | None]:
    if keras is None or not hasattr(keras, "config"):
        return {"keras_backend": None, "dtype_policy": None}
    return {"keras_backend": keras.config.backend(), "dtype_policy": keras.config.dtype_policy().name}


def _memory(reading: MemoryReading) -> dict[str, Any]:
    groups = [{"version": group.version, "limit_bytes": group.limit_bytes} for group in reading.control_groups]
    gpus = [{"name": one.name, "uuid": one.uuid, "total_bytes": one.total_bytes} for one in reading.devices]
    return {"host_total_bytes": reading.host.total_bytes, "control_groups": groups, "gpus": gpus}
