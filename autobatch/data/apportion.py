"""How the samples of an epoch are shared out among the parts of a mixture. Numbers in, numbers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt


def shares(weights: Sequence[float], samples: int) -> tuple[int, ...]:
    """Whole numbers that add up to `samples` and are as near to the proportions of `weights` as whole numbers get.

    Each is its quota rounded down or up: up for those with the largest remainders, the earlier ones if they are equal
    (the method of largest remainders, Hamilton's). Calculated with fractions, so that no weight is too small or long.

    Example:
        >>> shares((0.5, 0.3, 0.2), 9)
        (4, 3, 2)
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

    Example:
        >>> interleaved((4, 2)).tolist()
        [0, 1, 0, 0, 1, 0]
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

    Attributes:
        size: Samples that the part has.
        given: Samples that it gives in an epoch.
    """

    size: int
    given: int

    @property
    def extra(self) -> int:
        """Samples that are given once more than the others."""
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
