"""What each sensor reads, in bytes; `None` is unknown."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

# Who tells what this process holds of a GPU: its driver, CUDA's memory pool, or the framework's allocator
OwnFrom: TypeAlias = Literal["driver", "pool", "allocator"]


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The machine's memory.

    Attributes:
        total_bytes: Its capacity.
        available_bytes: What could be taken without swapping (the kernel's own estimate).
    """

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """This process' memory on the host.

    Attributes:
        rss_bytes: Resident now.
        peak_rss_bytes: The high-water mark since the start or the last reset.
    """

    rss_bytes: int
    peak_rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group with a limit that applies to this process: its own, or one above.

    Attributes:
        version: 1 or 2.
        path: Its folder.
        limit_bytes: What all its processes may use together.
        usage_bytes: What they use, file cache included.
        reclaimable_bytes: The file cache that the kernel drops before it kills.
    """

    version: Literal[1, 2]
    path: str
    limit_bytes: int
    usage_bytes: int
    reclaimable_bytes: int

    @property
    def available_bytes(self) -> int:
        """What could still be taken before the kernel kills."""
        return max(0, self.limit_bytes - max(0, self.usage_bytes - self.reclaimable_bytes))


@dataclass(frozen=True, slots=True)
class Pressure:
    """Time lost to waiting for memory over the last ten seconds (PSI).

    Attributes:
        some_avg10: Per cent of the time in which at least one task waited.
        full_avg10: Per cent of the time in which all tasks waited.
    """

    some_avg10: float
    full_avg10: float


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a slice of one, that this process may use.

    Attributes:
        index: Its number among the visible ones: k of "GPU:k". The driver's order; see `uuid` where that matters.
        uuid: Its identity.
        name: Its product name.
        total_bytes: Its capacity.
        free_bytes: What nobody has taken.
        used_by_this_process_bytes: What this process holds of it, `None` where nobody tells.
        reserved_bytes: What the driver keeps for itself, `None` where it does not tell that apart.
        own_from: Who tells what this process holds: all of it ("driver"), all but CUDA's context ("pool"), or a lower
            bound ("allocator").
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    used_by_this_process_bytes: int | None = None
    reserved_bytes: int | None = None
    own_from: OwnFrom | None = None

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
    """The framework's own figures, given by the caller.

    Attributes:
        current_bytes: In use by tensors now.
        peak_bytes: The most since the last reset.
        device_index: k of "GPU:k", or `None` for the CPU's allocator.
        pool_bytes: What CUDA's memory pool holds of the device for it, `None` where it uses none.
    """

    current_bytes: int
    peak_bytes: int
    device_index: int | None = None
    pool_bytes: int | None = None


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
    """A process that holds memory.

    Attributes:
        pid: Its number; where it has no name, the number by which the driver knows it.
        name: What the kernel calls it, `None` for a process of another container or of the host.
        rss_bytes: Resident on the host, pages shared with others included; `None` where that can't be seen.
        device_bytes: For each GPU that it uses, the number of the GPU and the bytes, `None` where the driver does not
            tell them.
        own: Whether it is this process.
        in_group: Whether it counts against the control group that limits this process on the host; `None` where none
            does, or where it can't be seen.
    """

    pid: int
    name: str | None
    rss_bytes: int | None
    device_bytes: tuple[tuple[int, int | None], ...] = ()
    own: bool = False
    in_group: bool | None = None

    @property
    def held_bytes(self) -> int:
        """All that is known of what it holds, host and devices together."""
        return (self.rss_bytes or 0) + sum(used or 0 for _, used in self.device_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the consumer as JSON-ready values."""
        devices = [{"index": index, "used_bytes": used} for index, used in self.device_bytes]
        return {**asdict(self), "device_bytes": devices}


@dataclass(frozen=True, slots=True)
class Driver:
    """The versions of the GPUs' driver, of NVML, and of the newest CUDA that it serves (as "12.4")."""

    version: str
    nvml_version: str | None = None
    cuda_version: str | None = None
