"""What a check-up looks at, and what it finds, as plain facts; `None` is unknown or not there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autobatch.backend.base import Framework
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Device, Driver

State = Literal["ok", "warning", "problem"]
Group = Literal["framework", "devices", "memory", "allocators", "trials", "packages"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the system lets this process see and do.

    Attributes:
        group_version: Of the memory control groups.
        resets_peak: Whether the high-water mark of resident memory can be set back.
        returns_freed: Whether the C library can hand freed memory back.
        container: How it can be told that this is a container.
        machines_numbers: Whether its numbers of processes are the machine's own, by which a driver knows them.
        address_limit_bytes: What this process may map (`ulimit -v`), `None` for no limit.
    """

    group_version: int | None = 2
    counts_kills: bool = True
    resets_peak: bool = True
    returns_freed: bool = True
    container: str | None = None
    machines_numbers: bool = True
    swap_bytes: int | None = 0
    swap_free_bytes: int | None = 0
    address_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where trials run and files are put; an error is why that cannot be, `None` if it can."""

    worker_error: str | None = None
    cache: str = "~/.cache/autobatch"
    cache_error: str | None = None
    temporary: str = "/tmp"  # noqa: S108 - shown, not opened
    temporary_in_memory: bool = False
    temporary_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A package that autobatch needs or can use.

    Attributes:
        version: What is installed.
        wanted: The versions that autobatch is made for, as "<2,>=1.11".
        fits: Whether the installed one is among them.
        extra: What of autobatch it is for, where it can do without; empty for one that it needs.
    """

    name: str
    version: str | None
    wanted: str | None = None
    fits: bool | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Everything that a check-up looks at.

    Attributes:
        machine_gpus: The GPUs that the driver shows, hidden ones among them.
        driver_note: Why the driver cannot be asked.
        pools: For each GPU that CUDA counts whether it has memory pools.
        device_files: The files that a driver makes for its GPUs, as "/dev/nvidia0".
    """

    framework: Framework
    reading: MemoryReading
    machine_gpus: tuple[Device, ...] = ()
    driver: Driver | None = None
    driver_note: str = ""
    pools: tuple[bool, ...] = ()
    device_files: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    kernel: Kernel = field(default_factory=Kernel)
    places: Places = field(default_factory=Places)
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        name: What was looked at.
        state: `ok`; `warning`, where something is missing and training works all the same; `problem`, where nothing can
            be trained.
        found: What it is, in a sentence.
        remedy: What to do about it.
    """

    group: Group
    name: str
    state: State
    found: str
    remedy: str | None = None


def ok(group: Group, name: str, found: str) -> Finding:
    return Finding(group, name, "ok", found)


def warning(group: Group, name: str, found: str, remedy: str) -> Finding:
    return Finding(group, name, "warning", found, remedy)


def problem(group: Group, name: str, found: str, remedy: str) -> Finding:
    return Finding(group, name, "problem", found, remedy)
