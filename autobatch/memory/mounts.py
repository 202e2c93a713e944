"""Which memory control group this process is in, and where its folders are."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autobatch.memory.files import read_text


@dataclass(frozen=True, slots=True)
class GroupFolders:
    """The folders of a memory control group and of its ancestors.

    Attributes:
        version: 1 or 2.
        levels: The group's own folder first, the uppermost that can be seen last.
        certain: Whether the first is known to be the group's own; in a container that may be a guess.
    """

    version: Literal[1, 2]
    levels: tuple[Path, ...]
    certain: bool = True


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: Path


def find_group(proc: Path, sys: Path) -> GroupFolders | None:
    """Returns the folders of this process' memory control group, or `None` where there is none.

    In a hybrid set-up the memory controller is on version 1 or on version 2, never on both; /proc/self/cgroup names
    it where it is on version 1 (cgroups(7)).

    Args:
        proc: Where the kernel's process files are.
        sys: Where its system files are; mount points under /sys are looked up below it.
    """
    paths = _own_paths(read_text(proc / "self" / "cgroup") or "")
    mountinfo = read_text(proc / "self" / "mountinfo") or ""
    if "memory" in paths or not paths:  # the second: the list can't be read, and whatever is mounted is taken
        mounts = list(_mounts(mountinfo, "cgroup", "memory", sys)) or _guess(sys / "fs" / "cgroup" / "memory")
        levels, certain = _levels(mounts, paths.get("memory", "/"))
        if levels:
            return GroupFolders(1, _charged(levels), certain and bool(paths))
    mounts = list(_mounts(mountinfo, "cgroup2", "", sys)) or _guess(sys / "fs" / "cgroup", "cgroup.controllers")
    levels, certain = _levels(mounts, paths.get("", "/"))
    return GroupFolders(2, levels, certain and bool(paths)) if levels else None


def _own_paths(text: str) -> dict[str, str]:
    """Returns the group of each controller, that of version 2 under the empty name."""
    paths = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            paths.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return paths


def _mounts(mountinfo: str, kind: str, controller: str, sys: Path) -> Iterator[_Mount]:
    """Yields the control group mounts of one kind, as proc_pid_mountinfo(5) lists them."""
    for line in mountinfo.splitlines():
        if " cgroup" not in line:
            continue
        left, _, right = line.partition(" - ")
        head, tail = left.split(), right.split()
        if len(head) < 5 or len(tail) < 3 or tail[0] != kind:
            continue
        if controller and controller not in tail[2].split(","):
            continue
        point = _below(sys, _plain(head[4]))
        if point is not None and point.is_dir():
            yield _Mount(_plain(head[3]), point)


def _plain(word: str) -> str:
    """Returns a path of mountinfo without its octal escapes (a space is written as a backslash and 040)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _below(sys: Path, point: str) -> Path | None:
    if sys == Path("/sys"):
        return Path(point)
    return sys / point.removeprefix("/sys/") if point.startswith("/sys/") else None


def _guess(point: Path, witness: str = "") -> list[_Mount]:
    return [_Mount("/", point)] if (point / witness).exists() else []


def _levels(mounts: list[_Mount], path: str) -> tuple[tuple[Path, ...], bool]:
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


def in_memory(folder: Path, proc: Path = Path("/proc")) -> bool:
    """Returns whether what lies in a folder takes memory: the innermost mount above it is a file system in memory.

    Args:
        folder: Which one; its links are followed.
        proc: Where the kernel's process files are.
    """
    place, kinds = folder.resolve(), {}
    for line in (read_text(proc / "self" / "mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        head, tail = left.split(), right.split()
        if len(head) >= 5 and tail and place.is_relative_to(_plain(head[4])):
            kinds[_plain(head[4])] = tail[0]  # a later mount at the same place hides the one before
    return bool(kinds) and kinds[max(kinds, key=len)] in {"tmpfs", "ramfs"}
