"""This process' resident memory and its high-water mark."""

import os
from pathlib import Path

from autobatch.memory.facts import ProcessMemory
from autobatch.memory.files import fields, read_text
from autobatch.memory.host import rss_without_proc

PROC = Path("/proc")


def read_process(proc: Path = PROC) -> tuple[ProcessMemory, tuple[str, ...]]:
    """Returns this process' memory on the host, and notes on what could not be read.

    Args:
        proc: Where the kernel's process files are.
    """
    found = fields(read_text(proc / "self" / "status") or "")
    rss, peak = found.get("VmRSS"), found.get("VmHWM")
    if rss is None:
        return ProcessMemory(rss_without_proc()), (f"{proc}/self/status is not there: this process' peak is unknown.",)
    if peak is None:
        return ProcessMemory(rss), (f"{proc}/self/status names no VmHWM: this process' peak is unknown.",)
    return ProcessMemory(rss, peak), ()


def peak_rss_bytes(proc: Path = PROC) -> int | None:
    """Returns the most that was resident since the start or the last reset (VmHWM), or `None` where unknown."""
    return fields(read_text(proc / "self" / "status") or "").get("VmHWM")


def reset_peak_rss(proc: Path = PROC) -> bool:
    """Sets the high-water mark back to what is resident now; returns whether the kernel let it.

    Writes 5 to clear_refs (proc_pid_clear_refs(5)). A sandbox may lack or refuse that.
    """
    # No O_CREAT: where there is no such file, none is to appear.
    try:
        descriptor = os.open(proc / "self" / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, b"5")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
