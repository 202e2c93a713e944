"""The machine's memory: /proc/meminfo, and psutil where there is no such file."""

from pathlib import Path

from autobatch.memory.facts import HostMemory, ResidentProcess
from autobatch.memory.files import fields, read_text


def read_host(proc: Path = Path("/proc")) -> tuple[HostMemory, tuple[str, ...]]:
    """Returns the machine's memory, and notes on what could not be read.

    Args:
        proc: Where the kernel's process files are.
    """
    text = read_text(proc / "meminfo")
    if text is None and not proc.is_dir():
        return _ask_psutil(), ()
    found = fields(text or "")
    total = found.get("MemTotal", 0)
    if total <= 0:
        return _ask_psutil(), (f"{proc}/meminfo tells no total, so psutil was asked for the host's memory.",)
    if "MemAvailable" in found:
        return HostMemory(total, min(found["MemAvailable"], total)), ()
    available = found.get("MemFree", 0)
    note = f"{proc}/meminfo does not say what is available, so only what is wholly free is counted on the host."
    return HostMemory(total, min(available, total)), (note,)


def rss_without_proc() -> int:
    """Returns the resident bytes of this process from psutil, for systems without /proc."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def processes_without_proc() -> tuple[list[ResidentProcess], int]:
    """Returns the processes that psutil can tell of, and how many refuse, for systems without /proc."""
    import psutil

    found, refused = [], 0
    for process in psutil.process_iter(["name", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is None:
            refused += 1
        else:
            found.append(ResidentProcess(process.pid, process.info["name"] or "?", int(memory.rss)))
    return found, refused


def _ask_psutil() -> HostMemory:
    import psutil

    memory = psutil.virtual_memory()
    return HostMemory(int(memory.total), int(memory.available))
