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
    """What the system lets this process see and do."""

    group_version: int | None = 2  # of the memory control groups
    counts_kills: bool = True
    resets_peak: bool = True  # the high-water mark of resident memory
    returns_freed: bool = True  # the C library can hand freed memory back
    container: str | None = None  # how it can be told that this is one
    machines_numbers: bool = True  # its process ids are the machine's own, by which a driver knows them
    swap_bytes: int | None = 0
    swap_free_bytes: int | None = 0
    address_limit_bytes: int | None = None  # what may be mapped (`ulimit -v`), `None` for no limit


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
    name: str
    version: str | None  # what is installed
    wanted: str | None = None  # the versions that autobatch is made for, as "<2,>=1.11"
    fits: bool | None = None
    extra: str = ""  # what of autobatch it is for, where it can do without


@dataclass(frozen=True, slots=True)
class MachineFacts:
    framework: Framework
    reading: MemoryReading
    machine_gpus: tuple[Device, ...] = ()  # that the driver shows, hidden ones among them
    driver: Driver | None = None
    driver_note: str = ""  # why it cannot be asked
    pools: tuple[bool, ...] = ()  # for each GPU that CUDA counts, whether it has memory pools
    device_files: tuple[str, ...] = ()  # that a driver makes for its GPUs, as "/dev/nvidia0"
    environ: Mapping[str, str] = field(default_factory=dict)
    kernel: Kernel = field(default_factory=Kernel)
    places: Places = field(default_factory=Places)
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, in a sentence, and what to do about it."""

    group: Group
    name: str  # what was looked at
    state: State  # with a warning training works all the same, with a problem nothing can be trained
    found: str
    remedy: str | None = None


def ok(group: Group, name: str, found: str) -> Finding:
    return Finding(group, name, "ok", found)


def warning(group: Group, name: str, found: str, remedy: str) -> Finding:
    return Finding(group, name, "warning", found, remedy)


def problem(group: Group, name: str, found: str, remedy: str) -> Finding:
    return Finding(group, name, "problem", found, remedy)
