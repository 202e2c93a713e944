"""A probe of autobatch that says what happens: `python probing.py JSON`.

The JSON names the group to join, whether a few updates are trained at what was found, and the case. `largest` looks
for the largest size of MobileNetV2 within `limit` bytes; `host` for that of a net that takes little of the GPU, with
pictures that take much of the host; `full` for that of ResNet50 at 224, which fills any GPU; `net` for that of a `net`
of the benchmarks, in a `policy`, compiled by XLA or not; `whole` is `largest` after TensorFlow has taken the whole GPU.
It stays a while after its answer, so that what its worker leaves behind is seen.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    PART: dict[str, Any] = json.loads(sys.argv[1])
    if PART["group"]:
        Path(PART["group"], "cgroup.procs").write_text("0", encoding="utf-8")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import autobatch
from autobatch.results.trial import Outcome

_STAYS_S = 1.5
_SIDE, _PICTURES = 384, 4096
_UPDATES = 3


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


def wide_pictures() -> tuple[Any, Any]:
    """A net that looks at means of 32 by 32 pixels, and pictures that take a thousand times what they are."""
    import keras
    import numpy as np

    layers = [keras.Input((_SIDE, _SIDE, 3)), keras.layers.AveragePooling2D(32), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    # One picture, seen many times: the data themselves take next to nothing.
    one = np.zeros((1, _SIDE, _SIDE, 3), np.float32)
    return model, (np.broadcast_to(one, (_PICTURES, _SIDE, _SIDE, 3)), np.zeros(_PICTURES, np.int64))


def large_net() -> tuple[Any, Any]:
    """ResNet50 at 224, of which some hundreds or thousands of samples fill any GPU."""
    import keras
    import numpy as np

    model = keras.applications.ResNet50(input_shape=(224, 224, 3), classes=10, weights=None)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    one = np.zeros((1, 224, 224, 3), np.float32)
    return model, (np.broadcast_to(one, (_PICTURES, 224, 224, 3)), np.zeros(_PICTURES, np.int64))


def net_of(part: dict[str, Any]) -> tuple[Any, Any]:
    """A net of the benchmarks, and as many samples as are looked at: one, seen many times."""
    import numpy as np
    from support.models import AT_224, NETS

    net = (NETS | AT_224)[part["net"]]
    x, y = net.samples(1)
    x, y = (np.broadcast_to(one, (part["most"], *one.shape[1:])) for one in (x, y))
    return net.compiled(jit_compile=part["xla"], policy=part["policy"]), (x, y)


def main(part: dict[str, Any]) -> None:
    if part["case"] == "host":
        model, data = wide_pictures()
    elif part["case"] == "full":
        model, data = large_net()
    elif part["case"] == "net":
        model, data = net_of(part)
    else:
        from support.adapting_model import build
        from support.adapting_model import data as samples

        model, data = build(), samples()
    if part["case"] == "whole":
        import tensorflow as tf

        tf.zeros([1]).numpy()  # all of the GPU is TensorFlow's from here on
    before = [weight.tobytes() for weight in model.get_weights()]
    say("begun")
    result = autobatch.probe(
        model,
        data,
        batch_size="largest",
        max_batch_size=part["most"],
        limit=part["limit"],
        cache=False,
        on_start=lambda size: say("trying", size=size),
        on_trial=lambda trial: say("tried", **trial.to_dict()),
    )
    say(
        "found",
        size=result.batch_size,
        ran_out=sum(trial.outcome is Outcome.OUT_OF_MEMORY for trial in result.trials),
        binding=result.binding,
        budgets=dict(result.budgets),
        reserves=dict(result.reserves),
        limits=dict(result.limits),
        reasons=result.reasons,
        notes=result.notes,
        same=before == [weight.tobytes() for weight in model.get_weights()],
    )
    time.sleep(_STAYS_S)
    if part.get("trains"):
        for _ in range(_UPDATES):  # a batch at a time: `fit` would hold all of them at once
            model.train_on_batch(*(one[: result.batch_size] for one in data))
        say("trained", updates=_UPDATES)


if __name__ == "__main__":
    main(PART)
