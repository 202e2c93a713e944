"""Processes that hold, take, or keep allocating memory beside what is checked: `python actors.py ROLE JSON`.

The JSON names the control group to join before anything is taken, or none, and whose memory is meant: "gpu" or "host".
Every actor prints a line of JSON for what happens, with the moment on the clock that all processes share.

- `hold`: takes `amount` bytes, and keeps them until it is ended.
- `take`: takes `amount` bytes at `rate` bytes a second, keeps them for `hold_s` seconds, gives them back and ends. What
  is not there it asks for again, as soon as somebody has let go of it, until nobody has for `patience_s` seconds.
- `churn`: takes `amount` bytes, reads them back and gives them back, 20 times a second, as a training does that is not
  ours; ends with status 1 at the first time that they are not there.
- `search`: takes twice as much each time until there is no more, as a search by trial and error does, and whatever
  somebody lets go of, until the file `stop` is there.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    PART: dict[str, Any] = json.loads(sys.argv[2])
    if PART.get("group"):  # before anything is imported: all that it occupies counts
        Path(PART["group"], "cgroup.procs").write_text("0", encoding="utf-8")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check.cuda import Cuda, Host, Memory, OutOfMemoryError

MIB = 1 << 20
FAILED = 1
STEP_S = 0.05
_EDGE_S = 0.001
_PATIENCE_S = 5


def say(kind: str, **facts: Any) -> None:
    """Tells the check."""
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


def memory_of(part: dict[str, Any]) -> Memory:
    """Where an actor takes memory: of the GPU, of the group that stands for one, or of the machine."""
    if part["of"] == "gpu":
        return Cuda()
    return Host(Path(part["group"]) if part.get("group") else None)


def hold(memory: Memory, part: dict[str, Any]) -> int:
    """Takes it all at once, and keeps it until somebody says a word."""
    handle = memory.take(part["amount"])
    say("held", held=part["amount"])
    if isinstance(memory, Cuda):
        say("driver", free_and_total=memory.free_and_total(), uuids=memory.uuids())
    say("own", **_own())
    sys.stdin.readline()
    memory.give(handle)
    say("held", held=0)
    return 0


def take(memory: Memory, part: dict[str, Any]) -> int:
    """Takes piece by piece at a rate; waits for what is not there."""
    step = max(MIB, int(part["rate"] * STEP_S) // MIB * MIB)
    handles: list[Any] = []
    held = waited = 0
    while held + MIB <= part["amount"]:
        began = time.monotonic()
        size = min(step, (part["amount"] - held) // MIB * MIB)
        try:
            handles.append(memory.take(size))
            held, waited = held + size, 0
            say("held", held=held)
        except OutOfMemoryError:
            # Of a large card a step is more than a training leaves free: the last of it is taken in smaller ones.
            step = max(MIB, step // 2 // MIB * MIB)
            waited += 1
        time.sleep(max(0.0, began + STEP_S - time.monotonic()))
        if waited * STEP_S > part.get("patience_s", _PATIENCE_S):
            break  # nobody lets go of any more
    say("has", held=held, waited=waited)
    time.sleep(part["hold_s"])
    intact = all(memory.is_intact(handle) for handle in handles)
    for handle in handles:
        memory.give(handle)
    say("held", held=0)
    return 0 if intact else FAILED


def churn(memory: Memory, part: dict[str, Any]) -> int:
    """Takes and gives back until it fails, or is ended."""
    rounds = 0
    while True:
        try:
            handle = memory.take(part["amount"])
        except OutOfMemoryError:
            say("failed", rounds=rounds)
            return FAILED
        time.sleep(STEP_S / 2)
        if not memory.is_intact(handle):
            say("spoiled", rounds=rounds)
            return FAILED
        memory.give(handle)
        rounds += 1
        say("round", rounds=rounds)
        time.sleep(STEP_S / 2)


def search(memory: Memory, part: dict[str, Any]) -> int:
    """Doubles until there is no more, and stays at the edge until it is told to stop.

    Others give back and take again: one look for the last byte could fall into a moment in which they hold theirs, and
    on a busy machine any span of time could.
    """
    handles: list[Any] = []
    size, found, full = part["amount"], 0, False
    while not (full and Path(part["stop"]).exists()):
        try:
            handles.append(memory.take(size))
            found, size = found + size, 2 * size
        except OutOfMemoryError:
            if size == MIB and not full:
                full = True
                say("full", held=found)
            size = max(MIB, size // 2)
            time.sleep(_EDGE_S)  # a look is cheap, and others need the processor
    say("had", held=found)
    for handle in handles:
        memory.give(handle)
    return 0


def _own() -> dict[str, Any]:
    """What this process reads of itself."""
    import os

    from autobatch.memory.gpu import read_devices
    from autobatch.memory.process import read_process

    devices, notes = read_devices(os.getpid())
    own = devices[0].used_by_this_process_bytes if devices else None
    return {"pid": os.getpid(), "device_bytes": own, "rss_bytes": read_process()[0].rss_bytes, "notes": notes}


ROLES = {"hold": hold, "take": take, "churn": churn, "search": search}

if __name__ == "__main__":
    sys.exit(ROLES[sys.argv[1]](memory_of(PART), PART))
