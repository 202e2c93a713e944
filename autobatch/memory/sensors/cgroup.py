"""The memory control groups that this process is in, version 1 and 2: folders, limits, use, kills, pressure.

Covered: hard limits, and the limit from which version 2 throttles, of every visible ancestor. Not covered: swap that
a group may use on top, and limits above what a container can see.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from autobatch.memory.sensors.procfs import parse_fields, parse_number, read_number, read_text
from autobatch.memory.types import ControlGroup, Pressure

# Version 1 writes "no limit" as the largest multiple of a page in 63 bits; nothing real comes near this.
_NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class GroupFolders:
    """The folders of a memory control group (first) and of its ancestors.

    Unless it is `certain`, the first is a guess: in a container the group's own may not be visible.
    """

    version: Literal[1, 2]
    levels: tuple[Path, ...]
    certain: bool = True


class _Mount(NamedTuple):
    root: str
    point: Path
    kind: str = ""
    options: str = ""


def find_group(proc: Path, sys: Path) -> GroupFolders | None:
    """Returns the folders of this process' memory control group, or `None` where there is none.

    In a hybrid set-up the memory controller is on version 1 or on version 2, never on both; /proc/self/cgroup names
    it where it is on version 1 (cgroups(7)). Mount points under /sys are looked up below `sys`.
    """
    paths = _own_paths(read_text(proc / "self" / "cgroup") or "")
    mountinfo = read_text(proc / "self" / "mountinfo") or ""
    if "memory" in paths or not paths:  # the second: the list can't be read, and whatever is mounted is taken
        mounts = list(_group_mounts(mountinfo, "cgroup", "memory", sys)) or _guess(sys / "fs" / "cgroup" / "memory")
        levels, certain = _find_levels(mounts, paths.get("memory", "/"))
        if levels:
            return GroupFolders(1, _charged(levels), certain and bool(paths))
    mounts = list(_group_mounts(mountinfo, "cgroup2", "", sys)) or _guess(sys / "fs" / "cgroup", "cgroup.controllers")
    levels, certain = _find_levels(mounts, paths.get("", "/"))
    return GroupFolders(2, levels, certain and bool(paths)) if levels else None


def _own_paths(text: str) -> dict[str, str]:
    """Returns the group of each controller, that of version 2 under the empty name."""
    paths = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            paths.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return paths


def _group_mounts(mountinfo: str, kind: str, controller: str, sys: Path) -> Iterator[_Mount]:
    for mount in _parse_mountinfo(mountinfo, " cgroup"):
        if mount.kind == kind and (not controller or controller in mount.options.split(",")):
            point = mount.point
            if sys != Path("/sys"):
                if not point.is_relative_to("/sys"):
                    continue
                point = sys / point.relative_to("/sys")
            if point.is_dir():
                yield mount._replace(point=point)


def _parse_mountinfo(text: str, word: str = "") -> Iterator[_Mount]:
    """Yields the mounts that proc_pid_mountinfo(5) lists, of lines with a word in them."""
    for line in text.splitlines():
        if word not in line:
            continue
        left, _, right = line.partition(" - ")
        head, tail = left.split(), right.split()
        if len(head) >= 5 and len(tail) >= 3:
            yield _Mount(_plain(head[3]), Path(_plain(head[4])), tail[0], tail[2])


def _plain(word: str) -> str:
    """Returns a path of mountinfo without its octal escapes (a space is written as a backslash and 040)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _guess(point: Path, witness: str = "") -> list[_Mount]:
    return [_Mount("/", point)] if (point / witness).exists() else []


def _find_levels(mounts: list[_Mount], path: str) -> tuple[tuple[Path, ...], bool]:
    """Returns the folders from the group `path` up to the mount point it is seen under, and whether that is certain."""
    for mount in mounts:
        inside = _inside(path, mount.root)
        if inside is not None and (mount.point / inside).is_dir():
            return _upwards(mount.point, inside), True
    # In a container the path may be the host's while only the container's own part of the tree is to be seen: the
    # longest end of the path that is there is the group, and the mount point itself where none is.
    for mount in mounts:
        parts = [part for part in path.split("/") if part]
        ends = ["/".join(parts[start:]) for start in range(len(parts))] if ".." not in parts else []
        inside = next((end for end in ends if (mount.point / end).is_dir()), "")
        return _upwards(mount.point, inside), False
    return (), False


def _inside(path: str, root: str) -> str | None:
    """Returns `path` relative to `root`, or `None` where it is not below it."""
    if ".." in path.split("/") or ".." in root.split("/"):
        return None
    relative = posixpath.relpath(path, root)
    return None if relative.startswith("..") else relative.removeprefix(".")


