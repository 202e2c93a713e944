"""Where a temporary checkpoint goes: to a disk, if one is at hand.

Many systems keep /tmp in memory. A checkpoint there would take what the training is short of, and counts against the
control group that it is killed in.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

_IN_MEMORY = {"tmpfs", "ramfs"}
_OFTEN_ON_DISK = "/var/tmp"  # noqa: S108 - the place that is meant to outlast a restart of the machine
_MOUNTS = Path("/proc/self/mounts")


def scratch_folder(environ: Mapping[str, str] = os.environ, mounts: Path = _MOUNTS, other: str = _OFTEN_ON_DISK) -> str:
    """The folder to make temporary checkpoints in: that of `TMPDIR`, else one on a disk, else the usual one.

    Args:
        environ: The environment.
        mounts: The list of mounted file systems.
        other: Where to go if the usual place is in memory.
    """
    usual = tempfile.gettempdir()
    if environ.get("TMPDIR") or not is_in_memory(usual, mounts):
        return usual
    usable = os.access(other, os.W_OK | os.X_OK) and not is_in_memory(other, mounts)
    return other if usable else usual


def is_in_memory(folder: str, mounts: Path = _MOUNTS) -> bool:
    """Whether a folder is known to be on a file system that is kept in memory."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    path = os.path.realpath(folder)
    kinds = {place: kind for _, place, kind in (line.split()[:3] for line in lines if len(line.split()) >= 3)}
    above = [place for place in kinds if path == place or path.startswith(place.rstrip("/") + "/")]
    return bool(above) and kinds[max(above, key=len)] in _IN_MEMORY
