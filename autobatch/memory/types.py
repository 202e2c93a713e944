"""What each sensor reads, in bytes; `None` is unknown."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

# Who tells what this process holds of a GPU: its driver (all of it), CUDA's memory pool (all but CUDA's context), or
# the framework's allocator (a lower bound)
OwnFrom: TypeAlias = Literal["driver", "pool", "allocator"]


@dataclass(frozen=True, slots=True)
class HostMemory:
    total_bytes: int
    available_bytes: int  # what could be taken without swapping (the kernel's own estimate)


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    rss_bytes: int  # resident now
    peak_rss_bytes: int | None = None  # the high-water mark since the start or the last reset


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group with a limit that applies to this process: its own, or one above."""

    version: Literal[1, 2]
    path: str  # its folder
    limit_bytes: int  # what all its processes may use together
    usage_bytes: int  # what they use, file cache included
    reclaimable_bytes: int  # the file cache that the kernel drops before it kills

    @property
    def available_bytes(self) -> int:
        """What could still be taken before the kernel kills."""
        return max(0, self.limit_bytes - max(0, self.usage_bytes - self.reclaimable_bytes))


@dataclass(frozen=True, slots=True)
class Pressure:
    """Time lost to waiting for memory over the last ten seconds (PSI)."""

    some_avg10: float  # per cent of the time in which at least one task waited
    full_avg10: float  # per cent of the time in which all tasks waited


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a slice of one, that this process may use."""

    index: int  # its number among the visible ones: k of "GPU:k", in the driver's order; `uuid` is its identity
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int  # what nobody has taken
    used_by_this_process_bytes: int | None = None  # `None` where nobody tells
    reserved_bytes: int | None = None  # what the driver keeps for itself, where it tells that apart
    own_from: OwnFrom | None = None  # who tells what this process holds

    @property
    def used_by_others_bytes(self) -> int | None:
        """What other processes hold, `None` where there is no telling them from this one.

        What the driver keeps for itself counts as theirs where it is not told apart.
        """
        if self.used_by_this_process_bytes is None:
            return None
        taken = self.total_bytes - self.free_bytes - (self.reserved_bytes or 0)
        return max(0, taken - self.used_by_this_process_bytes)


@dataclass(frozen=True, slots=True)
class Allocator:
    """The framework's own figures, given by the caller."""

    current_bytes: int  # in use by tensors now
    peak_bytes: int  # the most since the last reset
    device_index: int | None = None  # k of "GPU:k", or `None` for the CPU's allocator
    pool_bytes: int | None = None  # what CUDA's memory pool holds of the device for it, `None` where it uses none


@dataclass(frozen=True, slots=True)
class ResidentProcess:
    """A process that can be seen from here; in `rss_bytes`, pages that several share are counted in each."""

    pid: int
    name: str
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What the driver books on a process; `index` is k of "GPU:k".

    In a container, `pid` may be the machine's number instead of the container's.
    """

    index: int
    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Consumer:
    pid: int  # where it has no name, the number by which the driver knows it
    name: str | None  # `None` for a process of another container or of the host
    rss_bytes: int | None  # resident on the host, shared pages included; `None` where that can't be seen
    # For each GPU that it uses, its number and the bytes, `None` where the driver does not tell them.
    device_bytes: tuple[tuple[int, int | None], ...] = ()
    own: bool = False  # whether it is this process
    # Whether it counts against the control group that limits this process on the host; `None` where none does, or where
    # that can't be seen.
    in_group: bool | None = None

    @property
    def held_bytes(self) -> int:
        """All that is known of what it holds, host and devices together."""
        return (self.rss_bytes or 0) + sum(used or 0 for _, used in self.device_bytes)

    def to_dict(self) -> dict[str, Any]:
        devices = [{"index": index, "used_bytes": used} for index, used in self.device_bytes]
        return {**asdict(self), "device_bytes": devices}


@dataclass(frozen=True, slots=True)
class Driver:
    """The versions of the GPUs' driver, of NVML, and of the newest CUDA that it serves (as "12.4")."""

    version: str
    nvml_version: str | None = None
    cuda_version: str | None = None
