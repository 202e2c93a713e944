"""What the list of those who hold memory does not tell: one sentence for each thing that does not add up."""

from collections.abc import Iterator, Sequence

from autobatch._text import MIB, format_bytes
from autobatch.memory.cgroup import GroupPids
from autobatch.memory.facts import ControlGroup, Holder
from autobatch.memory.reading import MemoryReading

# Less than this is the kernel's own, everywhere and always.
_LEAST_BYTES, _LEAST_SHARE = 64 * MIB, 0.05


def binding_group(reading: MemoryReading) -> ControlGroup | None:
    """Returns the control group that limits this process on the host, or `None` where it is the host itself."""
    detail = reading.host_budget().limit.detail
    return next((group for group in reading.control_groups if detail == f"v{group.version} {group.path}"), None)


def what_is_unclear(reading: MemoryReading, holders: Sequence[Holder], members: GroupPids | None) -> Iterator[str]:
    """Yields what the list leaves open.

    Args:
        reading: What limits this process.
        holders: All that were found.
        members: The processes of the binding control group, `None` where there is none or it does not tell them.
    """
    yield from _of_numbers(holders)
    group = binding_group(reading)
    if group is None:
        in_use = reading.host.total_bytes - reading.host.available_bytes
        yield from _of_sums("the host", in_use, reading.host.total_bytes, holders)
    elif members is None:
        yield f"{group.path} does not tell its processes: which ones count against its limit is unknown."
    else:
        if members.unseen:
            yield f"{members.unseen} more processes of {group.path} cannot be seen from here."
        in_use = group.usage_bytes - group.reclaimable_bytes
        inside = [holder for holder in holders if holder.in_group]
        yield from _of_sums("the control group", in_use, group.limit_bytes, inside)


def _of_numbers(holders: Sequence[Holder]) -> Iterator[str]:
    numbers = ", ".join(str(holder.pid) for holder in holders if holder.name is None)
    if numbers:
        yield (
            f"The driver lists processes that cannot be told from here ({numbers}): of another container or of the "
            "host. Processes of this container may be among them, under the machine's numbers."
        )


def _of_sums(where: str, in_use: int, capacity: int, holders: Sequence[Holder]) -> Iterator[str]:
    resident = sum(holder.rss_bytes or 0 for holder in holders)
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
