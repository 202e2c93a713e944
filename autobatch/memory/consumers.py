"""Who holds the memory: this process and the others, on the host and on each device.

In a container the driver may list the machine's numbers of processes, where the container has its own: the same number
can then mean two processes. Newer drivers translate them, and nothing says which do. So a number of the driver's is
taken for a process here only where this process sees the machine's own numbers, or where the process of that number has
opened CUDA's device; others are told with their number alone.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from autobatch._text import MIB, format_bytes
from autobatch.memory.reading import MemoryReading
from autobatch.memory.sensors.cgroup import GroupPids, read_group_pids
from autobatch.memory.sensors.gpu import read_device_uses
from autobatch.memory.sensors.procfs import is_local_pid, read_processes
from autobatch.memory.types import Consumer, ControlGroup, DeviceUse, ResidentProcess

# Less than this is the kernel's own, everywhere and always.
_LEAST_BYTES, _LEAST_SHARE = 64 * MIB, 0.05

# The devices that a process uses, as numbers and bytes, and those of each process
_Devices: TypeAlias = tuple[tuple[int, int | None], ...]
_Used: TypeAlias = dict[int, _Devices]


@dataclass(frozen=True, slots=True)
class Consumers:
    shown: tuple[Consumer, ...]  # those that hold most, first what counts against the limit; always with this process
    left_out: int = 0  # how many more there are
    notes: tuple[str, ...] = ()  # what could not be read or does not add up, one sentence each


def read_consumers(
    reading: MemoryReading, *, most: int = 10, proc: Path = Path("/proc"), nvml: Any = None
) -> Consumers:
    """Returns which processes (at most so many) hold the memory of a reading; what can't be read is noted."""
    processes, process_notes = read_processes(proc)
    if not any(process.pid == os.getpid() for process in processes):
        own = ResidentProcess(os.getpid(), Path(sys.executable).name, reading.process.rss_bytes)
        processes = (*processes, own)
    uses, use_notes = read_device_uses(nvml) if reading.devices else ((), ())
    group = _binding_group(reading)
    members = None if group is None else read_group_pids(Path(group.path))
    here, elsewhere = _apart(processes, uses, proc)
    consumers = [
        *(_consumer(process, here.get(process.pid, ()), members) for process in processes),
        *(Consumer(pid, None, None, devices) for pid, devices in elsewhere.items()),
    ]
    shown = _largest(consumers, most, on_device=reading.budget().limit.kind == "device")
    notes = [*process_notes, *use_notes, *_discrepancies(reading, consumers, members)]
    # Both ask NVML: what the reading has said already is not said again.
    return Consumers(shown, len(consumers) - len(shown), tuple(note for note in notes if note not in reading.notes))


def _apart(processes: Sequence[ResidentProcess], uses: Sequence[DeviceUse], proc: Path) -> tuple[_Used, _Used]:
    """What the driver tells of processes that are here, and of others, by its numbers."""
    pids = {process.pid for process in processes}
    here: _Used = {}
    elsewhere: _Used = {}
    for use in uses:
        known = use.pid in pids and is_local_pid(use.pid, proc)
        side = here if known else elsewhere
        side[use.pid] = (*side.get(use.pid, ()), (use.index, use.used_bytes))
    return here, elsewhere


def _consumer(process: ResidentProcess, devices: _Devices, members: GroupPids | None) -> Consumer:
    in_group = None if members is None else process.pid in members.seen
    return Consumer(process.pid, process.name, process.rss_bytes, devices, process.pid == os.getpid(), in_group)


def _largest(consumers: Sequence[Consumer], most: int, *, on_device: bool) -> tuple[Consumer, ...]:
    """Those to show: what counts against the limit first, then by size; this process in any case."""

    def order(consumer: Consumer) -> tuple[bool, int]:
        counts = bool(consumer.device_bytes) if on_device else bool(consumer.in_group)
        return counts, consumer.held_bytes

    ranked = sorted(consumers, key=order, reverse=True)
    shown = ranked[:most]
    if not any(consumer.own for consumer in shown):
        shown[most - 1 :] = [consumer for consumer in ranked if consumer.own]
    return tuple(shown)


def _binding_group(reading: MemoryReading) -> ControlGroup | None:
    """Returns the control group that limits this process on the host, `None` where the host itself does."""
    detail = reading.host_budget().limit.detail
    return next((group for group in reading.control_groups if detail == f"v{group.version} {group.path}"), None)


def _discrepancies(reading: MemoryReading, consumers: Sequence[Consumer], members: GroupPids | None) -> Iterator[str]:
    """Yields what the list leaves open; `members` are the processes of the binding control group, where it has some."""
    numbers = ", ".join(str(consumer.pid) for consumer in consumers if consumer.name is None)
    if numbers:
        yield (
            f"The driver lists processes that cannot be told from here ({numbers}): of another container or of the "
            "host. Processes of this container may be among them, under the machine's numbers."
        )
    group = _binding_group(reading)
    if group is None:
        in_use = reading.host.total_bytes - reading.host.available_bytes
        yield from _of_sums("the host", in_use, reading.host.total_bytes, consumers)
    elif members is None:
        yield f"{group.path} does not tell its processes: which ones count against its limit is unknown."
    else:
        if members.unseen:
            yield f"{members.unseen} more processes of {group.path} cannot be seen from here."
        in_use = group.usage_bytes - group.reclaimable_bytes
        inside = [consumer for consumer in consumers if consumer.in_group]
        yield from _of_sums("the control group", in_use, group.limit_bytes, inside)


def _of_sums(where: str, in_use: int, capacity: int, consumers: Sequence[Consumer]) -> Iterator[str]:
    resident = sum(consumer.rss_bytes or 0 for consumer in consumers)
    if resident > in_use:
        yield (
            f"The processes' RSS adds up to {format_bytes(resident)}, {where} has {format_bytes(in_use)} in use: "
            "pages that several share are counted in each."
        )
    elif in_use - resident > max(_LEAST_BYTES, _LEAST_SHARE * capacity):
        yield (
            f"At least {format_bytes(in_use - resident)} in use of {where} belong to no process that can be seen: "
            "files in memory (/dev/shm, tmpfs), the kernel, or processes that are hidden from here."
        )
