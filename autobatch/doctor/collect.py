"""Looks at everything that a check-up needs; the one module of this room with side effects.

A worker process is started and ended, a file is made and removed in the folders, and Keras is imported. Nothing is
trained, and the framework takes no device.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from autobatch.backend import describe as describe_framework
from autobatch.backend import framework_packages
from autobatch.backend.base import Framework
from autobatch.doctor.facts import Kernel, MachineFacts, Package, Places
from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.cgroup import count_oom_kills, find_group, is_memory_backed
from autobatch.memory.sensors.cuda_pool import find_pools
from autobatch.memory.sensors.gpu import read_devices
from autobatch.memory.sensors.malloc import can_return_freed_memory
from autobatch.memory.sensors.nvml import read_driver
from autobatch.memory.sensors.procfs import in_host_pid_namespace, parse_fields, read_text, reset_peak_rss
from autobatch.probing.cache import default_folder
from autobatch.probing.trials.worker import SUPPORTED, UNSUPPORTED, WorkerProcess, worker_command

_OPTIONAL = {"matplotlib": "plot()", "pandas": "data from dataframes"}
_CONTAINERS = {".dockerenv": "/.dockerenv is there", "run/.containerenv": "/run/.containerenv is there"}
_WORKER_S = 30.0


def collect(
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    nvml: Any = None,
    driver: Any = None,
    describe: Callable[[], Framework] = describe_framework,
    try_worker: Callable[[Mapping[str, str]], str | None] | None = None,
    import_quietly: Callable[[], None] | None = None,
) -> MachineFacts:
    """Returns what can be seen from this process; /proc, /sys, /dev and the signs of a container are below `root`.

    `import_quietly` imports the framework without its greeting; an error is ignored, because `describe` finds it, too.
    """
    environ = os.environ if environ is None else environ
    proc, sys = root / "proc", root / "sys"
    version, notes = read_driver(nvml)
    # Memory first: Keras takes some hundred megabytes, and asking CUDA starts its driver.
    return MachineFacts(
        reading=read_memory(proc=proc, sys=sys, nvml=nvml),
        machine_gpus=read_devices(os.getpid(), nvml, {})[0],
        driver=version,
        driver_note=" ".join(notes),
        environ=dict(environ),
        kernel=_kernel(root, environ),
        places=_places(proc, environ, (try_worker or why_no_worker)(environ)),
        packages=read_packages(),
        framework=_described(describe, import_quietly),
        pools=find_pools(driver)[0],
        device_files=tuple(f"/dev/{path.name}" for path in sorted((root / "dev").glob("nvidia[0-9]*"))),
    )


def _described(describe: Callable[[], Framework], import_quietly: Callable[[], None] | None) -> Framework:
    if import_quietly is not None:
        with suppress(Exception):
            import_quietly()
    return describe()


def _kernel(root: Path, environ: Mapping[str, str]) -> Kernel:
    proc, sys = root / "proc", root / "sys"
    group = find_group(proc, sys)
    swap = parse_fields(read_text(proc / "meminfo") or "")
    return Kernel(
        group_version=None if group is None else group.version,
        counts_kills=count_oom_kills(proc, sys) is not None,
        resets_peak=reset_peak_rss(proc),
        returns_freed=can_return_freed_memory(),
        container=_container(root, environ),
        machines_numbers=in_host_pid_namespace(proc),
        swap_bytes=swap.get("SwapTotal"),
        swap_free_bytes=swap.get("SwapFree"),
        address_limit_bytes=_address_limit(),
    )


def _container(root: Path, environ: Mapping[str, str]) -> str | None:
    signs = [said for name, said in _CONTAINERS.items() if (root / name).exists()]
    if "KUBERNETES_SERVICE_HOST" in environ:
        signs.append("KUBERNETES_SERVICE_HOST is set")
    return ", ".join(signs) or None


def _address_limit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else int(soft)


def _places(proc: Path, environ: Mapping[str, str], worker_error: str | None) -> Places:
    temporary, cache = Path(tempfile.gettempdir()), default_folder(environ)
    return Places(
        worker_error=worker_error,
        cache=str(cache),
        cache_error=_why_unwritable(cache),
        temporary=str(temporary),
        temporary_in_memory=is_memory_backed(temporary, proc),
        temporary_free_bytes=_free_bytes(temporary),
    )


def why_no_worker(environ: Mapping[str, str]) -> str | None:
    """Starts the process that trials run in and lets it end; returns what went wrong."""
    if not SUPPORTED:
        return f"{UNSUPPORTED}."
    try:
        with tempfile.TemporaryDirectory(prefix="autobatch-") as folder:
            process = WorkerProcess(worker_command(), environ, Path(folder) / "output.log")
            status = process.finish(_WORKER_S)
            output = process.last_output()
    except OSError as error:
        return f"{error}."
    if status == 0:
        return None
    end = f"it did not end within {_WORKER_S:.0f} s" if status is None else f"it ended with exit status {status}"
    return f"{end}. {output.splitlines()[-1] if output else ''}".strip()


def _why_unwritable(folder: Path) -> str | None:
    """Returns why nothing can be written to a folder, or to the nearest one above it that exists."""
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return str(error.strerror or error)


def _free_bytes(folder: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def read_packages() -> tuple[Package, ...]:
    try:
        wanted = metadata.metadata("keras-autobatch")
        lines = metadata.requires("keras-autobatch") or []
    except metadata.PackageNotFoundError:  # it runs from a source tree
        needed = [Package(name, _installed_version(name)) for name in ("keras", "numpy", *framework_packages())]
    else:
        needed = [_package("Python", platform.python_version(), wanted["Requires-Python"] or "")]
        needed += required_packages(lines)
    return (*needed, *(Package(name, _installed_version(name), extra=extra) for name, extra in _OPTIONAL.items()))


def required_packages(lines: Iterable[str]) -> list[Package]:
    """Returns what requirements ask for beside what is installed; those of extras and of other systems are left out."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in lines]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [_package(one.name, _installed_version(one.name), str(one.specifier)) for one in here]


def _package(name: str, version: str | None, wanted: str) -> Package:
    return Package(name, version, wanted, None if version is None else fits(version, wanted))


def fits(version: str, wanted: str) -> bool | None:
    """Returns whether a version is among the wanted ones, `None` where that cannot be told.

    Example:
        >>> fits("1.17.0", "<2,>=1.11"), fits("2.0", "<2,>=1.11"), fits("odd", ">=1")
        (True, False, None)
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        # A build of one's own (2.21.0+local) or a release candidate is judged like its release.
        return bool(SpecifierSet(wanted).contains(Version(version), prereleases=True))
    except (InvalidSpecifier, InvalidVersion):
        return None


def _installed_version(name: str) -> str | None:
    """Returns the version of a package, or of the one that brings its module (tensorflow-cpu for tensorflow)."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    # This reads every package's list of files, which takes a second: only where the name alone does not do.
    others = metadata.packages_distributions().get(name)
    return metadata.version(others[0]) if others else None
