"""Real training steps of one model in a process whose memory pool has a hard limit: over it, an error, as on a GPU.

TensorFlow's pool for GPUs (BFC) serves, on a CPU as well, with a limit (`capped.py`). So peaks are those of its own
counters, a step that does not fit raises an error after the pool has waited ten seconds for memory, and the process
goes on afterwards.

`python benchmarks/hard_budget.py NET LIMIT_MIB` serves: a size and a number of steps a line on stdin, an answer in JSON
a line on stdout.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from capped import MIB, NAMES, Device, environment, limit, take_at_once
from tooling.runner import say

STEPS = 3
WARM_UP_SIZE = 2
_TAIL_BYTES = 2000

Ending = Literal["ran", "out of memory", "died"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one size.

    Attributes:
        size: Samples in the batch.
        ending: How it ended; after the process has died, the next size gets another.
        peak_bytes: The most the pool held in use, of all its steps.
        seconds: From the question to the answer.
        step_s: Of each step that ran.
        moments: What a step asks for at any size, as `Moments.to_list` writes it; empty until two sizes have run.
    """

    size: int
    ending: Ending
    peak_bytes: int
    seconds: float
    step_s: tuple[float, ...] = ()
    moments: tuple[tuple[int, int], ...] = ()

    @property
    def ran(self) -> bool:
        """Whether every step ran to its end."""
        return self.ending == "ran"


class HardBudget:
    """A process that tries sizes of a model within a hard limit.

    Args:
        net: Name of a model in `models.NETS`.
        limit_mib: What the pool may hold.
        device: Where the steps run.
        policy: How the model computes, as Keras calls it; float32 if left out.
        xla: Whether XLA compiles its steps.

    Attributes:
        limit_bytes: The limit in bytes.
        base_bytes: What the model holds of it between steps, once it has been trained.
        start_s: How long start, building the model and its first step took.

    Raises:
        RuntimeError: The model cannot be trained at all within the limit.
    """

    def __init__(
        self, net: str, limit_mib: int, *, device: Device = "cpu", policy: str = "float32", xla: bool = False
    ) -> None:
        self.limit_bytes, self._device = limit_mib * MIB, device
        self._words = [net, str(limit_mib), "--device", device, "--policy", policy, *["--xla"] * xla]
        self.start_s, self.base_bytes = self._start()

    def _start(self) -> tuple[float, int]:
        """Starts the process; how long that took, and what the model holds then."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._words],
            env=environment(self._device, self.limit_bytes // MIB),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answer()
        start_s = time.perf_counter() - began
        return start_s, int(self._answer()["base_bytes"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attempt(self, size: int, steps: int = STEPS) -> Tried:
        """Runs a few steps at one size."""
        if self._process.poll() is not None:
            self._start()
        began = time.perf_counter()
        try:
            print(size, steps, file=self._process.stdin, flush=True)
            answer = self._answer()
        except (BrokenPipeError, RuntimeError) as error:
            say(str(error))
            return Tried(size, "died", self.limit_bytes, time.perf_counter() - began)
        seconds = time.perf_counter() - began
        moments = tuple((fixed, per_sample) for fixed, per_sample in answer["moments"])
        return Tried(size, answer["ending"], answer["peak_bytes"], seconds, tuple(answer["step_s"]), moments)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.endswith("\n"):
            self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = self._errors.read().decode(errors="replace")
            self.close()
            raise RuntimeError(f"The process of the trials died. Its last words:\n{said}")
        values: dict[str, Any] = json.loads(line)
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


def _ran_out(error: Exception) -> bool:
    """Whether it was memory; on a GPU, libraries and XLA have words of their own for it."""
    from autobatch.step.oom import Cause, classify

    return type(error).__name__ == "ResourceExhaustedError" or classify(error) is Cause.OUT_OF_MEMORY


def serve(name: str, limit_mib: int, device: Device, policy: str, *, xla: bool) -> None:
    """Answers sizes on stdin until it is closed."""
    out, sys.stdout = sys.stdout, sys.stderr
    import gc

    import tensorflow as tf
    from models import AT_224, NETS

    from autobatch.probing.recordings import Recordings
    from autobatch.step.tensorflow.recording import Recording

    place = NAMES[device]
    recordings = Recordings(lambda: Recording(place))  # as in a worker of autobatch

    def tell(**values: Any) -> None:
        print(json.dumps(values), file=out, flush=True)

    def in_use() -> dict[str, int]:
        figures: dict[str, int] = tf.config.experimental.get_memory_info(place)
        return figures

    def steps(size: int, count: int) -> list[float]:
        data, taken = net.samples(size), list[float]()
        for _ in range(count):
            began = time.perf_counter()
            with contextlib.nullcontext() if taken else recordings.record(size):
                model.train_on_batch(*data)
            taken.append(time.perf_counter() - began)
        recordings.keep()
        return taken

    def ending(size: int, count: int) -> tuple[Ending, list[float]]:
        try:
            return "ran", steps(size, count)
        except tf.errors.OpError as error:
            if not _ran_out(error):
                raise
            return "out of memory", []

    limit(device, limit_mib)
    take_at_once(device, limit_mib)
    net = (NETS | AT_224)[name]
    model = net.compiled(jit_compile=xla, policy=policy)
    model.train_on_batch(*net.samples(WARM_UP_SIZE))
    tell(ready=True)
    for size in (1, WARM_UP_SIZE):  # from the second size on, one trace serves all
        model.train_on_batch(*net.samples(size))
    tell(base_bytes=in_use()["current"])
    for line in sys.stdin:
        tf.config.experimental.reset_memory_stats(place)
        how, taken = ending(*map(int, line.split()))
        gc.collect()
        moments = recordings.moments()
        peak_bytes = in_use()["peak"]
        tell(ending=how, step_s=taken, peak_bytes=peak_bytes, moments=moments.to_list() if moments else [])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net")
    parser.add_argument("limit_mib", type=int)
    parser.add_argument("--device", choices=NAMES, default="cpu")
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--xla", action="store_true")
    args = parser.parse_args()
    serve(args.net, args.limit_mib, args.device, args.policy, xla=args.xla)
