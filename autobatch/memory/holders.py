"""Who holds the memory: this process and the others, on the host and on each device.

In a container the driver may list the machine's numbers of processes, where the container has its own: the same number
can then mean two processes. Newer drivers translate them, and nothing says which do. So a number of the driver's is
taken for a process here only where this process sees the machine's own numbers, or where the process of that number has
opened CUDA's device; others are told with their number alone.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from autobatch.memory.cgroup import GroupPids, group_pids
from autobatch.memory.facts import DeviceUse, Holder, ResidentProcess
from autobatch.memory.gpu_uses import read_device_uses
from autobatch.memory.processes import is_known_here, read_processes
from autobatch.memory.reading import MemoryReading
from autobatch.memory.unclear import binding_group, what_is_unclear

_Used: TypeAlias = Mapping[int, tuple[tuple[int, int | None], ...]]


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds the memory.

    Attributes:
        shown: Those that hold most, the ones first that count against the limit; this process is always among them.
        left_out: How many more there are.
        notes: What could not be read or does not add up, one sentence each.
    """

    shown: tuple[Holder, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()


def read_holders(reading: MemoryReading, *, most: int = 10, proc: Path = Path("/proc"), nvml: Any = None) -> Holders:
    """Returns who holds the memory that a reading tells of; what can't be read is left out and noted.

    Args:
        reading: What limits this process; its devices and its control groups are looked into.
        most: How many processes to show.
        proc: Where the kernel's process files are.
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.

    Example:
        >>> from autobatch.memory.read import read_memory
        >>> holders = read_holders(read_memory())
        >>> sum(holder.own for holder in holders.shown)
        1
    """
    found, process_notes = read_processes(proc)
    processes = _with_own(found, reading)
    uses, use_notes = read_device_uses(nvml) if reading.devices else ((), ())
    group = binding_group(reading)
    members = None if group is None else group_pids(Path(group.path))
    here, elsewhere = _apart(processes, uses, proc)
    holders = [
        *(_holder(process, here.get(process.pid, ()), members) for process in processes),
        *(Holder(pid, None, None, devices) for pid, devices in elsewhere.items()),
    ]
    shown = _largest(holders, most, on_device=reading.budget().limit.kind == "device")
    notes = [*process_notes, *use_notes, *what_is_unclear(reading, holders, members)]
    # Both ask NVML: what the reading has said already is not said again.
    return Holders(shown, len(holders) - len(shown), tuple(note for note in notes if note not in reading.notes))


def _with_own(processes: Sequence[ResidentProcess], reading: MemoryReading) -> list[ResidentProcess]:
    """The processes with this one among them, whatever could be read."""
    pid = os.getpid()
    if any(process.pid == pid for process in processes):
        return list(processes)
    return [*processes, ResidentProcess(pid, Path(sys.executable).name, reading.process.rss_bytes)]


def _apart(processes: Sequence[ResidentProcess], uses: Sequence[DeviceUse], proc: Path) -> tuple[_Used, _Used]:
    """What the driver tells of processes that are here, and of others, by its numbers."""
    pids = {process.pid for process in processes}
    here: dict[int, tuple[tuple[int, int | None], ...]] = {}
    elsewhere: dict[int, tuple[tuple[int, int | None], ...]] = {}
    for use in uses:
        known = use.pid in pids and is_known_here(use.pid, proc)
        side = here if known else elsewhere
        side[use.pid] = (*side.get(use.pid, ()), (use.index, use.used_bytes))
    return here, elsewhere


def _holder(process: ResidentProcess, devices: tuple[tuple[int, int | None], ...], members: GroupPids | None) -> Holder:
    in_group = None if members is None else process.pid in members.seen
    return Holder(process.pid, process.name, process.rss_bytes, devices, process.pid == os.getpid(), in_group)


def _largest(holders: Sequence[Holder], most: int, *, on_device: bool) -> tuple[Holder, ...]:
    """Those to show: what counts against the limit first, then by size; this process in any case."""

    def order(holder: Holder) -> tuple[bool, int]:
        counts = bool(holder.device_bytes) if on_device else bool(holder.in_group)
        return counts, holder.held_bytes

    ranked = sorted(holders, key=order, reverse=True)
    shown = ranked[:most]
    if not any(holder.own for holder in shown):
        shown[most - 1 :] = [holder for holder in ranked if holder.own]
    return tuple(shown)
