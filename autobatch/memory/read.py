"""One consistent reading of everything that limits this process."""

import os
from pathlib import Path
from typing import Any

from autobatch.memory.cgroup import read_control_groups
from autobatch.memory.facts import Allocator
from autobatch.memory.gpu import read_devices
from autobatch.memory.host import read_host
from autobatch.memory.mounts import find_group
from autobatch.memory.own import with_own
from autobatch.memory.pressure import read_pressure
from autobatch.memory.process import read_process
from autobatch.memory.reading import MemoryReading


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
    told = [with_own(device, allocator) for device in found]
    return MemoryReading(
        host=host,
        process=process,
        control_groups=groups,
        pressure=read_pressure(folders, proc),
        devices=tuple(device for device, _ in told),
        allocator=allocator,
        notes=(*host_notes, *process_notes, *group_notes, *device_notes, *(note for _, said in told for note in said)),
    )
