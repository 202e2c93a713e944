"""The processes that can be seen from here: what they occupy on the host, and whether the driver's numbers are theirs.

Covered: processes that end meanwhile, files that may not be read, kernel threads (they occupy nothing of their own).
Not covered: processes outside a container's own process numbers, and those that the system hides from this user.
"""

from pathlib import Path

from autobatch.memory.facts import ResidentProcess
from autobatch.memory.files import fields, read_text
from autobatch.memory.host import processes_without_proc

# The kernel's fixed number of the machine's own process numbers (PROC_PID_INIT_INO in linux/proc_ns.h)
_MACHINES_OWN = "pid:[4026531836]"
# What CUDA opens and NVML does not; on WSL there is one device for both
_OPENED_BY_CUDA = ("/dev/nvidia-uvm", "/dev/dxg")


def read_processes(proc: Path) -> tuple[tuple[ResidentProcess, ...], tuple[str, ...]]:
    """Returns every process that tells what it occupies, and a note on those that do not.

    Args:
        proc: Where the kernel's process files are; psutil is asked where there are none.
    """
    if not proc.is_dir():
        found, refused = processes_without_proc()
    else:
        found, refused = _from_proc(proc)
    notes = (f"{refused} processes do not tell this user what they occupy: left out.",) if refused else ()
    return tuple(found), notes


def sees_machines_numbers(proc: Path) -> bool:
    """Returns whether this process' numbers of processes are the machine's own, not those of a container."""
    try:
        return str((proc / "self" / "ns" / "pid").readlink()) == _MACHINES_OWN
    except OSError:
        return False


def has_opened_cuda(pid: int, proc: Path) -> bool:
    """Returns whether a process computes on a GPU, by its open files; `False` where they may not be read."""
    try:
        return any(str(link.readlink()).startswith(_OPENED_BY_CUDA) for link in (proc / str(pid) / "fd").iterdir())
    except OSError:
        return False


def is_known_here(pid: int, proc: Path) -> bool:
    """Returns whether a number that the driver lists can be told to be that of the process of that number here.

    Args:
        pid: A process that can be seen from here.
        proc: Where the kernel's process files are.
    """
    return sees_machines_numbers(proc) or has_opened_cuda(pid, proc)


def _from_proc(proc: Path) -> tuple[list[ResidentProcess], int]:
    found, refused = [], 0
    for folder in _folders(proc):
        text = read_text(folder / "status")
        if text is None:
            refused += folder.is_dir()  # gone otherwise, between the listing and the look
            continue
        rss_bytes = fields(text).get("VmRSS")
        if rss_bytes is not None:
            found.append(ResidentProcess(int(folder.name), _name(text), rss_bytes))
    return found, refused


def _folders(proc: Path) -> list[Path]:
    try:
        return [entry for entry in proc.iterdir() if entry.name.isascii() and entry.name.isdigit()]
    except OSError:
        return []


def _name(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("Name:").strip() if first.startswith("Name:") else "?"
