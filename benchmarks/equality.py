"""Whether a batch in parts makes the same update as the batch as a whole: the same small net, trained three ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import say

PIXELS, CLASSES = 16, 4
EPOCHS = 2

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        net: What is trained.
        samples: Samples in an epoch.
        effective: Samples behind one update.
        micro: The most in a micro-batch.
        weighted: Whether samples have weights.
        reduction: How Keras' loss sums up.
        quick: Whether it belongs to the short form.
    """

    net: str
    samples: int
    effective: int
    micro: int
    weighted: bool = False
    reduction: str = "sum_over_batch_size"
    quick: bool = False

    @property
    def parts(self) -> int:
        """Micro-batches of an update."""
        return -(-self.effective // self.micro)

    @property
    def promised(self) -> bool:
        """Whether the update is to be that of the whole batch."""
        return self.net != "conv net with BatchNorm"

    @property
    def title(self) -> str:
        """The net, and what is special about the loss."""
        weighted = ", sample weights" if self.weighted else ""
        return f"{self.net}{weighted}{', mean by weight' if self.reduction == 'mean_with_sample_weight' else ''}"

    @property
    def shape(self) -> str:
        """How it is cut."""
        return f"{self.samples} samples, {self.effective} an update, in parts of up to {self.micro}"


def conv_net(*, normalised: bool = False) -> Any:
    """Two convolutions, with or without BatchNorm between them."""
    from keras import Sequential, layers

    between = [layers.BatchNormalization()] if normalised else []
    first, second = (layers.Conv2D(width, 3, activation="relu") for width in (8, 16))
    last = [layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")]
    return Sequential([layers.Input((PIXELS, PIXELS, 3)), first, *between, second, *last])


def attention_net() -> Any:
    """One encoder layer over the rows of a picture."""
    from keras import Model, layers

    picture = layers.Input((PIXELS, PIXELS, 3))
    rows = layers.Dense(32)(layers.Reshape((PIXELS, PIXELS * 3))(picture))
    attended = layers.LayerNormalization()(rows + layers.MultiHeadAttention(2, 16)(rows, rows))
    wide = layers.Dense(64, activation="gelu")(attended)
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(attended + layers.Dense(32)(wide)))
    return Model(picture, layers.Dense(CLASSES, activation="softmax")(pooled))


NETS = {
    "conv net": conv_net,
    "conv net with BatchNorm": lambda: conv_net(normalised=True),
    "transformer layer": attention_net,
}
_EVEN, _SHORT, _RAGGED = (72, 24, 8), (85, 24, 8), (61, 25, 8)
CASES = (
    Case("conv net", *_EVEN, quick=True),
    Case("conv net", *_SHORT, quick=True),
    Case("conv net", *_RAGGED),
    Case("conv net", *_EVEN, weighted=True),
    Case("conv net", *_SHORT, weighted=True),
    Case("conv net", *_EVEN, weighted=True, reduction="mean_with_sample_weight", quick=True),
    Case("conv net", *_SHORT, weighted=True, reduction="mean_with_sample_weight"),
    Case("transformer layer", *_EVEN),
    Case("transformer layer", *_RAGGED),
    Case("conv net with BatchNorm", *_EVEN, quick=True),
    Case("conv net with BatchNorm", *_RAGGED),
)


def difference(case: Case, cache: str) -> dict[str, dict[str, float | None]]:
    """How far both ways of accumulating end from the whole batch: weights, and BatchNorm's averages.

    Args:
        case: What to compare.
        cache: A folder for the answers of probes.
    """
    import keras

    import autobatch

    say(f"{case.title}: {case.shape}")
    data = _samples(case)
    keras.utils.set_random_seed(0)
    first = NETS[case.net]()
    start = first.get_weights()

    def trained(parts: int | None, train: Any) -> dict[str, Arrays]:
        model = keras.models.clone_model(first)
        model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=case.reduction)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=parts), loss)
        train(model)
        return {
            "weights": [variable.numpy() for variable in model.trainable_variables],
            "averages": [variable.numpy() for variable in model.non_trainable_variables],
        }

    x, y, weight = data
    plain: dict[str, Any] = {"epochs": EPOCHS, "shuffle": False, "verbose": 0}
    micro = max(1, round(case.effective / case.parts))
    before = trained(None, lambda _: None)
    whole = trained(None, lambda model: model.fit(x, y, case.effective, sample_weight=weight, **plain))
    keras_own = trained(case.parts, lambda model: model.fit(x, y, micro, sample_weight=weight, **plain))
    given = (x, y) if weight is None else (x, y, weight)
    cut: dict[str, Any] = {"batch_size": case.effective, "max_batch_size": case.micro, "seed": 0, "cache": cache}
    ours = trained(None, lambda model: autobatch.fit(model, given, **cut, **plain))
    sides = {"keras": keras_own, "autobatch": ours}
    return {
        name: {what: relative_difference(side[what], whole[what], before[what]) for what in whole}
        for name, side in sides.items()
    }


def _samples(case: Case) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(0)
    x = draw.random((case.samples, PIXELS, PIXELS, 3), dtype=np.float32)
    weight = draw.uniform(0.1, 3.0, case.samples).astype(np.float32) if case.weighted else None
    return x, draw.integers(0, CLASSES, case.samples), weight


def relative_difference(found: Arrays, whole: Arrays, before: Arrays) -> float | None:
    """The largest difference between two ends, over the largest change from the beginning; `None` without values.

    Args:
        found: Values at the end of one training.
        whole: Those at the end of the training that it should equal.
        before: Those that both began with.

    Example:
        >>> ones = np.ones(2)
        >>> relative_difference([ones * 3.5], [ones * 3], [ones])
        0.25
    """
    if not whole:
        return None
    change = max(float(np.abs(end - start).max()) for end, start in zip(whole, before, strict=True))
    apart = max(float(np.abs(one - end).max()) for one, end in zip(found, whole, strict=True))
    return apart / change
