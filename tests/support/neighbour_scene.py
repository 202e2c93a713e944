"""A training and a neighbour in one control group with a hard limit: who lives, and what became of the training.

`play` sets the scene. The other commands are its actors: `python neighbour_scene.py train|neighbour JSON`, where the
JSON names the group to join before anything is imported, or none.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    PART = json.loads(sys.argv[2])
    if PART["group"]:
        Path(PART["group"], "cgroup.procs").write_text("0")
    if PART.get("allocator") == "shared":
        import autobatch

        autobatch.share_memory()

MIB = 2**20
EFFECTIVE = 64
PICTURES = 128
SIDE = 96
CLASSES = 4


@dataclass
class Played:
    """What happened.

    Attributes:
        trainer: Exit status of the training; negative for a signal.
        neighbour: Exit status of the neighbour, `None` if it was never started.
        events: What the training said, in order: `{"kind": "update" | "seen" | "changed", "at_s": ..., ...}`.
        usage: Pairs of seconds and bytes that the neighbour held.
        group: Pairs of seconds and bytes that all processes of the group had in memory of their own.
        summary: What the training said at its end.
        stderr: The end of what it printed.
    """

    trainer: int
    neighbour: int | None
    events: list[dict[str, Any]]
    usage: list[tuple[float, int]] = field(default_factory=list)
    group: list[tuple[float, int]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    stderr: str = ""

    @property
    def micros(self) -> list[int]:
        """The sizes of micro-batches in training, one for each change."""
        sizes: list[int] = []
        for event in self.events:
            micro = event.get("micro")
            if micro and event.get("phase", "training") == "training" and (not sizes or sizes[-1] != micro):
                sizes.append(micro)
        return sizes


def play(
    folder: Path,
    *,
    group: Path | None,
    net: str,
    trainer: str,
    seed: int = 0,
    rate_mib_s: float | None = None,
    amount_mib: int = 1200,
    hold_s: float = 6.0,
    updates: int | None = None,
    pause_s: float = 0.0,
    allocator: str = "shared",
    deadline_s: float = 240.0,
) -> Played:
    """Trains until the neighbour has been and gone and the training is back at its size, or for so many updates.

    Args:
        folder: Where pictures, the probe's answer and the weights are; the same for all plays of a test.
        group: The control group of both, `None` for none.
        net: `"MobileNetV2"` or `"conv net"` (no batch statistics).
        trainer: `"autobatch"` or `"keras"`.
        seed: Of the order of samples, and of the moment at which the neighbour comes.
        rate_mib_s: How fast the neighbour takes memory; `None` for no neighbour.
        amount_mib: How much it takes.
        hold_s: How long it keeps it.
        updates: Updates to train; by default until the neighbour has gone and for a few more.
        pause_s: How long the training rests after each update: the neighbour comes and goes during few of them.
        allocator: `"shared"` for `autobatch.share_memory()`, else TensorFlow's default.
        deadline_s: When to give up.
    """
    from actor import Actor  # an actor itself joins its group before anything is imported

    stop = folder / f"stop-{os.getpid()}-{time.monotonic_ns()}"
    part = {"group": str(group) if group else None, "folder": str(folder), "net": net, "trainer": trainer}
    part |= {"seed": seed, "updates": updates, "allocator": allocator, "stop": str(stop), "pause_s": pause_s}
    taking = {"group": part["group"], "rate": rate_mib_s, "amount": amount_mib, "hold": hold_s}
    until_s = time.monotonic() + deadline_s
    played = Played(0, None, [])

    def updates_done() -> int:
        return sum(event["kind"] == "update" for event in played.events)

    def acts(command: str, told: dict[str, Any], said: Callable[[str], Any]) -> Actor:
        words = [sys.executable, "-u", __file__, command, json.dumps(told)]
        return Actor(words, said, os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"})

    def left_s() -> float:
        return until_s - time.monotonic()

    with (
        _sampled(group, played.group),
        acts("train", part, lambda line: played.events.append(json.loads(line)) if line[0] == "{" else None) as one,
    ):
        if rate_mib_s is not None and one.until(lambda: updates_done() >= 3 + seed % 3, left_s()):
            with acts("neighbour", taking, lambda line: played.usage.append(_at_and_held(line))) as other:
                other.ends(left_s())
            played.neighbour = other.status
        if updates is None:
            one.until(lambda: bool(played.micros) and played.micros[-1] == max(played.micros), left_s())
            then = updates_done() + 5
            one.until(lambda: updates_done() >= then, left_s())
            stop.touch()
        one.ends(left_s())
    stop.unlink(missing_ok=True)
    played.trainer, played.stderr = one.status, one.stderr[-3000:]
    played.summary = next((event for event in played.events if event["kind"] == "end"), {})
    return played


@contextlib.contextmanager
def _sampled(group: Path | None, samples: list[tuple[float, int]]) -> Iterator[None]:
    """Reads every tenth of a second what the processes of a group occupy, without the page cache."""
    done = threading.Event()

    def sample() -> None:
        while group is not None and not done.wait(0.1):
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            samples.append((time.monotonic(), int(facts.get("rss") or facts.get("anon") or 0)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _at_and_held(line: str) -> tuple[float, int]:
    at_s, held = line.split()
    return float(at_s), int(held)


def be_neighbour(part: dict[str, Any]) -> None:
    """Takes memory in steps of 50 ms, holds it, and gives it back."""
    import mmap

    pieces, step_s = [], 0.05
    step = max(1, int(part["rate"] * MIB * step_s)) // 4096 * 4096
    began_s, held = time.monotonic(), 0
    while held < part["amount"] * MIB:
        piece = mmap.mmap(-1, step, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        piece.write(b"\1" * step)
        pieces.append(piece)
        held += step
        print(time.monotonic(), held, flush=True)
        time.sleep(max(0.0, began_s + len(pieces) * step_s - time.monotonic()))
    time.sleep(part["hold"])
    print(time.monotonic(), held, flush=True)
    for piece in pieces:
        piece.close()
    print(time.monotonic(), 0, flush=True)


def write_pictures(folder: Path) -> Path:
    """Some pictures of random noise, once."""
    import numpy as np
    from PIL import Image

    place = folder / "pictures"
    if not place.exists():
        draw = np.random.default_rng(0)
        for number in range(PICTURES):
            (place / f"class{number % CLASSES}").mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
            Image.fromarray(pixels, "RGB").save(place / f"class{number % CLASSES}" / f"{number:03}.png")
    return place


def build(net: str) -> Any:
    """The compiled model."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    if net == "MobileNetV2":
        model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None, classes=CLASSES)
    else:
        stack = [keras.Input((SIDE, SIDE, 3))]
        for width in (32, 32, 48):  # of one pixel: as much memory as wider ones take, in a fraction of the time
            stack += [layers.Conv2D(width, 1, activation="relu"), layers.Conv2D(width, 1, activation="relu")]
            stack += [layers.MaxPooling2D()]
        model = keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "categorical_crossentropy", jit_compile=False)
    return model


