"""A training of autobatch that says what happens: `python training.py JSON`.

It is that of the adapting benchmark: every sample can be told, and each epoch says how many were used exactly once. The
JSON names the group to join, the size, the bytes to leave free, a file that stops it, and whether memory is shared.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    PART: dict[str, Any] = json.loads(sys.argv[1])
    if PART["group"]:
        Path(PART["group"], "cgroup.procs").write_text("0", encoding="utf-8")

import autobatch

if __name__ == "__main__" and PART["shared"]:
    autobatch.share_memory()

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
from adapting_model import build, data

from autobatch.results.run import Decision


def say(kind: str, **facts: Any) -> None:
    """Tells the check."""
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


class Telling(keras.callbacks.Callback):
    """Says what happens, and stops the training when it is time to."""

    def __init__(self, stop: Path) -> None:
        super().__init__()
        self._stop = stop

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One more update."""
        del batch
        say("update", micro=(logs or {}).get("autobatch/micro_batch"))
        if self._stop.exists():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """How many samples were used exactly once; an epoch that was stopped is not counted."""
        if not self.model.stop_training:
            say("epoch", number=epoch, used_once=int((logs or {})["used_once"]))


def slopes(size: int) -> dict[str, float]:
    """What each sample adds to a step, of the host and of the GPU, told by trials at several sizes.

    A probe for a given batch ends with the first size that fits, and one size tells no slope.
    """
    result = autobatch.probe(build(), data(), batch_size="largest", max_batch_size=max(8, size // 8), cache=False)
    return {name: model.per_sample_bytes for name, model in result.models.items()}


def main(part: dict[str, Any]) -> None:
    """Trains until it is stopped."""

    def event(happened: Any) -> None:
        if isinstance(happened, Decision):
            facts = {"before": happened.before, "after": happened.after, "held_bytes": happened.held_bytes}
            say("changed", reason=happened.reason, returned_bytes=happened.returned_bytes, **facts)

    say("models", per_sample=slopes(part["size"]) if part["calibrated"] else {})
    history = autobatch.fit(
        build(),
        data(),
        batch_size=part["size"],
        epochs=10_000,
        seed=part["seed"],
        reserve=part["reserve"],
        max_batch_size=part.get("most"),
        verbose=0,
        callbacks=[Telling(Path(part["stop"]))],
        cache=part["cache"],
        on_event=event,
    )
    report = history.autobatch
    say("end", micro=report.micro, effective=report.effective, notes=report.notes)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(PART)
