"""/proc: the machine's memory, this process' own, and the processes that can be seen; psutil where there is no /proc.

The only place that imports `psutil`. Nothing here raises for what can't be read. Covered: processes that end meanwhile,
files that may not be read, kernel threads (they occupy nothing of their own). Not covered: processes outside a
container's own process numbers, and those that the system hides from this user.
"""

import os
from pathlib import Path

from autobatch._text import KIB
from autobatch.memory.types import HostMemory, ProcessMemory, ResidentProcess

PROC = Path("/proc")
_MOST_BYTES = 1 << 20
# The kernel's fixed number of the machine's own process numbers (PROC_PID_INIT_INO in linux/proc_ns.h)
_MACHINES_OWN = "pid:[4026531836]"
# What CUDA opens and NVML does not; on WSL there is one device for both
_OPENED_BY_CUDA = ("/dev/nvidia-uvm", "/dev/dxg")


def read_text(path: Path) -> str | None:
    """Returns the text of a small file, or `None` where it can't be read or is no text."""
    # Not Path.read_text: text mode costs more than the kernel takes to answer, and readings are taken all the time.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = b""
        while len(text) < _MOST_BYTES and (piece := os.read(descriptor, 1 << 16)):
            text += piece
        return text.decode()
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def read_number(path: Path) -> int | None:
    return parse_number(read_text(path))


def parse_number(text: str | None) -> int | None:
    """Returns the whole number that `text` is, or `None`; never a negative one."""
    word = "" if text is None else text.strip()
    return int(word) if word.isascii() and word.isdigit() else None


def parse_fields(text: str) -> dict[str, int]:
    """Returns the numbers of a file of lines such as "name 12" or "Name:  12 kB", in bytes where a unit stands."""
    found = {}
    for line in text.splitlines():
        match line.split():
            case [name, word]:
                scale = 1
            case [name, word, "kB"]:
                scale = KIB
            case _:
                continue
        value = parse_number(word)
        if value is not None:
            found[name.rstrip(":")] = value * scale
    return found


def read_host(proc: Path = PROC) -> tuple[HostMemory, tuple[str, ...]]:
    text = read_text(proc / "meminfo")
    if text is None and not proc.is_dir():
        return _host_from_psutil(), ()
    found = parse_fields(text or "")
    total = found.get("MemTotal", 0)
    if total <= 0:
        return _host_from_psutil(), (f"{proc}/meminfo tells no total, so psutil was asked for the host's memory.",)
    if "MemAvailable" in found:
        return HostMemory(total, min(found["MemAvailable"], total)), ()
    available = found.get("MemFree", 0)
    note = f"{proc}/meminfo does not say what is available, so only what is wholly free is counted on the host."
    return HostMemory(total, min(available, total)), (note,)


def read_process(proc: Path = PROC) -> tuple[ProcessMemory, tuple[str, ...]]:
    found = parse_fields(read_text(proc / "self" / "status") or "")
    rss, peak = found.get("VmRSS"), found.get("VmHWM")
    if rss is None:
        return ProcessMemory(rss_from_psutil()), (f"{proc}/self/status is not there: this process' peak is unknown.",)
    if peak is None:
        return ProcessMemory(rss), (f"{proc}/self/status names no VmHWM: this process' peak is unknown.",)
    return ProcessMemory(rss, peak), ()


def peak_rss_bytes(proc: Path = PROC) -> int | None:
    """Returns the most that was resident since the start or the last reset (VmHWM), or `None` where unknown."""
    return parse_fields(read_text(proc / "self" / "status") or "").get("VmHWM")


def reset_peak_rss(proc: Path = PROC) -> bool:
    """Sets the high-water mark back to what is resident now; returns whether the kernel let it.

    Writes 5 to clear_refs (proc_pid_clear_refs(5)). A sandbox may lack or refuse that.
    """
    # No O_CREAT: where there is no such file, none is to appear.
    try:
        descriptor = os.open(proc / "self" / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(b"5")
    except OSError:
        return False
    return True


def read_processes(proc: Path) -> tuple[tuple[ResidentProcess, ...], tuple[str, ...]]:
    """Returns every process that tells what it occupies, and a note on those that do not."""
    found, refused = _from_proc(proc) if proc.is_dir() else _processes_from_psutil()
    notes = (f"{refused} processes do not tell this user what they occupy: left out.",) if refused else ()
    return tuple(found), notes


def _from_proc(proc: Path) -> tuple[list[ResidentProcess], int]:
    found, refused = [], 0
    try:
        folders = [entry for entry in proc.iterdir() if entry.name.isascii() and entry.name.isdigit()]
    except OSError:
        folders = []
    for folder in folders:
        text = read_text(folder / "status")
        if text is None:
            refused += folder.is_dir()  # gone otherwise, between the listing and the look
            continue
        rss_bytes = parse_fields(text).get("VmRSS")
        if rss_bytes is not None:
            found.append(ResidentProcess(int(folder.name), _process_name(text), rss_bytes))
    return found, refused


def _process_name(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("Name:").strip() if first.startswith("Name:") else "?"


def in_host_pid_namespace(proc: Path) -> bool:
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


def is_local_pid(pid: int, proc: Path) -> bool:
    """Returns whether a number that the driver lists is known to be that of the process of that number here."""
    return in_host_pid_namespace(proc) or has_opened_cuda(pid, proc)


def rss_from_psutil() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _processes_from_psutil() -> tuple[list[ResidentProcess], int]:
    """Returns the processes that tell what they occupy, and how many refuse."""
    import psutil

    found, refused = [], 0
    for process in psutil.process_iter(["name", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is None:
            refused += 1
        else:
            found.append(ResidentProcess(process.pid, process.info["name"] or "?", int(memory.rss)))
    return found, refused


def _host_from_psutil() -> HostMemory:
    import psutil

    memory = psutil.virtual_memory()
    return HostMemory(int(memory.total), int(memory.available))
