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
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nets import CLASSES, NETS, PIXELS

MIB = 1 << 20
SIDES = ("default", "malloc", "shared")


def make(name: str) -> Any:
    """One of the models, compiled."""
    model = NETS[name]()
    model.compile("adam", "categorical_crossentropy")
    return model


def turn(side: str, name: str, size: int, updates: int) -> dict[str, Any]:
    """Trains in this process, shrinks, gives back; returns seconds per update and bytes."""
    from autobatch.memory.process import peak_rss_bytes, read_process
    from autobatch.step import sharing

    if side == "shared":
        sharing.share_memory()

    import numpy as np

    from autobatch.data.batch import Batch
    from autobatch.step.backend import engine_for
    from autobatch.step.engine import Whole

    draw = np.random.default_rng(0)
    x = draw.random((size, PIXELS, PIXELS, 3), dtype=np.float32)
    data = Batch(x, np.eye(CLASSES, dtype=np.float32)[draw.integers(0, CLASSES, size)])
    engine = engine_for(make(name), data[:2])

    def update(batch: Batch) -> None:
        float(np.asarray(engine.accumulate(batch, Whole.of(batch))["loss"]))

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
    given = sharing.give_back()
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
    """Runs a turn in a process of its own."""
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
    """All sides in turns; the side that goes first changes."""
    sides: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(turns):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            sides[side].append(start(side, name, size, updates))
    return {"model": name, "size": size, "sides": sides}


def ratios(result: dict[str, Any], side: str, key: str) -> list[float]:
    """A side over the default, turn by turn, in order of size."""
    pairs = zip(result["sides"][side], result["sides"]["default"], strict=True)
    return sorted(sample[key] / default[key] for sample, default in pairs)


HEADS = ("model", "size", "side", "ms", "over default (range)", "processor (range)", "faults", "peak", "after", "in ms")
WIDTHS = (15, 4, 8, 8, 20, 20, 7, 6, 6, 6)


def line(cells: Iterable[Any]) -> str:
    """Cells below each other."""
    return " ".join(str(cell).rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def row(result: dict[str, Any], side: str) -> str:
    """A line of the table."""

    def middle(key: str, unit: float = 1) -> float:
        return round(statistics.median(sample[key] for sample in result["sides"][side]) / unit)

    def over_default(key: str) -> str:
        values = ratios(result, side, key)
        return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"

    times = (middle("wall_s", 1e-3), over_default("wall_s"), over_default("processor_s"), middle("page_faults"))
    memory = (middle("peak_rss_bytes", MIB), middle("after_bytes", MIB), middle("give_back_s", 1e-3))
    return line((result["model"], result["size"], side, *times, *memory))


def main() -> None:
    """Prints a table, and keeps the samples where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--updates", type=int, default=12, help="timed updates in a turn")
    parser.add_argument("--turns", type=int, default=5, help="processes of each side")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turn", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        side, name, size, updates = args.turn
        print(json.dumps(turn(side, name, int(size), int(updates))))
        return
    print("ms: an update; faults: fresh pages an update; peak, after giving back: MiB resident; in ms: giving back")
    print(line(HEADS))
    results = []
    for name in args.models:
        for size in args.sizes:
            results.append(compare(name, size, args.updates, args.turns))
            for side in SIDES:
                print(row(results[-1], side), flush=True)
    if args.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
