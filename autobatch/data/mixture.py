"""Samples from several sources in one flow, in proportions that are exact in every epoch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is to be mixed; `autobatch.fit` opens it.

    Attributes:
        parts: Each as `fit` takes data, or a pair of a generator and what it reads.
        weights: Proportions of the parts, or `None` for all samples of all parts once an epoch.
        samples: Samples in an epoch, or `None` for as many as the parts have together.
    """

    parts: tuple[Any, ...]
    weights: tuple[float, ...] | None = None
    samples: int | None = None


def mix(parts: Iterable[Any], weights: Sequence[float] | None = None, *, samples: int | None = None) -> Mixture:
    """Data from several sources as one, for `fit`, `probe` and `evaluate`.

    Without weights an epoch has every sample of every part once. With weights it has `samples`, shared out in exactly
    these proportions (rounded to whole samples by largest remainder). A part that has to give more than it has begins
    anew, its samples augmented afresh; one that gives fewer goes on in the next epoch where it stopped.

    Args:
        parts: Data as `fit` takes them by themselves, or pairs of an `ImageDataGenerator` and what it reads.
        weights: One number for each part, 0 or more, in any unit.
        samples: Samples in an epoch, with weights only; by default as many as the parts have together. Needed where a
            part doesn't tell how many it has (datasets, generators).

    Raises:
        ArgumentError: There are no parts, or weights or samples that cannot be meant.

    Example:
        ```python
        both = autobatch.mix([(datagen, "photos/"), (datagen, "drawings/")], weights=[3, 1], samples=10_000)
        autobatch.fit(model, both)
        ```
    """
    parts = tuple(parts)
    if not parts:
        raise ArgumentError("There is nothing to mix. Received: parts=[]. Expected at least one.")
    if weights is None:
        if samples is not None:
            raise ArgumentError(
                "Without weights an epoch has every sample of every part once. "
                f"Received: samples={samples!r} without weights. Expected weights=[...], too."
            )
        return Mixture(parts)
    weights = tuple(weights)
    _require_weights(weights, len(parts))
    if samples is not None and (isinstance(samples, bool) or samples < 1):
        raise ArgumentError(f"An epoch has samples. Received: samples={samples!r}. Expected a whole number >= 1.")
    return Mixture(parts, weights, samples)


def _require_weights(weights: tuple[Any, ...], parts: int) -> None:
    if len(weights) != parts:
        raise ArgumentError(
            f"Each part has its weight. Received: {len(weights)} weights for {parts} parts. Expected {parts}."
        )
    numbers = all(isinstance(weight, Real) and 0 <= float(weight) < math.inf for weight in weights)
    if not numbers or not sum(weights):
        raise ArgumentError(
            f"Weights are proportions. Received: weights={list(weights)!r}. Expected numbers >= 0, not all of them 0."
        )
