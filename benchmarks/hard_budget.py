"""Real training steps of one model in a process whose memory pool has a hard limit: over it, an error, as on a GPU.

TensorFlow's pool for GPUs (BFC) serves the CPU here, with a limit. So peaks are those of its own counters, a step that
does not fit raises `ResourceExhaustedError` after the pool has waited ten seconds for memory, as it does on a GPU, and
the process goes on afterwards. Without oneDNN, which would bring a pool of its own.

`python benchmarks/hard_budget.py NET LIMIT_MIB` serves: a size a line on stdin, an answer in JSON a line on stdout.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

MIB = 1 << 20
STEPS = 3
WARM_UP_SIZE = 2
_AT_ONCE = 0.97

Ending = Literal["ran", "out of memory", "died"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one size.

    Attributes:
        size: Samples in the batch.
        ending: How it ended.
        peak_bytes: The most the pool held in use, of all its steps; `None` if the process died.
        seconds: From the question to the answer.
        step_s: Of each step that ran.
    """

    size: int
    ending: Ending
    peak_bytes: int | None
    seconds: float
    step_s: tuple[float, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether every step ran to its end."""
        return self.ending == "ran"


class HardBudget:
    """A process that tries sizes of a model within a hard limit; it is started again after a death.

    Args:
        net: Name of a model in `models.NETS`.
        limit_mib: What the pool may hold.

    Attributes:
        base_bytes: What the model holds of it between steps, once it has been trained.
        start_s: How long start, building the model and its first two steps took.
    """

    def __init__(self, net: str, limit_mib: int) -> None:
        self._net, self.limit_bytes = net, limit_mib * MIB
        self._process: subprocess.Popen[str] | None = None
        self.base_bytes, self.start_s = 0, 0.0
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attempt(self, size: int) -> Tried:
        """Runs a few steps at one size."""
        if self._process is None:
            self._start()
        began = time.perf_counter()
        answer = self._ask(str(size))
        seconds = time.perf_counter() - began
        if answer is None:
            return Tried(size, "died", None, seconds)
        return Tried(size, answer["ending"], answer["peak_bytes"], seconds, tuple(answer["step_s"]))

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> None:
        limit_mib = self.limit_bytes // MIB
        environ = {
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TF_CPU_ALLOCATOR_USE_BFC": "1",
            "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(limit_mib),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._net, str(limit_mib)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        ready = self._ask(None)
        if ready is None:
            raise SystemExit(f"{self._net} cannot be trained at all within {limit_mib} MiB.")
        self.base_bytes, self.start_s = ready["base_bytes"], time.perf_counter() - began

    def _ask(self, line: str | None) -> dict[str, Any] | None:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return None
        try:
            if line is not None:
                print(line, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer.endswith("\n"):
            self.close()
            return None
        values: dict[str, Any] = json.loads(answer)
        return values


class Recorded:
    """Runs each size once and remembers what came of it, so that everyone who asks gets the same answer."""

    def __init__(self, attempt: Callable[[int], Tried]) -> None:
        self._attempt = attempt
        self.known: dict[int, Tried] = {}

    def attempt(self, size: int) -> Tried:
        """What came of a size."""
        if size not in self.known:
            self.known[size] = self._attempt(size)
        return self.known[size]


def serve(name: str, limit_bytes: int) -> None:
    """Answers sizes on stdin until it is closed."""
    out, sys.stdout = sys.stdout, sys.stderr
    import gc

    import tensorflow as tf
    from models import NETS

    # The pool takes all of its memory at once, as on a GPU: in pieces, what fits would depend on what was tried before.
    tf.zeros([int(_AT_ONCE * limit_bytes)], tf.int8)
    net = NETS[name]
    model = net.compiled()
    few = net.samples(WARM_UP_SIZE)

    def tell(**values: Any) -> None:
        print(json.dumps(values), file=out, flush=True)

    def in_use() -> dict[str, int]:
        figures: dict[str, int] = tf.config.experimental.get_memory_info("CPU:0")
        return figures

    def steps(data: Any) -> list[float]:
        taken = []
        for _ in range(STEPS):
            began = time.perf_counter()
            model.train_on_batch(*data)
            taken.append(time.perf_counter() - began)
        return taken

    def ending(size: int) -> tuple[Ending, list[float]]:
        try:
            return "ran", steps(net.samples(size))
        except tf.errors.ResourceExhaustedError:
            return "out of memory", []

    for data in (few, net.samples(1), few):  # from the second size on, one trace serves all
        model.train_on_batch(*data)
    tell(base_bytes=in_use()["current"])
    for line in sys.stdin:
        tf.config.experimental.reset_memory_stats("CPU:0")
        how, taken = ending(int(line))
        gc.collect()
        tell(ending=how, step_s=taken, peak_bytes=in_use()["peak"])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    serve(sys.argv[1], int(sys.argv[2]) * MIB)
