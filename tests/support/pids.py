"""Trees of /proc that tell whether a driver's numbers of processes are those of this machine."""

from collections.abc import Mapping
from pathlib import Path

MACHINES_PIDS, CONTAINERS_PIDS = "pid:[4026531836]", "pid:[4026532999]"


def number_processes(proc: Path, numbers: str | None = MACHINES_PIDS, opened: Mapping[int, str] | None = None) -> Path:
    """Writes into a tree what its numbers of processes are, and a file that each of these processes has open."""
    links = {} if numbers is None else {proc / "self" / "ns" / "pid": numbers}
    links |= {proc / str(pid) / "fd" / "7": file for pid, file in (opened or {}).items()}
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return proc
