"""What this process occupies at the peak of a micro-batch, from the peak model and from the trials that ran."""

from collections.abc import Callable, Mapping
from itertools import accumulate
from math import ceil

from autobatch.backend import current_backend
from autobatch.backend.base import Accelerator
from autobatch.memory.peak_model import PeakModel
from autobatch.memory.reading import MemoryReading
from autobatch.memory.types import Device
from autobatch.probing.search import peak_bounds
from autobatch.probing.step_budgets import pool_bytes
from autobatch.probing.trials.measure import WORST
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Trial


def footprint_of(
    baseline_bytes: int, model: PeakModel, measured: Mapping[int, int], beyond: Callable[[int], float] | None = None
) -> Callable[[int], int]:
    """Returns the function from samples to the bytes that this process occupies at the peak; it never falls.

    What was measured is not doubted: up to the largest measured size nothing needs more than a larger size was seen to
    need, whatever margin the model puts on itself, and nothing needs less than a smaller size was seen to need. Beyond
    that size peaks may bend upwards, which the model does not know: what bounds them counts, where that is given.

    Example:
        >>> from autobatch.memory.peak_model import fit_peak
        >>> need = footprint_of(500, fit_peak([(2, 1_200), (8, 1_800)]), {2: 1_200, 8: 1_800})
        >>> need(2), need(8), need(16)
        (1700, 2300, 3178)
    """
    sizes = sorted(measured)
    peaks = [measured[size] for size in sizes]
    at_least = dict(zip(sizes, accumulate(peaks, max), strict=True))
    at_most = dict(zip(reversed(sizes), accumulate(reversed(peaks), min), strict=True))

    def need(size: int) -> int:
        below = max((at_least[tried] for tried in sizes if tried <= size), default=0)
        above = min((at_most[tried] for tried in sizes if tried >= size), default=None)
        if above is None:
            return baseline_bytes + max(ceil((beyond or model.upper)(size)), below)
        return baseline_bytes + max(min(model.upper(size), above), below)

    return need


Footprint = Callable[[int], int]

# What keeping gradients adds to a peak, over the bytes of the gradients: one copy, and part of another while they are
# weighted. Measured as 1.33 with a net of large dense layers.
_COPIES = 1.35


class RunFootprints:
    """The needs of updates in one piece and of those in several micro-batches."""

    def __init__(
        self,
        found: ProbeResult,
        baselines: dict[str, int],
        *,
        accumulated: int | None,
        gradient_bytes: int,
        gradients_on: str,
    ) -> None:
        self._found, self._baselines, self._accumulated = found, baselines, accumulated
        self._extra = {gradients_on: 0 if accumulated else int(_COPIES * gradient_bytes)}

    @property
    def known(self) -> bool:
        """Whether trials have told what each resource is needed for: if not, nothing can say that more fits."""
        return self._baselines.keys() <= self._found.models.keys()

    def of(self, effective: int) -> dict[str, Footprint]:
        """Per resource, the bytes at the peak of a micro-batch, from its samples, for one effective batch."""
        return {name: self._need(name, effective) for name in self._baselines if name in self._found.models}

    def _need(self, name: str, effective: int) -> Footprint:
        ran = [trial for trial in self._found.trials if trial.outcome.ran and name in trial.peaks]
        whole = [trial for trial in ran if trial.size == self._accumulated]
        in_parts = self._from(name, [trial for trial in ran if trial not in whole] or ran)
        extra = self._extra.get(name, 0)
        # The trial of the whole effective batch kept no gradients; without one, that of a part is more than enough.
        in_one = self._from(name, whole) if whole and effective == self._accumulated else in_parts
        return lambda size: in_one(size) if size >= effective else in_parts(size) + extra

    def _from(self, name: str, trials: list[Trial]) -> Footprint:
        model, baseline = self._found.models[name], self._baselines[name]
        measured: dict[int, int] = {}
        for trial in trials:
            measured[trial.size] = max(measured.get(trial.size, 0), trial.peaks[name])
        bounds = peak_bounds(trials)
        need = footprint_of(baseline, model, measured, bounds[name].upper)
        worst = bounds.get(WORST) if name == "host" else None
        if worst is None:
            return need
        tried, offset_bytes = max(measured), baseline - self._found.reserves.get("host", 0)

        def careful(size: int) -> int:
            # Beyond what was tried, what the worst may come to has to fit with the reserve, as in the search.
            return need(size) if size <= tried else max(need(size), ceil(worst.upper(size)) + offset_bytes)

        return careful


def baselines(before: MemoryReading, read_ahead_bytes: int, gpu: Accelerator | None) -> dict[str, int]:
    """Per resource, what this process occupies whatever the size of its micro-batches, in bytes."""
    host = max(0, before.process.rss_bytes - current_backend().idle_pool_bytes()) + read_ahead_bytes
    device = None if gpu is None else next((one for one in before.devices if one.index == gpu.number), None)
    if gpu is None or device is None:
        return {"host": host}
    return {"host": host, "device": device_baseline(device, gpu)}


def device_baseline(device: Device, gpu: Accelerator) -> int:
    """What this process occupies of a GPU whatever the size of its micro-batches, in bytes."""
    used = device.used_by_this_process_bytes
    # The framework's own figures leave out CUDA's context; what it uses is all that is known not to be a pool's hoard.
    if used is None or device.own_from in {"pool", "allocator"}:
        return gpu.in_use_bytes
    # Of what its allocator holds, only what is in use counts: the rest is there for the micro-batches.
    return used - pool_bytes(device, gpu)