def train(part: dict[str, Any]) -> None:
    """Trains as a user does, and says what happens."""
    import keras
    import numpy as np
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    model, stop = build(part["net"]), Path(part["stop"])
    pictures, datagen = write_pictures(Path(part["folder"])), ImageDataGenerator(rescale=1 / 255)
    done = 0

    def updated(batch: int, logs: Any) -> None:
        nonlocal done
        done += 1
        _say("update", number=done)
        if done == part["updates"] or stop.exists():
            model.stop_training = True
        time.sleep(part["pause_s"])

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=updated)]
    if part["trainer"] == "keras":
        flow = datagen.flow_from_directory(pictures, target_size=(SIDE, SIDE), batch_size=EFFECTIVE, seed=part["seed"])
        model.fit(flow, epochs=10_000, verbose=0, callbacks=callbacks)
        _say("end", updates=done)
        return
    import autobatch
    from autobatch.results.run import Observation

    def event(happened: Any) -> None:
        if isinstance(happened, Observation):
            facts = {
                "micro": happened.micro_batch_size,
                "phase": happened.phase,
                "headroom_bytes": happened.headroom_bytes,
            }
            _say("seen", **facts, rss_bytes=happened.reading.process.rss_bytes)
        else:
            _say("changed", micro=happened.after, **asdict(happened))

    history = autobatch.fit(
        model,
        datagen,
        pictures,
        batch_size=EFFECTIVE,
        epochs=10_000,
        seed=part["seed"],
        verbose=0,
        callbacks=callbacks,
        cache=Path(part["folder"], "cache"),
        on_event=event,
    )
    weights = Path(part["folder"], f"weights-{os.getpid()}.npz")
    np.savez(weights, *[np.array(weight) for weight in model.get_weights()])
    _say("end", updates=done, weights=str(weights), report=str(history.autobatch))


def _say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, **facts, "at_s": time.monotonic()}), flush=True)


if __name__ == "__main__":
    train(PART) if sys.argv[1] == "train" else be_neighbour(PART)
