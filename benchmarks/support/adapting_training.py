"""A training that says what happens, a line of JSON each, until it is told to stop: `python adapting_training.py JSON`.

It is that of the adapting benchmark and of the checks on a GPU. Every sample's label is its number, and a metric counts
how often each was used in an epoch. The JSON names the group to join (`group`), the `trainer` ("autobatch" or "keras"),
whether its memory is `shared`, the `size`, the `seed`, the file that stops it (`stop`), and where answers of probes are
kept (`cache`); perhaps also where plain Keras saves and goes on from (`checkpoints`), the `reserve` in bytes, the most
samples of a micro-batch (`most`), and whether is measured before what a sample adds to a step (`calibrated`).
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PART: dict[str, Any] = {}
if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    PART = json.loads(sys.argv[1])
    if PART["group"]:  # before anything is imported: all that it occupies counts
        Path(PART["group"], "cgroup.procs").write_text("0", encoding="utf-8")
    if PART["shared"]:
        import autobatch

        autobatch.share_memory()

import keras  # noqa: E402
from support.adapting_model import build, data  # noqa: E402
from support.adapting_scene import IMAGES  # noqa: E402


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


class Telling(keras.callbacks.Callback):
    """Says what happens, saves after an epoch if asked to, and stops the training when it is time to."""

    def __init__(self, size: int, stop: Path, checkpoints: Path | None) -> None:
        super().__init__()
        self._left, self._size, self._stop, self._checkpoints = 0, size, stop, checkpoints

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._left = IMAGES

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch
        images = min(self._size, self._left)
        self._left -= images
        say("update", images=images, micro=(logs or {}).get("autobatch/micro_batch"))
        if self._stop.exists():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.model.stop_training:
            return  # an epoch that was stopped is not counted
        say("epoch", number=epoch, used_once=int((logs or {})["used_once"]))
        if self._checkpoints is not None:
            unfinished = self._checkpoints / "unfinished.keras"
            self.model.save(unfinished)
            unfinished.rename(self._checkpoints / f"{epoch + 1:05}.keras")
            say("saved")


def slopes(size: int) -> dict[str, float]:
    """What each sample adds to a step, of the host and of the GPU, told by trials at several sizes.

    A probe for a given batch ends with the first size that fits, and one size tells no slope.
    """
    import autobatch

    result = autobatch.probe(build(), data(), batch_size="largest", max_batch_size=max(8, size // 8), cache=False)
    return {name: model.per_sample_bytes for name, model in result.models.items()}


def train_ours(callback: Telling, part: dict[str, Any]) -> None:
    import autobatch
    from autobatch.results.run import Decision

    def event(happened: Any) -> None:
        if isinstance(happened, Decision):
            facts = {"before": happened.before, "after": happened.after, "held_bytes": happened.held_bytes}
            say("changed", reason=happened.reason, returned_bytes=happened.returned_bytes, **facts)

    say("models", per_sample=slopes(part["size"]) if part.get("calibrated") else {})
    history = autobatch.fit(
        build(),
        data(),
        batch_size=part["size"],
        epochs=10_000,
        seed=part["seed"],
        **({"reserve": part["reserve"]} if "reserve" in part else {}),
        max_batch_size=part.get("most"),
        verbose=0,
        callbacks=[callback],
        cache=part["cache"],
        on_event=event,
        log_memory=True,
    )
    report = history.autobatch
    say(
        "end",
        micro=report.micro_batch_size,
        effective=report.effective_batch_size,
        notes=report.notes,
        report=str(report),
    )


def train_theirs(callback: Telling, part: dict[str, Any], checkpoints: Path | None) -> None:
    """Trains as a user of Keras does, from the last checkpoint if there is one."""
    saved = sorted(checkpoints.glob("[0-9]*.keras")) if checkpoints is not None else []
    model = keras.saving.load_model(saved[-1]) if saved else build()
    first = int(saved[-1].stem) if saved else 0
    x, y = data()
    model.fit(x, y, batch_size=part["size"], epochs=10_000, initial_epoch=first, verbose=0, callbacks=[callback])


def main(part: dict[str, Any]) -> None:
    checkpoints = Path(part["checkpoints"]) if part.get("checkpoints") else None
    callback = Telling(part["size"], Path(part["stop"]), checkpoints)
    if part["trainer"] == "autobatch":
        train_ours(callback, part)
    else:
        train_theirs(callback, part, checkpoints)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(PART)
