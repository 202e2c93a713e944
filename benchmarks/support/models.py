"""The models that several benchmarks train, uncompiled, and random samples that fit them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from autobatch.backend import engine_for
from autobatch.backend.release import release_memory
from autobatch.data.batch import Batch
from autobatch.data.epoch import rungs
from autobatch.memory.budget import DEFAULT_RESERVE
from autobatch.memory.reading import read_memory
from autobatch.train.control.controller import Controller, ControllerHooks
from autobatch.train.control.policy import Policy
from autobatch.train.control.watcher import RunBudgets, Watcher
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner

PIXELS, CLASSES = 96, 10
TOKENS, VOCABULARY = 128, 8_000
_FEW = 32


@dataclass(frozen=True, slots=True)
class Net:
    """A model of the benchmarks."""

    build: Callable[[], Any]  # makes it, with untrained weights
    x: Callable[[np.random.Generator, int], Any]  # draws inputs for a number of samples
    y: Callable[[np.random.Generator, int], Any]  # draws targets for a number of samples
    loss: str = "sparse_categorical_crossentropy"  # what it is trained with

    def samples(self, count: int, seed: int = 0) -> tuple[Any, Any]:
        draw = np.random.default_rng(seed)
        return self.x(draw, count), self.y(draw, count)

    def compiled(self, *, jit_compile: bool | Literal["auto"] = "auto", policy: str = "float32") -> Any:
        from keras import config

        before = config.dtype_policy()
        config.set_dtype_policy(policy)
        try:
            model = self.build()
        finally:
            config.set_dtype_policy(before)
        model.compile("adam", self.loss, jit_compile=jit_compile)
        return model


def _pictures(pixels: int) -> Callable[[np.random.Generator, int], Any]:
    def draw_pictures(draw: np.random.Generator, count: int) -> Any:
        return draw.random((count, pixels, pixels, 3), dtype=np.float32)

    return draw_pictures


def _tokens(draw: np.random.Generator, count: int) -> Any:
    return draw.integers(0, VOCABULARY, (count, TOKENS), dtype=np.int32)


def _labels(draw: np.random.Generator, count: int) -> Any:
    return draw.integers(0, CLASSES, count)


def _masks(draw: np.random.Generator, count: int) -> Any:
    return draw.integers(0, 2, (count, PIXELS, PIXELS, 1)).astype(np.float32)


def small_net(pixels: int = PIXELS) -> Any:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((pixels, pixels, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def _application(name: str, pixels: int = PIXELS) -> Callable[[], Any]:
    def build() -> Any:
        from keras import applications

        return getattr(applications, name)(input_shape=(pixels, pixels, 3), classes=CLASSES, weights=None)

    return build


def transformer_encoder() -> Any:
    """Four encoder layers of width 128 with four heads, over 128 tokens."""
    from keras import Model, layers, ops

    tokens = layers.Input((TOKENS,), dtype="int32")
    positions = layers.Embedding(TOKENS, 128)(ops.arange(TOKENS))
    x = layers.Embedding(VOCABULARY, 128)(tokens) + positions
    for _ in range(4):
        attended = layers.MultiHeadAttention(4, 32)(x, x)
        x = layers.LayerNormalization()(x + attended)
        wide = layers.Dense(512, activation="gelu")(x)
        x = layers.LayerNormalization()(x + layers.Dense(128)(wide))
    pooled = layers.GlobalAveragePooling1D()(x)
    return Model(tokens, layers.Dense(CLASSES, activation="softmax")(pooled))


def unet() -> Any:
    """A U-Net of three levels, 16 to 64 channels wide, that marks pixels."""
    from keras import Model, layers

    def block(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        return x

    pictures = layers.Input((PIXELS, PIXELS, 3))
    x, across = pictures, []
    for width in (16, 32):
        across.append(block(x, width))
        x = layers.MaxPooling2D()(across[-1])
    x = block(x, 64)
    for width, skipped in zip((32, 16), reversed(across), strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, skipped]), width)
    return Model(pictures, layers.Conv2D(1, 1, activation="sigmoid")(x))


def _classifier(build: Callable[[], Any], pixels: int = PIXELS) -> Net:
    return Net(build, _pictures(pixels), _labels)


NETS = {
    "small conv net": _classifier(small_net),
    "MobileNetV2": _classifier(_application("MobileNetV2")),
    "ResNet50": _classifier(_application("ResNet50")),
    "EfficientNetB0": _classifier(_application("EfficientNetB0")),
    "transformer": Net(transformer_encoder, _tokens, _labels),
    "tiny conv net": _classifier(lambda: small_net(_FEW), _FEW),
    "U-Net": Net(unet, _pictures(PIXELS), _masks, "binary_crossentropy"),
}
AT_224 = {
    f"{name} at 224": _classifier(_application(name, 224), 224)
    for name in ("MobileNetV2", "ResNet50", "EfficientNetB0")
}
"""Pictures as large as they are trained on GPUs."""


class Arrays:
    """A source of arrays in memory."""

    seed = 0

    def __init__(self, data: Batch) -> None:
        self._data = data
        self.sample_bytes = data.nbytes // data.size

    def __len__(self) -> int:
        return self._data.size

    def read(self, indices: Any, epoch: int) -> Batch:
        del epoch
        return self._data.take(indices)


def controller(effective: int, micro: int) -> Controller:
    """A controller that reads the memory as in a training and has something to weigh; what it decides is to stay."""
    held = read_memory().process.rss_bytes
    policy = Policy(rungs(effective, micro), {"host": lambda samples: held + 2**30 + samples})
    outside = ControllerHooks(
        decided=print, watch=Watcher(read_memory, RunBudgets(DEFAULT_RESERVE)), release_memory=release_memory
    )
    return Controller(policy, micro, outside)


class Ours:
    """Trains a compiled model for an epoch at each call."""

    def __init__(self, model: Any, data: Batch, effective: int, micro: int, group: int = 1) -> None:
        self._model, self._data, self._effective, self._micro = model, data, effective, micro
        self._engine = engine_for(model, data[:2], group=group)

    def __call__(self) -> None:
        runner = MicroBatchRunner(controller(self._effective, self._micro))
        run(
            self._model,
            self._engine,
            Arrays(self._data),
            runner,
            TrainingPlan(effective_batch_size=self._effective, verbose=0),
        )
