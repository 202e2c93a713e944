"""Samples from several sources in one flow, in proportions that are exact in every epoch."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from autobatch._arguments import require_count
from autobatch.data.batch import Batch, concatenate, form_of
from autobatch.data.epoch import as_indices, fold, permutation
from autobatch.data.source import Source, without_saving
from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Mixture:
    """What `mix` was given; `autobatch.fit` opens it."""

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
    require_count("An epoch has samples.", samples=samples)
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


def shares(weights: Sequence[float], samples: int) -> tuple[int, ...]:
    """Whole numbers that add up to `samples` and are as near to the proportions of `weights` as whole numbers get.

    Each is its quota rounded down or up: up for those with the largest remainders, the earlier ones if they are equal
    (the method of largest remainders, Hamilton's). Calculated with fractions, so that no weight is too small or long.
    """
    exact = [Fraction(weight) for weight in weights]
    quotas = [weight * samples / sum(exact) for weight in exact]
    whole = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda part: (whole[part] - quotas[part], part))
    for part in by_remainder[: samples - sum(whole)]:
        whole[part] += 1
    return tuple(whole)


def interleaved(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Which part gives the first, second, ... sample of an epoch, so that every stretch has about the proportions.

    The k-th of n samples of a part stands where (k + 1/2) / n of the epoch has passed.
    """
    places = np.concatenate([(np.arange(number) + 0.5) / max(1, number) for number in counts])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind="stable")]


@dataclass(frozen=True, slots=True)
class Rota:
    """Which of its samples a part gives in an epoch, when it gives more or fewer than it has.

    Every sample is given `given // size` times in each epoch, and `given % size` of them once more. Those are taken in
    turn, from where the epoch before stopped, so that after any number of epochs no sample has been given more than
    once more often than another. When all have had equally many turns, a cycle of epochs is over, and the next may
    take them in another order; within a cycle it must stay, or a sample might be given twice too often in one epoch.
    """

    size: int  # samples that the part has
    given: int  # samples that it gives in an epoch

    @property
    def extra(self) -> int:
        return self.given % self.size

    @property
    def cycle(self) -> int:
        """Epochs after which all samples have had equally many turns."""
        return self.size // math.gcd(self.size, self.extra)

    def places(self, turns: npt.NDArray[np.int64], epoch: int) -> npt.NDArray[np.int64]:
        """Places in the order of the cycle, 0 to `size - 1`, of the turns 0 to `given - 1` of an epoch."""
        start = epoch % self.cycle * self.extra
        whole = self.given - self.extra
        return np.where(turns < whole, turns, start + turns - whole) % self.size

    def times_before(
        self, places: npt.NDArray[np.int64], turns: npt.NDArray[np.int64], epoch: int
    ) -> npt.NDArray[np.int64]:
        """How often each of these samples has been given before this turn, counted from epoch 0."""
        cycles, rounds = divmod(epoch, self.cycle)
        often = self.given // self.size * epoch + cycles * (self.extra * self.cycle // self.size)
        # Turns 0 to rounds * extra - 1 of this cycle went around the places; how many of them met this one?
        met = (rounds * self.extra - places + self.size - 1) // self.size
        return often + met + turns // self.size


_CYCLES = 4  # keeps the orders of a mixture apart from those of its parts


class MixSource:
    """Samples of several sources as one source; what an epoch has is a function of `(seed, epoch)` alone."""

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float] | None = None,
        samples: int | None = None,
        *,
        seed: int,
    ) -> None:
        require_one_form([without_saving(source).read([0], 0) for source in sources])
        self.seed = seed
        self._sources = tuple(sources)
        sizes = [len(source) for source in sources]
        # How many each part gives in an epoch.
        self.given = tuple(sizes) if weights is None else shares(weights, samples or sum(sizes))
        self._rotas = tuple(Rota(size, number) for size, number in zip(sizes, self.given, strict=True))
        self._starts = np.cumsum([0, *self.given])
        self._orders: list[dict[int, npt.NDArray[np.int64]]] = [{} for _ in sources]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def sample_bytes(self) -> int:
        return max(source.sample_bytes for source in self._sources)

    def without_saving(self) -> Self:
        silent = copy.copy(self)
        silent._sources = tuple(map(without_saving, self._sources))
        return silent

    def read(self, indices: Any, epoch: int) -> Batch:
        """The samples at `indices` as they look in `epoch`; those of each part stand together."""
        places = as_indices(indices, len(self))
        parts, samples, passes = self.whereabouts(places, epoch)
        read: list[Batch] = []
        where: list[npt.NDArray[np.int64]] = []
        for part, number in dict.fromkeys(zip(parts.tolist(), passes.tolist(), strict=True)):
            chosen = np.flatnonzero((parts == part) & (passes == number))
            read.append(self._sources[part].read(samples[chosen], number))
            where.append(chosen)
        return concatenate(read).take(np.argsort(np.concatenate(where)))

    def whereabouts(
        self, indices: npt.NDArray[np.int64], epoch: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each index of an epoch its part, the number of its sample there, and which pass of that sample it is."""
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        samples, passes = np.empty_like(indices), np.empty_like(indices)
        for part in np.unique(parts).tolist():
            chosen = parts == part
            turns, rota = indices[chosen] - self._starts[part], self._rotas[part]
            places = rota.places(turns, epoch)
            samples[chosen] = self._order(part, epoch)[places]
            passes[chosen] = rota.times_before(places, turns, epoch)
        return parts, samples, passes

    def _order(self, part: int, epoch: int) -> npt.NDArray[np.int64]:
        """The order in which the samples of a part take turns; those of large parts take long to make."""
        rota, kept = self._rotas[part], self._orders[part]
        cycle = epoch // rota.cycle
        order = kept.get(cycle)
        if order is None:
            seed = fold(_CYCLES, self.seed, part)
            order = permutation(seed, cycle, rota.size) if rota.extra else np.arange(rota.size)
            # Two are kept, because the next epoch is read ahead while this one is not over.
            self._orders[part] = {**dict(list(kept.items())[-1:]), cycle: order}
        return order


def require_one_form(samples: Sequence[Batch]) -> None:
    """Refuses parts whose samples (a few of each) can't stand in one batch."""
    forms = [form_of(batch) for batch in samples]
    for number, form in enumerate(forms):
        if form != forms[0]:
            raise ArgumentError(
                "The parts of a mixture must hand over samples of one form (inputs, targets, types, shapes). "
                f"Received: part 0 with {forms[0]}, part {number} with {form}. Expected the same."
            )
