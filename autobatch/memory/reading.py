"""Everything that limits this process, read at one moment."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from autobatch.memory.facts import Allocator, ControlGroup, Device, HostMemory, Pressure, ProcessMemory
from autobatch.memory.limit import Budget, Limit, LimitKind
from autobatch.memory.reserve import DEFAULT_RESERVE, Reserve, parse_reserve

__all__ = [
    "DEFAULT_RESERVE",
    "Allocator",
    "Budget",
    "ControlGroup",
    "Device",
    "HostMemory",
    "Limit",
    "LimitKind",
    "MemoryReading",
    "Pressure",
    "ProcessMemory",
    "Reserve",
    "parse_reserve",
]


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
        return tuple(
            Limit(
                "device",
                device.total_bytes,
                device.free_bytes,
                device.used_by_this_process_bytes or 0,
                f"GPU:{device.index} {device.name} {device.uuid}",
            )
            for device in self.devices
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits: devices, control groups, host."""
        return self.device_limits + self.host_limits

    def budget(self, reserve: Reserve = DEFAULT_RESERVE) -> Budget:
        """Returns the tightest budget of all limits: that of the binding limit.

        Training that runs on the CPU is not limited by a GPU that is there: ask `host_budget` then.

        Args:
            reserve: What to leave free of each limit.
        """
        return _tightest(self.limits, reserve)

    def budgets(self, reserve: Reserve = DEFAULT_RESERVE) -> tuple[Budget, ...]:
        """Returns the budget of each limit, in the order of `limits`.

        Args:
            reserve: What to leave free of each limit.
        """
        return tuple(_spare(limit, reserve) for limit in self.limits)

    def host_budget(self, reserve: Reserve = DEFAULT_RESERVE) -> Budget:
        """Returns the tightest budget of the host and the control groups, beside a reserve."""
        return _tightest(self.host_limits, reserve)

    def device_budget(self, reserve: Reserve = DEFAULT_RESERVE, index: int | None = None) -> Budget | None:
        """Returns the tightest budget of the devices, or `None` where there is none.

        Args:
            reserve: What to leave free of a device.
            index: Ask for "GPU:index" alone.
        """
        pairs = zip(self.devices, self.device_limits, strict=True)
        limits = [limit for device, limit in pairs if index in {None, device.index}]
        return _tightest(limits, reserve) if limits else None

    def to_dict(self) -> dict[str, Any]:
        """Returns the reading as JSON-ready values, in bytes, with its budgets under the default reserve."""
        return {
            **asdict(self),
            "control_groups": [
                asdict(group) | {"available_bytes": group.available_bytes} for group in self.control_groups
            ],
            "devices": [
                asdict(device) | {"used_by_others_bytes": device.used_by_others_bytes} for device in self.devices
            ],
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


def _spare(limit: Limit, reserve: Reserve) -> Budget:
    return Budget(limit, limit.reserve_bytes(reserve))


def _tightest(limits: Iterable[Limit], reserve: Reserve) -> Budget:
    return min((_spare(limit, reserve) for limit in limits), key=lambda budget: budget.free_bytes)
