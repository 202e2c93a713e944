"""Whether what trials have taken of a GPU is free again, once their process has ended.

A process is gone before the driver has taken all of its memory back. Who reads the GPU in between, to decide what a
training may take, would take the end of the trials for a neighbour.
"""

import time
from collections.abc import Callable

from autobatch._text import MIB, format_bytes
from autobatch.memory.types import Device

# What a driver keeps for a GPU that has been used, and what a desktop takes and leaves all the time.
_UNNOTICED = 64 * MIB
_BETWEEN_S = 0.02


def wait_until_gone(
    read: Callable[[], Device | None],
    before: Device,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Waits until as much of a GPU is free as before; returns a sentence if that does not come to pass.

    Args:
        read: Reads the GPU; `None` where it cannot be read any more, and then nothing can be said.
        before: The GPU before the process of the trials was started.
        timeout_s: Seconds to wait at most.
        clock: Seconds that never go back.
        sleep: Waits for some seconds.
    """
    began = clock()
    while (device := read()) is not None:
        less = _missing_bytes(before, device)
        waited_s = clock() - began
        if less <= _UNNOTICED:
            return None
        if waited_s >= timeout_s:
            return (
                f"The process of the trials has ended, and {waited_s:.1f} s later GPU:{device.index} has "
                f"{format_bytes(less)} less free than before: others have taken it meanwhile, or it has not come back."
            )
        sleep(_BETWEEN_S)
    return None


def _missing_bytes(before: Device, now: Device) -> int:
    """What is not free any more and is not this process' own either."""
    own_before, own_now = before.used_by_this_process_bytes, now.used_by_this_process_bytes
    grown = 0 if own_before is None or own_now is None else own_now - own_before
    return before.free_bytes - now.free_bytes - grown
