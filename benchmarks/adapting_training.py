"""A training of the adapting benchmark: `python adapting_training.py JSON` trains until it is told to stop, or killed.

It says what happens as lines of JSON: each update, each checkpoint, each change of the micro-batch, each epoch. Every
sample's label is its number, and a metric counts how often each was used in an epoch.
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
    PART = json.loads(sys.argv[1])
    if PART["group"]:  # before anything is imported: all that it occupies counts
        Path(PART["group"], "cgroup.procs").write_text("0")
    if PART["trainer"] == "autobatch":
        import autobatch

        autobatch.share_memory()

import keras  # noqa: E402
from adapting_model import build, data  # noqa: E402
from adapting_script import IMAGES  # noqa: E402


def say(kind: str, **facts: Any) -> None:
    """Tells the benchmark."""
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


class Telling(keras.callbacks.Callback):
    """Says what happens, saves after an epoch if asked to, and stops the training when it is time to."""

    def __init__(self, size: int, stop: Path, checkpoints: Path | None) -> None:
        super().__init__()
        self._left, self._size, self._stop, self._checkpoints = 0, size, stop, checkpoints

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """A new pass over all samples."""
        del epoch, logs
        self._left = IMAGES

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One more update."""
        del batch, logs
        images = min(self._size, self._left)
        self._left -= images
        say("update", images=images)
        if self._stop.exists():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Says how many samples were used exactly once; an epoch that was stopped is not counted."""
        if self.model.stop_training:
            return
        say("epoch", number=epoch, used_once=int((logs or {})["used_once"]))
        if self._checkpoints is not None:
            unfinished = self._checkpoints / "unfinished.keras"
            self.model.save(unfinished)
            unfinished.rename(self._checkpoints / f"{epoch + 1:05}.keras")
            say("saved")


def train_ours(callback: Telling, size: int, cache: Path, seed: int) -> None:
    """Trains as a user of autobatch does."""
    import autobatch
    from autobatch.results.run import Decision

    def event(happened: Any) -> None:
        if isinstance(happened, Decision):
            say("changed", before=happened.before, after=happened.after, reason=happened.reason)

    x, y = data()
    history = autobatch.fit(
        build(),
        (x, y),
        batch_size=size,
        epochs=10_000,
        seed=seed,
        verbose=0,
        callbacks=[callback],
        cache=cache,
        on_event=event,
    )
    say("end", report=str(history.autobatch))


def train_theirs(callback: Telling, size: int, checkpoints: Path | None) -> None:
    """Trains as a user of Keras does, from the last checkpoint if there is one."""
    saved = sorted(checkpoints.glob("[0-9]*.keras")) if checkpoints is not None else []
    model = keras.saving.load_model(saved[-1]) if saved else build()
    x, y = data()
    first = int(saved[-1].stem) if saved else 0
    model.fit(x, y, batch_size=size, epochs=10_000, initial_epoch=first, verbose=0, callbacks=[callback])


def main(part: dict[str, Any]) -> None:
    """Trains."""
    checkpoints = Path(part["checkpoints"]) if part["checkpoints"] else None
    callback = Telling(part["size"], Path(part["stop"]), checkpoints)
    if part["trainer"] == "autobatch":
        train_ours(callback, part["size"], Path(part["cache"]), part["seed"])
    else:
        train_theirs(callback, part["size"], checkpoints)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with contextlib.suppress(BrokenPipeError):
        main(PART)
