"""Time lost to waiting for memory (PSI), of the control group or of the host."""

from pathlib import Path

from autobatch.memory.facts import Pressure
from autobatch.memory.files import read_text
from autobatch.memory.mounts import GroupFolders


def read_pressure(folders: GroupFolders | None, proc: Path = Path("/proc")) -> Pressure | None:
    """Returns the pressure of this process' control group, else of the host; `None` where the kernel doesn't tell.

    Args:
        folders: What `autobatch.memory.mounts.find_group` found. Version 1 keeps no pressure.
        proc: Where the kernel's process files are.
    """
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
