"""A reading as it would be on a machine with less memory.

Covered: what a host or a GPU has, and what is left of it beside this process. Not covered: what others hold counts
only where it leaves less than the smaller machine would have, and nothing keeps a process from taking more.
"""

from dataclasses import replace

from autobatch._text import format_bytes
from autobatch.errors import DeviceError
from autobatch.memory.facts import Device, HostMemory
from autobatch.memory.reading import MemoryReading


def limited(reading: MemoryReading, limit_bytes: int, device_index: int | None = None) -> MemoryReading:
    """The reading as if there were only so many bytes, with a note that says so.

    A limit above what there is changes nothing but the notes.

    Args:
        reading: What there is.
        limit_bytes: How much there should be.
        device_index: Limit "GPU:index" instead of the host.

    Raises:
        DeviceError: That GPU is not in the reading.

    Example:
        >>> from autobatch.testing import memory_reading
        >>> reading = memory_reading(host_total_bytes=64 * 2**30, rss_bytes=2**30)
        >>> limited(reading, 8 * 2**30).host.available_bytes == 7 * 2**30
        True
    """
    capacity, what = _capacity(reading, device_index)
    if limit_bytes >= capacity:
        note = f"The limit of {format_bytes(limit_bytes)} changes nothing: {what} has {format_bytes(capacity)}."
        return replace(reading, notes=(*reading.notes, note))
    notes = (*reading.notes, f"As if {what} had {format_bytes(limit_bytes)}.", *_unknown(reading, device_index))
    left = max(0, limit_bytes - _occupied(reading, device_index))
    if device_index is None:
        host = HostMemory(limit_bytes, min(reading.host.available_bytes, left))
        return replace(reading, host=host, notes=notes)
    devices = tuple(
        replace(device, total_bytes=limit_bytes, free_bytes=min(device.free_bytes, left))
        if device.index == device_index
        else device
        for device in reading.devices
    )
    return replace(reading, devices=devices, notes=notes)


def is_limited(reading: MemoryReading, limit_bytes: int | None, device_index: int | None = None) -> bool:
    """Whether a limit is below what there is.

    Args:
        reading: What there is.
        limit_bytes: How much there should be, `None` for no limit.
        device_index: The limit is one of "GPU:index" instead of the host.
    """
    return limit_bytes is not None and limit_bytes < _capacity(reading, device_index)[0]


def overdrawn_bytes(reading: MemoryReading, limit_bytes: int, device_index: int | None = None) -> int:
    """By how much this process is over a limit already, in bytes; 0 if it is not.

    A reading shows nothing left then, not less than nothing. Who is going to give something back needs to know more.
    """
    return max(0, _occupied(reading, device_index) - limit_bytes)


def _capacity(reading: MemoryReading, device_index: int | None) -> tuple[int, str]:
    """How much there is, and of what, in words."""
    if device_index is not None:
        return _device(reading, device_index).total_bytes, f"GPU:{device_index}"
    least = min(reading.control_groups, key=lambda group: group.limit_bytes, default=None)
    if least is None or least.limit_bytes >= reading.host.total_bytes:
        return reading.host.total_bytes, "the host"
    return least.limit_bytes, "the control group"


def _occupied(reading: MemoryReading, device_index: int | None) -> int:
    if device_index is None:
        return reading.process.rss_bytes
    pairs = zip(reading.devices, reading.device_limits, strict=True)
    return next((limit.occupied_bytes for device, limit in pairs if device.index == device_index), 0)


def _unknown(reading: MemoryReading, device_index: int | None) -> tuple[str, ...]:
    if device_index is None or _device(reading, device_index).used_by_this_process_bytes is not None:
        return ()
    return (f"How much of GPU:{device_index} this process holds is not known, so the limit does not count it.",)


def _device(reading: MemoryReading, index: int) -> Device:
    for device in reading.devices:
        if device.index == index:
            return device
    found = tuple(f"GPU:{device.index}" for device in reading.devices)
    msg = (
        f"A limit is for GPU:{index}, where the steps run, and its memory cannot be read. "
        f"Received: a reading of {', '.join(found) or 'no GPU'}. Expected GPU:{index} among them, or no limit."
    )
    raise DeviceError(msg, f"GPU:{index}", found)
