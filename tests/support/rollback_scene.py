"""A training that really runs out of memory, beside the same one that is calm: `python rollback_scene.py`, or `play`.

The micro-batch that ran out is undone and redone smaller. A second model is then trained in the cuts that came of it,
and both must be the same bit for bit: operations are deterministic, and nothing is compiled by XLA, which may choose
others for each size.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.hard_budget import Allocator, Device, limit, parser, told_by

EFFECTIVE = 256
SAMPLES = 2 * EFFECTIVE + 40
LIMIT_MIB = 700


def play(device: Device = "cpu", allocator: Allocator = "bfc", limit_mib: int = LIMIT_MIB) -> dict[str, Any]:
    """Plays it in a process of its own.

    Returns:
        The sizes that ran out and those that followed (`decisions`), what the framework said (`messages`), the
        micro-batches of each update (`cuts`), whether the calm training had the same (`same_cuts`), the names of what
        is not the same in both (`differences`), and the `loss` of the epoch.

    Raises:
        RuntimeError: The process failed; with its last words.
    """
    return told_by(__file__, [], device, limit_mib, allocator)


def _words_of(error: BaseException | None) -> str:
    """What an error says, without where in whose files it was raised."""
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("File "))


def _model() -> Any:
    import keras
    from nets import compiled

    keras.utils.set_random_seed(5)
    layers = [keras.Input((64, 64, 3))]
    for width in (16, 32):
        layers += [keras.layers.Conv2D(width, 3, padding="same"), keras.layers.BatchNormalization()]
        layers += [keras.layers.ReLU()]
    layers += [keras.layers.Dropout(0.3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, "softmax")]
    return compiled(keras.Sequential(layers), optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)


def _train() -> dict[str, Any]:
    import faults
    import keras
    from nets import pictures
    from tensorflow.python.framework import config

    from autobatch.data.epoch import rungs
    from autobatch.errors import OutOfMemoryError
    from autobatch.train.control.controller import controller_without_sensors
    from autobatch.train.microbatch import MicroBatchRunner
    from autobatch.train.passes import Feed

    class Heard(faults.Watched):
        """Keeps what the framework said, too."""

        def accumulate(self, batch: Any, whole: Any) -> Any:
            try:
                return super().accumulate(batch, whole)
            except OutOfMemoryError as error:
                messages.append(_words_of(error.__cause__))
                raise

    faults.EFFECTIVE = EFFECTIVE
    decisions: list[tuple[int, int]] = []
    messages: list[str] = []
    data = pictures(SAMPLES, side=64)
    keras.utils.set_random_seed(0)
    config.enable_op_determinism()
    hit = _model()
    engine = Heard(hit, data[:2])
    ladder = rungs(EFFECTIVE, EFFECTIVE)
    runner = MicroBatchRunner(
        controller_without_sensors(EFFECTIVE, ladder, lambda before, after, _: decisions.append((before, after)))
    )
    feed = Feed(faults.InMemory(data))
    hit.reset_metrics()
    for start in range(0, SAMPLES, EFFECTIVE):
        runner.update(engine, feed, min(EFFECTIVE, SAMPLES - start))
    calm = _model()
    again = faults.train(calm, data, micro=EFFECTIVE, cuts=engine.cuts)
    return {
        "decisions": decisions,
        "messages": messages,
        "cuts": [cut for cut in engine.cuts if cut],
        "same_cuts": again.cuts == engine.cuts,
        "differences": faults.differences(hit, calm),
        "loss": float(hit.get_metrics_result()["loss"]),
    }


if __name__ == "__main__":
    args = parser(__doc__).parse_args()
    kept = limit(args.device, args.limit_mib, args.allocator)
    print(json.dumps(_train()))
