"""What the machinery costs: time per update of autobatch over plain `model.fit`, at the same size and the same data.

Both train on the same arrays in memory, in turns within one run; the figure is the median of the ratios of neighbouring
turns, with their quartiles. `python benchmarks/overhead.py --json results.json` keeps the raw samples.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from nets import CLASSES, NETS, PIXELS

from autobatch.data.batch import Batch
from autobatch.data.cut import rungs
from autobatch.memory.read import read_memory
from autobatch.memory.reading import DEFAULT_RESERVE
from autobatch.step.backend import engine_for
from autobatch.step.sharing import give_back
from autobatch.train.controller import Controller, Outside
from autobatch.train.loop import Plan, run
from autobatch.train.policy import Policy
from autobatch.train.rooms import Rooms
from autobatch.train.updating import Cutter
from autobatch.train.watch import Watch


class Arrays:
    """A source of arrays in memory."""

    seed = 0

    def __init__(self, data: Batch) -> None:
        self._data = data
        self.sample_bytes = data.nbytes // data.size

    def __len__(self) -> int:
        return self._data.size

    def read(self, indices: Any, epoch: int) -> Batch:
        """The samples at `indices`, the same in every epoch."""
        del epoch
        return self._data.take(indices)


def compare(name: str, size: int, updates: int, turns: int) -> dict[str, Any]:
    """Seconds per update of both, turn by turn."""
    draw = np.random.default_rng(0)
    x = draw.random((size * updates, PIXELS, PIXELS, 3), dtype=np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[draw.integers(0, CLASSES, len(x))]
    data = Batch(x, y)
    ours, theirs = (NETS[name]() for _ in range(2))
    for model in (ours, theirs):
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    engine = engine_for(ours, data[:2])

    # Readings as in a training, and a policy that has something to weigh; what it decides is to stay.
    held = read_memory().process.rss_bytes
    policy = Policy(rungs(size, size), {"host": lambda samples: held + 2**30 + samples})
    outside = Outside(changed=print, watch=Watch(read_memory, Rooms(DEFAULT_RESERVE)), give_back=give_back)

    def train_ours() -> None:
        plan = Plan(effective=size, verbose=0)
        run(ours, engine, Arrays(data), Cutter(Controller(policy, size, outside)), plan)

    def train_theirs() -> None:
        theirs.fit(x, y, batch_size=size, verbose=0)

    seconds: dict[str, list[float]] = {"autobatch": [], "keras": []}
    for turn in range(turns + 1):
        for side, train in (("keras", train_theirs), ("autobatch", train_ours)):
            began = time.perf_counter()
            train()
            if turn:  # the first turn compiles
                seconds[side].append((time.perf_counter() - began) / updates)
    ratios = [a / k for a, k in zip(seconds["autobatch"], seconds["keras"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"model": name, "size": size, "seconds": seconds, "ratio": middle, "quartiles": [low, high]}


def main() -> None:
    """Prints a table, and keeps the samples where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--updates", type=int, default=12, help="updates in a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = []
    print(f"{'model':<16} {'size':>5} {'keras':>9} {'autobatch':>10} {'ratio':>7}  quartiles")
    for name in NETS:
        for size in args.sizes:
            result = compare(name, size, args.updates, args.turns)
            results.append(result)
            keras_s, ours_s = (statistics.median(result["seconds"][side]) for side in ("keras", "autobatch"))
            low, high = result["quartiles"]
            print(
                f"{name:<16} {size:>5} {keras_s * 1e3:>6.1f} ms {ours_s * 1e3:>7.1f} ms {result['ratio']:>7.3f}  "
                f"{low:.3f} to {high:.3f}",
                flush=True,
            )
    if args.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