def _upwards(point: Path, inside: str) -> tuple[Path, ...]:
    parts = [part for part in inside.split("/") if part]
    return tuple(point.joinpath(*parts[:length]) for length in range(len(parts), -1, -1))


def _charged(levels: tuple[Path, ...]) -> tuple[Path, ...]:
    """Returns the levels that count this process: all below a parent that doesn't count its children (version 1)."""
    for place, folder in enumerate(levels[1:], start=1):
        if (read_text(folder / "memory.use_hierarchy") or "1").strip() == "0":
            return levels[:place]
    return levels


def is_memory_backed(folder: Path, proc: Path = Path("/proc")) -> bool:
    """Returns whether what lies in a folder takes memory: the innermost mount above it is a file system in memory."""
    place, kinds = folder.resolve(), {}
    try:
        text = (proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    for mount in _parse_mountinfo(text):
        if place.is_relative_to(mount.point):
            kinds[str(mount.point)] = mount.kind  # a later mount at the same place hides the one before
    return bool(kinds) and kinds[max(kinds, key=len)] in {"tmpfs", "ramfs"}


class _Level(NamedTuple):
    limit_bytes: int | None
    usage_bytes: int | None
    reclaimable_bytes: int | None


class GroupPids(NamedTuple):
    """The processes of a control group: their numbers here, and how many more have none here."""

    seen: frozenset[int]
    unseen: int


def read_control_groups(
    folders: GroupFolders | None, host_total_bytes: int
) -> tuple[tuple[ControlGroup, ...], tuple[str, ...]]:
    """Returns the groups with a limit below the host's, innermost first, and notes on levels that can't be read."""
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


def count_oom_kills(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int | None:
    """Returns how many processes of this process' own control group the kernel has killed for memory so far.

    A rise across the death of a child by SIGKILL says that it was out of memory. Where the group keeps no count, the
    host's own is returned; `None` where there is none either.
    """
    folders = find_group(proc, sys)
    if folders is not None:
        name = "memory.oom_control" if folders.version == 1 else "memory.events"
        count = parse_fields(read_text(folders.levels[0] / name) or "").get("oom_kill")
        if count is not None:
            return count
    return parse_fields(read_text(proc / "vmstat") or "").get("oom_kill")


def read_group_pids(folder: Path) -> GroupPids | None:
    """Returns the processes of a group and of those below it, or `None` where that cannot be read."""
    if read_text(folder / "cgroup.procs") is None:
        return None
    # Version 1 without a hierarchy: what is below is not charged to the group.
    alone = (read_text(folder / "memory.use_hierarchy") or "1").strip() == "0"
    # `os.walk` passes over a group that is removed meanwhile, where `Path.rglob` raises.
    groups = [folder] if alone else (Path(place) for place, _, _ in os.walk(folder))
    # A threaded group refuses; its processes stand in the list of the group above it (cgroups(7)).
    words = [word for group in groups for word in (read_text(group / "cgroup.procs") or "").split()]
    pids = [pid for word in words if (pid := parse_number(word)) is not None]
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
    limit = parse_number(text)
    if limit is None:
        notes.append(f"{path} is neither a number nor max: {text.strip()[:40]!r}. Whether it sets a limit is unknown.")
    return limit


def _file_cache(folder: Path, prefix: str, mapped: str) -> int | None:
    """Returns the page cache that goes before anybody is killed: file pages that no process has mapped."""
    stat = parse_fields(read_text(folder / "memory.stat") or "")
    inactive = stat.get(f"{prefix}inactive_file")
    if inactive is None:
        return None
    return max(0, inactive + stat.get(f"{prefix}active_file", 0) - stat.get(mapped, 0))


def read_pressure(folders: GroupFolders | None, proc: Path = Path("/proc")) -> Pressure | None:
    """Returns the pressure of this process' control group, else of the host; `None` where the kernel doesn't tell."""
    places = [proc / "pressure" / "memory"]
    if folders is not None and folders.version == 2:
        places.insert(0, folders.levels[0] / "memory.pressure")
    texts = (read_text(place) for place in places)
    return next((pressure for text in texts if text and (pressure := parse_pressure(text))), None)


def parse_pressure(text: str) -> Pressure | None:
    """Returns the ten-second averages of a PSI file, or `None` where it holds none (Documentation/accounting/psi)."""
    averages = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].startswith("avg10="):
            averages[words[0]] = words[1].removeprefix("avg10=")
    try:
        return Pressure(float(averages["some"]), float(averages["full"]))
    except (KeyError, ValueError):
        return None
