"""What memory that can be given back costs: time per update after `share_memory` over TensorFlow's default allocator.

Three sides: TensorFlow's default; malloc, as the C library comes; and what `share_memory` sets up. Each turn is a
process of its own, since an allocator is chosen once; the sides take turns, and a figure is the median of the ratios
within one turn, with their range. The processors' time is kept beside the clock's: on a machine that others use, too,
it tells more. Each process ends with updates of one sample and `give_back`, as after a shrink.
`python benchmarks/releasable.py --json results.json` keeps the raw samples.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from harness import Cell, Findings, Table, benchmark, ratio, say
from support.models import NETS

QUESTION = "What does memory cost that can be given back while a training runs?"
MIB = 1 << 20
SIDES = ("default", "malloc", "shared")
MODELS = ("small conv net", "MobileNetV2")


def turn(side: str, name: str, size: int, updates: int) -> dict[str, Any]:
    """Trains in this process, shrinks, gives back; returns seconds per update and bytes."""
    from autobatch.backend import release as sharing
    from autobatch.memory.sensors.procfs import peak_rss_bytes, read_process

    if side == "shared":
        sharing.share_memory()

    import numpy as np

    from autobatch.backend import engine_for
    from autobatch.backend.base import BatchTotals
    from autobatch.data.batch import Batch

    net = NETS[name]
    data = Batch(*net.samples(size))
    engine = engine_for(net.compiled(), data[:2])

    def update(batch: Batch) -> None:
        float(np.asarray(engine.accumulate(batch, BatchTotals(batch.size))["loss"]))

    for _ in range(3):
        update(data)
    wall, faults, used = [], _faults(), time.process_time()
    for _ in range(updates):
        began = time.perf_counter()
        update(data)
        wall.append(time.perf_counter() - began)
    used = (time.process_time() - used) / updates
    faults = (_faults() - faults) // updates
    high = peak_rss_bytes()
    for _ in range(2):
        update(data[:1])
    before = read_process()[0].rss_bytes
    began = time.perf_counter()
    given = sharing.release_memory()
    return {
        "wall_s": statistics.median(wall),
        "processor_s": used,
        "page_faults": faults,
        "peak_rss_bytes": high,
        "before_bytes": before,
        "after_bytes": read_process()[0].rss_bytes,
        "give_back_s": time.perf_counter() - began,
        "given_bytes": given.host_bytes,
    }


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def start(side: str, name: str, size: int, updates: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--turn", side, name, str(size), str(updates)]
    environ = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"} if side == "malloc" else {}),
    }
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(name: str, size: int, updates: int, turns: int) -> dict[str, Any]:
    say(f"{name}, {size} samples: {turns} processes of each side")
    sides: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(turns):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            sides[side].append(start(side, name, size, updates))
    return {"model": name, "size": size, "updates": updates, "sides": sides}


def row(result: dict[str, Any], side: str) -> list[Cell]:
    def values(of: str, key: str) -> list[float]:
        return [sample[key] for sample in result["sides"][of]]

    def middle(key: str, unit: float = 1) -> int:
        return round(statistics.median(values(side, key)) / unit)

    def over_default(key: str) -> str | None:
        return None if side == "default" else str(ratio(values(side, key), values("default", key)))

    times = (middle("wall_s", 1e-3), over_default("wall_s"), over_default("processor_s"), middle("page_faults"))
    memory = (middle("peak_rss_bytes", MIB), middle("after_bytes", MIB), middle("give_back_s", 1e-3))
    return [result["model"], result["size"], side, *times, *memory]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=NETS, help="a small conv net and, in the full form, MobileNetV2")
    parser.add_argument("--sizes", type=int, nargs="+", help="samples in an update; 8 and 64, in the short form 64")
    parser.add_argument("--updates", type=int, default=12, help="timed updates in a turn")
    parser.add_argument("--turns", type=int, help="processes of each side; 5, in the short form 1")


def measure(args: argparse.Namespace) -> Findings:
    models = args.models or (MODELS[:1] if args.quick else MODELS)
    sizes, turns = args.sizes or ([64] if args.quick else [8, 64]), args.turns or (1 if args.quick else 5)
    results = [compare(name, size, args.updates, turns) for name in models for size in sizes]
    columns = ("model", "samples", "allocator", "ms an update", "over the default", "processor time, over the default")
    memory = ("fresh pages an update", "peak, MiB", "after giving back, MiB", "giving back, ms")
    rows = [row(result, side) for result in results for side in SIDES]
    notes = [
        "The default is TensorFlow's; malloc the C library's as it comes; shared what share_memory sets up.",
        "A turn is a process of its own, since an allocator is chosen once.",
    ]
    return Findings([Table("An update, and what is left", (*columns, *memory), rows)], [], notes, results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--turn"]:  # one of the processes that `start` starts
        side, name, size, updates = sys.argv[2:]
        print(json.dumps(turn(side, name, int(size), int(updates))))
    else:
        benchmark("releasable", "Memory given back", QUESTION, measure, options)
