"""Everything that limits this process, read at one moment, or as it would be on a machine with less memory.

A limit that a caller sets (`apply_limit`) covers what a host or a GPU has, and what is left of it beside this process.
Not covered: what others hold counts only where it leaves less than the smaller machine would have, and nothing keeps a
process from taking more.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autobatch._text import format_bytes
from autobatch.errors import DeviceError
from autobatch.memory.budget import DEFAULT_RESERVE, Budget, Limit, Reserve
from autobatch.memory.sensors.cgroup import find_group, read_control_groups, read_pressure
from autobatch.memory.sensors.gpu import add_own_use, read_devices
from autobatch.memory.sensors.procfs import read_host, read_process
from autobatch.memory.types import Allocator, ControlGroup, Device, HostMemory, Pressure, ProcessMemory


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """What limits this process now. Print it to see it.

    Attributes:
        host: The machine's memory.
        process: This process' part of it.
        control_groups: Every control group with a limit below the host's, this process' own first, then its ancestors.
        pressure: Time lost to waiting for memory, where the kernel tells.
        devices: The GPUs that this process may use.
        allocator: The framework's own figures, where the caller gave them.
        notes: What could not be read, and what that means; one sentence each.
    """

    host: HostMemory
    process: ProcessMemory
    control_groups: tuple[ControlGroup, ...] = ()
    pressure: Pressure | None = None
    devices: tuple[Device, ...] = ()
    allocator: Allocator | None = None
    notes: tuple[str, ...] = ()

    @property
    def control_group(self) -> ControlGroup | None:
        """The control group with the least available, or `None` where none has a limit."""
        return min(self.control_groups, key=lambda group: group.available_bytes, default=None)

    @property
    def host_limits(self) -> tuple[Limit, ...]:
        """The limits of memory on the host: every control group, then the machine."""
        rss = self.process.rss_bytes
        groups = (
            Limit("control group", group.limit_bytes, group.available_bytes, rss, f"v{group.version} {group.path}")
            for group in self.control_groups
        )
        return (*groups, Limit("host", self.host.total_bytes, self.host.available_bytes, rss))

    @property
    def device_limits(self) -> tuple[Limit, ...]:
        """The limit of each visible device."""
        return tuple(_device_limit(device) for device in self.devices)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits: devices, control groups, host."""
        return self.device_limits + self.host_limits

    def budget(self, reserve: Reserve = DEFAULT_RESERVE) -> Budget:
        """Returns the tightest budget of all limits beside a `reserve`: that of the binding limit.

        Training that runs on the CPU is not limited by a GPU that is there: ask `host_budget` then.
        """
        return _tightest(self.limits, reserve)

    def budgets(self, reserve: Reserve = DEFAULT_RESERVE) -> tuple[Budget, ...]:
        """Returns the budget of each limit beside a `reserve`, in the order of `limits`."""
        return tuple(limit.budget(reserve) for limit in self.limits)

    def host_budget(self, reserve: Reserve = DEFAULT_RESERVE) -> Budget:
        """Returns the tightest budget of the host and the control groups, beside a `reserve`."""
        return _tightest(self.host_limits, reserve)

    def device_budget(self, reserve: Reserve = DEFAULT_RESERVE, index: int | None = None) -> Budget | None:
        """Returns the tightest budget of the devices beside a `reserve`, `None` where there is none.

        With an `index`, that of "GPU:index" alone.
        """
        limits = [_device_limit(device) for device in self.devices if index in {None, device.index}]
        return _tightest(limits, reserve) if limits else None

    def device(self, index: int) -> Device | None:
        """Returns what was read of "GPU:index", `None` where that is not among the devices."""
        return next((device for device in self.devices if device.index == index), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the reading as JSON-ready values, in bytes, with its budgets under the default reserve."""
        groups = [asdict(group) | {"available_bytes": group.available_bytes} for group in self.control_groups]
        devices = [asdict(device) | {"used_by_others_bytes": device.used_by_others_bytes} for device in self.devices]
        return {
            **asdict(self),
            "control_groups": groups,
            "devices": devices,
            "notes": list(self.notes),
            "budgets": [budget.to_dict() for budget in self.budgets()],
            "binding": self.budget().to_dict(),
        }

    def __str__(self) -> str:
        binding = self.budget()
        lines = [f"Limited by the {binding}"]
        lines += [f"{'>' if limit == binding.limit else ' '} {limit}" for limit in self.limits]
        if self.pressure is not None:
            some, full = self.pressure.some_avg10, self.pressure.full_avg10
            lines.append(f"  pressure: some tasks waited {some:.1f} %, all {full:.1f} % of the last 10 s")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def _device_limit(device: Device) -> Limit:
    detail = f"GPU:{device.index} {device.name} {device.uuid}"
    occupied = device.used_by_this_process_bytes or 0
    return Limit("device", device.total_bytes, device.free_bytes, occupied, detail)


def _tightest(limits: Iterable[Limit], reserve: Reserve) -> Budget:
    return min((limit.budget(reserve) for limit in limits), key=lambda budget: budget.free_bytes)


class BudgetReader:
    """What this process may take of each resource (`"host"`, `"device"`): the one answer for probe and controller.

    Sensors say what there is. Whatever else limits it comes as `further` limits, by resource: what a program lets the
    framework take of a GPU; a lease, where jobs share what there is.
    """

    def __init__(
        self,
        reserve: Reserve,
        gpu: int | None = None,
        further: Callable[[MemoryReading], Mapping[str, Sequence[Limit]]] = lambda _: {},
    ) -> None:
        self._reserve, self._gpu, self._further = reserve, gpu, further

    def read(self, reading: MemoryReading, reusable: Mapping[str, int] | None = None) -> dict[str, Budget]:
        """The tightest budget of each resource: of the host, and of the GPU that steps run on where one is read.

        What this process occupies and its steps can use again is `reusable`, per resource. It counts where the sensors'
        limits decide: a further limit knows itself what is left of it.
        """
        found = {"host": reading.host_budget(self._reserve)}
        device = None if self._gpu is None else reading.device_budget(self._reserve, self._gpu)
        if device is not None:
            found["device"] = device
        found = {name: replace(one, reusable_bytes=(reusable or {}).get(name, 0)) for name, one in found.items()}
        for name, limits in self._further(reading).items():
            known = [found[name]] if name in found else []
            found[name] = min([*known, *(one.budget(self._reserve) for one in limits)], key=lambda one: one.free_bytes)
        return found


def read_memory(
    *,
    proc: Path = Path("/proc"),
    sys: Path = Path("/sys"),
    nvml: Any = None,
    allocator: Allocator | None = None,
) -> MemoryReading:
    """Returns what limits the memory of this process now: devices, control groups and the host, in bytes.

    What can't be read is left out and said in the reading's notes; nothing is raised for it.

    Args:
        proc: Where the kernel's process files are.
        sys: Where its system files are.
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`, where it and a driver are there.
        allocator: The framework's own figures, read just before. They stand in for what NVML can't tell of this
            process; `Device.own_from` and the notes say so.

    Example:
        >>> import autobatch
        >>> reading = autobatch.read_memory()
        >>> budget = reading.budget()
        >>> budget.free_bytes < reading.host.total_bytes
        True
        >>> budget.limit.kind in {"device", "control group", "host"}
        True
    """
    host, host_notes = read_host(proc)
    process, process_notes = read_process(proc)
    folders = find_group(proc, sys)
    groups, group_notes = read_control_groups(folders, host.total_bytes)
    found, device_notes = read_devices(os.getpid(), nvml, proc=proc)
    told = [add_own_use(device, allocator) for device in found]
    return MemoryReading(
        host=host,
        process=process,
        control_groups=groups,
        pressure=read_pressure(folders, proc),
        devices=tuple(device for device, _ in told),
        allocator=allocator,
        notes=(*host_notes, *process_notes, *group_notes, *device_notes, *(note for _, said in told for note in said)),
    )


def apply_limit(reading: MemoryReading, limit_bytes: int | None, device_index: int | None = None) -> MemoryReading:
    """Returns the reading as if the host, or "GPU:device_index", had only so many bytes, with a note that says so.

    A limit above what there is changes nothing but the notes, and `None` is no limit.
    """
    if limit_bytes is None:
        return reading
    capacity, what = _capacity(reading, device_index)
    if limit_bytes >= capacity:
        note = f"The limit of {format_bytes(limit_bytes)} changes nothing: {what} has {format_bytes(capacity)}."
        return replace(reading, notes=(*reading.notes, note))
    notes = (*reading.notes, f"As if {what} had {format_bytes(limit_bytes)}.")
    left = max(0, limit_bytes - _occupied(reading, device_index))
    if device_index is None:
        host = HostMemory(limit_bytes, min(reading.host.available_bytes, left))
        return replace(reading, host=host, notes=notes)
    device = _find_device(reading, device_index)
    if device.used_by_this_process_bytes is None:
        unknown = f"How much of GPU:{device_index} this process holds is not known, so the limit does not count it."
        notes = (*notes, unknown)
    limited = replace(device, total_bytes=limit_bytes, free_bytes=min(device.free_bytes, left))
    devices = tuple(limited if other is device else other for other in reading.devices)
    return replace(reading, devices=devices, notes=notes)


def is_limited(reading: MemoryReading, limit_bytes: int | None, device_index: int | None = None) -> bool:
    """Returns whether a limit of the host, or of "GPU:device_index", is below what there is; `None` is no limit."""
    return limit_bytes is not None and limit_bytes < _capacity(reading, device_index)[0]


def overdrawn_bytes(reading: MemoryReading, limit_bytes: int | None, device_index: int | None = None) -> int:
    """Returns by how much this process is over a limit already; 0 if it is not, or there is none.

    A reading then shows that nothing is left, never less than nothing; who is to give something back has to know more.
    """
    if limit_bytes is None or not is_limited(reading, limit_bytes, device_index):
        return 0
    return max(0, _occupied(reading, device_index) - limit_bytes)


def _capacity(reading: MemoryReading, device_index: int | None) -> tuple[int, str]:
    """How much there is, and of what, in words."""
    if device_index is not None:
        return _find_device(reading, device_index).total_bytes, f"GPU:{device_index}"
    least = min(reading.control_groups, key=lambda group: group.limit_bytes, default=None)
    if least is None or least.limit_bytes >= reading.host.total_bytes:
        return reading.host.total_bytes, "the host"
    return least.limit_bytes, "the control group"


def _occupied(reading: MemoryReading, device_index: int | None) -> int:
    if device_index is None:
        return reading.process.rss_bytes
    return _find_device(reading, device_index).used_by_this_process_bytes or 0


def _find_device(reading: MemoryReading, index: int) -> Device:
    device = reading.device(index)
    if device is not None:
        return device
    found = tuple(f"GPU:{device.index}" for device in reading.devices)
    msg = (
        f"A limit is for GPU:{index}, where the steps run, and its memory cannot be read. "
        f"Received: a reading of {', '.join(found) or 'no GPU'}. Expected GPU:{index} among them, or no limit."
    )
    raise DeviceError(msg, f"GPU:{index}", found)
