"""Real training steps of one model in a process that may take so much of one device and no more: beyond it, an error.

On a CPU, TensorFlow's pool for GPUs (BFC) serves with a limit; without oneDNN, which would bring a pool of its own, and
without GPUs. On a GPU, the first one is a logical device of that size, which the pool takes at once. CUDA's own pool
(`cuda_malloc_async`) keeps to no limit: there the rest of the GPU is taken by tensors, so nobody else has room on it.
Peaks are those of the pool's own counters; a step that does not fit raises an error after the pool has waited ten
seconds for memory, and the process goes on afterwards.

`environment` is for whoever starts such a process, `limit` for the process itself, before it computes anything.
`told_by` starts a program whose last line on stdout is JSON, and `parser` reads what it gives to it. Run as a program,
this file serves: a size and a number of steps a line on stdin, an answer in JSON a line on stdout.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tooling.runner import say

Device = Literal["cpu", "gpu"]
Allocator = Literal["bfc", "cuda_malloc_async"]

MIB = 1 << 20
NAMES: dict[Device, str] = {"cpu": "CPU:0", "gpu": "GPU:0"}
_TAIL = 2000
_AT_ONCE = 0.97
_PIECE_BYTES = 1024 * MIB
_CHOSEN_HERE = ("TF_GPU_ALLOCATOR", "TF_FORCE_GPU_ALLOW_GROWTH")


def environment(device: Device, limit_mib: int, allocator: Allocator = "bfc") -> dict[str, str]:
    """This process' environment with what the limit needs in place of what somebody may have set."""
    inherited = {name: value for name, value in os.environ.items() if name not in _CHOSEN_HERE}
    own = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        own |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TF_CPU_ALLOCATOR_USE_BFC": "1",
            "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(limit_mib),
        }
    elif allocator == "cuda_malloc_async":
        own["TF_GPU_ALLOCATOR"] = allocator
    return inherited | own


def told_by(program: str, words: list[str], device: Device, limit_mib: int, allocator: Allocator) -> dict[str, Any]:
    """Runs a program in a process with a limit.

    Raises:
        RuntimeError: It failed; with its last words.
    """
    limits = ["--device", device, "--allocator", allocator, "--limit-mib", str(limit_mib)]
    command, environ = [sys.executable, program, *limits, *words], environment(device, limit_mib, allocator)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} ended with status {done.returncode}: {done.stderr[-_TAIL:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=NAMES, default="cpu")
    parser.add_argument("--allocator", default="bfc")
    parser.add_argument("--limit-mib", type=int, required=True)
    return parser


def limit(device: Device, limit_mib: int, allocator: Allocator = "bfc") -> list[Any]:
    """Sets what the environment cannot say.

    Raises:
        RuntimeError: TensorFlow sees no GPU.
    """
    if device == "cpu":
        return []
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise RuntimeError("TensorFlow sees no GPU here. --stage cpu runs the same on a CPU.")
    tf.config.set_visible_devices(gpus[:1], "GPU")
    if allocator == "bfc":
        parts = [tf.config.LogicalDeviceConfiguration(memory_limit=limit_mib)]
        tf.config.set_logical_device_configuration(gpus[0], parts)
        return []
    tf.zeros([1])  # CUDA's context takes its part before the rest is counted
    return [tf.zeros([size], tf.int8) for size in pieces(_free_bytes() - limit_mib * MIB)]


def take_at_once(device: Device, limit_mib: int) -> None:
    """Has a CPU's pool take its memory now, as that of a GPU does: in pieces, what fits would depend on the past."""
    if device == "cpu":
        import tensorflow as tf

        tf.zeros([int(_AT_ONCE * limit_mib * MIB)], tf.int8)


def pieces(size_bytes: int) -> Iterator[int]:
    """Cuts a number of bytes, so that no tensor is larger than kernels count.

    Example:
        >>> [piece // MIB for piece in pieces(2500 * MIB)]
        [1024, 1024, 452]
    """
    while size_bytes > 0:
        yield min(size_bytes, _PIECE_BYTES)
        size_bytes -= _PIECE_BYTES


def _free_bytes() -> int:
    from autobatch.memory.reading import read_memory

    return read_memory().devices[0].free_bytes


STEPS = 3
WARM_UP_SIZE = 2
_TAIL_BYTES = 2000

Ending = Literal["ran", "out of memory", "died"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one size.

    Attributes:
        profile: What a step asks for at any size, as `AllocationProfile.to_list` writes it; empty before two have run.
    """

    size: int  # samples in the batch
    ending: Ending  # how it ended; after the process has died, the next size gets another
    peak_bytes: int  # the most the pool held in use, of all its steps
    seconds: float  # from the question to the answer
    step_s: tuple[float, ...] = ()  # of each step that ran
    profile: tuple[tuple[int, int], ...] = ()

    @property
    def ran(self) -> bool:
        return self.ending == "ran"


class HardBudget:
    """A process that tries sizes of a model within a hard limit.

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
        profile = tuple((fixed, per_sample) for fixed, per_sample in answer["profile"])
        return Tried(size, answer["ending"], answer["peak_bytes"], seconds, tuple(answer["step_s"]), profile)

    def close(self) -> None:
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
        if size not in self.known:
            self.known[size] = self._attempt(size)
        return self.known[size]


def _ran_out(error: Exception) -> bool:
    """Whether it was memory; on a GPU, libraries and XLA have words of their own for it."""
    from autobatch.backend.oom import Cause, classify

    return type(error).__name__ == "ResourceExhaustedError" or classify(error) is Cause.OUT_OF_MEMORY


def serve(name: str, limit_mib: int, device: Device, policy: str, *, xla: bool) -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    import gc

    import tensorflow as tf
    from support.models import AT_224, NETS

    from autobatch.backend.tensorflow.allocation_trace import AllocationTrace
    from autobatch.probing.trials.measure import Recordings

    place = NAMES[device]
    recordings = Recordings(lambda: AllocationTrace(place))  # as in a worker of autobatch

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
        profile = recordings.profile()
        peak_bytes = in_use()["peak"]
        tell(ending=how, step_s=taken, peak_bytes=peak_bytes, profile=profile.to_list() if profile else [])


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("net")
    reader.add_argument("limit_mib", type=int)
    reader.add_argument("--device", choices=NAMES, default="cpu")
    reader.add_argument("--policy", default="float32")
    reader.add_argument("--xla", action="store_true")
    args = reader.parse_args()
    serve(args.net, args.limit_mib, args.device, args.policy, xla=args.xla)
