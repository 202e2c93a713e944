"""What each sensor says, in bytes; `None` is unknown."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The machine's memory.

    Attributes:
        total_bytes: All of it.
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
    """A control group with a limit, that this process is in or below.

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
    """How much time was lost to waiting for memory over the last ten seconds (PSI).

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
        name: What the maker calls it.
        total_bytes: All of its memory.
        free_bytes: What nobody has taken.
        used_by_this_process_bytes: What the driver books on this process.
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    used_by_this_process_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Allocator:
    """The framework's own figures, given in by the caller.

    Attributes:
        current_bytes: In use by tensors now.
        peak_bytes: The most since the last reset.
        device_index: k of "GPU:k", or `None` where it is the allocator of the CPU.
    """

    current_bytes: int
    peak_bytes: int
    device_index: int | None = None
