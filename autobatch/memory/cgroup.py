"""The limits of the memory control groups that this process is in, version 1 and 2.

Covered: hard limits, and the limit from which version 2 throttles, of every visible ancestor. Not covered: swap that
a group may use on top, and limits above what a container can see.
"""

import os
from pathlib import Path
from typing import NamedTuple

from autobatch.memory.facts import ControlGroup
from autobatch.memory.files import fields, number, read_number, read_text
from autobatch.memory.mounts import GroupFolders, find_group

# Version 1 writes "no limit" as the largest multiple of a page in 63 bits; nothing real comes near this.
_NO_LIMIT_BYTES = 1 << 60


class _Level(NamedTuple):
    limit_bytes: int | None
    usage_bytes: int | None
    reclaimable_bytes: int | None


class GroupPids(NamedTuple):
    """The processes of a control group.

    Attributes:
        seen: Their numbers, as this process sees them.
        unseen: How many more there are, outside this process' numbers.
    """

    seen: frozenset[int]
    unseen: int


def read_control_groups(
    folders: GroupFolders | None, host_total_bytes: int
) -> tuple[tuple[ControlGroup, ...], tuple[str, ...]]:
    """Returns the groups with a limit, innermost first, and notes on levels that could not be read.

    Args:
        folders: What `autobatch.memory.mounts.find_group` found.
        host_total_bytes: A limit of that much or more is none.
    """
    if folders is None:
        return (), ("No memory control group was found, so only the host's own limit counts.",)
    groups: list[ControlGroup] = []
    notes: list[str] = []
    if not folders.certain:
        notes.append(f"This process' own control group can't be seen from here; {folders.levels[0]} is taken for it.")
    for folder in folders.levels:
        level = _read_v1(folder, notes) if folders.version == 1 else _read_v2(folder, notes)
        if level.limit_bytes is None or level.limit_bytes >= min(host_total_bytes, _NO_LIMIT_BYTES):
            continue
        if level.usage_bytes is None:
            notes.append(f"{folder} has a limit of {level.limit_bytes} bytes but does not tell its use: left out.")
            continue
        if level.reclaimable_bytes is None:
            notes.append(f"{folder}/memory.stat tells no file cache: all of its use is taken to stay.")
        reclaimable = min(level.reclaimable_bytes or 0, level.usage_bytes)
        groups.append(ControlGroup(folders.version, str(folder), level.limit_bytes, level.usage_bytes, reclaimable))
    return tuple(groups), tuple(notes)


def oom_kills(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int | None:
    """Returns how many processes of this process' own control group the kernel has killed for memory so far.

    A rise across the death of a child by SIGKILL says that it was out of memory. Where the group keeps no count, the
    host's own is returned; `None` where there is none either.

    Args:
        proc: Where the kernel's process files are.
        sys: Where its system files are.
    """
    folders = find_group(proc, sys)
    if folders is not None:
        name = "memory.oom_control" if folders.version == 1 else "memory.events"
        count = fields(read_text(folders.levels[0] / name) or "").get("oom_kill")
        if count is not None:
            return count
    return fields(read_text(proc / "vmstat") or "").get("oom_kill")


def group_pids(folder: Path) -> GroupPids | None:
    """Returns the processes of a group and of those below it, or `None` where that cannot be read.

    Args:
        folder: The group's own.
    """
    if read_text(folder / "cgroup.procs") is None:
        return None
    # Version 1 without a hierarchy: what is below is not charged to the group.
    alone = (read_text(folder / "memory.use_hierarchy") or "1").strip() == "0"
    # `os.walk` passes over a group that is removed meanwhile, where `Path.rglob` raises.
    groups = [folder] if alone else (Path(place) for place, _, _ in os.walk(folder))
    # A threaded group refuses; its processes stand in the list of the group above it (cgroups(7)).
    words = [word for group in groups for word in (read_text(group / "cgroup.procs") or "").split()]
    pids = [pid for word in words if (pid := number(word)) is not None]
    # A process outside this container's numbers is listed as 0.
    return GroupPids(frozenset(pids) - {0}, pids.count(0))


def _read_v1(folder: Path, notes: list[str]) -> _Level:
    limit = _limit(folder / "memory.limit_in_bytes", notes, needed=True)
    if limit is None or limit >= _NO_LIMIT_BYTES:
        return _Level(None, None, None)
    cache = _file_cache(folder, "total_", "total_mapped_file")
    return _Level(limit, read_number(folder / "memory.usage_in_bytes"), cache)


def _read_v2(folder: Path, notes: list[str]) -> _Level:
    # The root has no limits, nor has a group without the memory controller: no memory.current tells both.
    usage_bytes = read_number(folder / "memory.current")
    hard = _limit(folder / "memory.max", notes, needed=usage_bytes is not None)
    throttling = _limit(folder / "memory.high", notes, needed=False)
    limit = min((limit for limit in (hard, throttling) if limit is not None), default=None)
    if limit is None:
        return _Level(None, None, None)
    return _Level(limit, usage_bytes, _file_cache(folder, "", "file_mapped"))


def _limit(path: Path, notes: list[str], *, needed: bool) -> int | None:
    """Returns a limit in bytes, or `None` where there is none; `needed` says that the file ought to be there."""
    text = read_text(path)
    if text is None:
        if needed or path.exists():
            notes.append(f"{path} can't be read: whether it sets a limit is unknown.")
        return None
    if text.strip() == "max":
        return None
    limit = number(text)
    if limit is None:
        notes.append(f"{path} is neither a number nor max: {text.strip()[:40]!r}. Whether it sets a limit is unknown.")
    return limit


def _file_cache(folder: Path, prefix: str, mapped: str) -> int | None:
    """Returns the page cache that goes before anybody is killed: file pages that no process has mapped."""
    stat = fields(read_text(folder / "memory.stat") or "")
    inactive = stat.get(f"{prefix}inactive_file")
    if inactive is None:
        return None
    return max(0, inactive + stat.get(f"{prefix}active_file", 0) - stat.get(mapped, 0))
