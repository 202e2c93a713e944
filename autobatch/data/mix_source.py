"""A mixture of sources: random access by sample, exact proportions, each sample as often as any other of its part."""

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from autobatch.data.apportion import Rota, shares
from autobatch.data.batch import Batch, concatenate
from autobatch.data.form import form_of
from autobatch.data.order import as_indices, fold, permutation
from autobatch.data.source import Source
from autobatch.errors import ArgumentError

_CYCLES = 4  # keeps the orders of a mixture apart from those of its parts


class MixSource:
    """Samples of several sources as one source; what an epoch has is a function of `(seed, epoch)` alone.

    Args:
        sources: The parts. They must hand over samples of one form.
        weights: Their proportions, or `None` for every sample of every part once an epoch.
        samples: Samples in an epoch, with weights; as many as the parts have together if `None`.
        seed: What the order derives from.

    Raises:
        ArgumentError: Two parts differ in form, or a part without samples has to give some.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float] | None = None,
        samples: int | None = None,
        *,
        seed: int,
    ) -> None:
        require_one_form([quiet(source).read([0], 0) for source in sources])
        self.seed = seed
        self._sources = tuple(sources)
        sizes = [len(source) for source in sources]
        given = tuple(sizes) if weights is None else shares(weights, samples or sum(sizes))
        self._rotas = tuple(Rota(size, number) for size, number in zip(sizes, given, strict=True))
        self._starts = np.cumsum([0, *given])
        self._orders: list[dict[int, npt.NDArray[np.int64]]] = [{} for _ in sources]

    def __len__(self) -> int:
        """Samples in an epoch."""
        return int(self._starts[-1])

    @property
    def given(self) -> tuple[int, ...]:
        """Samples that each part gives in an epoch."""
        return tuple(rota.given for rota in self._rotas)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, the most of all parts."""
        return max(source.sample_bytes for source in self._sources)

    def without_saving(self) -> Self:
        """The same samples, but reading them writes nothing, whatever a part's `save_to_dir` says."""
        silent = copy.copy(self)
        silent._sources = tuple(map(quiet, self._sources))
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


def quiet(source: Source) -> Source:
    """The source, or what reads the same samples and writes no files."""
    without_saving = getattr(source, "without_saving", None)
    return source if without_saving is None else without_saving()


def require_one_form(samples: Sequence[Batch]) -> None:
    """Refuses parts whose samples can't stand in one batch.

    Args:
        samples: A few of each part.

    Raises:
        ArgumentError: Names two parts and their forms.
    """
    forms = [form_of(batch) for batch in samples]
    for number, form in enumerate(forms):
        if form != forms[0]:
            raise ArgumentError(
                "The parts of a mixture must hand over samples of one form (inputs, targets, types, shapes). "
                f"Received: part 0 with {forms[0]}, part {number} with {form}. Expected the same."
            )
