"""What this process occupies at the peak of a micro-batch, from the peak model and from the trials that ran."""

from collections.abc import Callable, Mapping
from itertools import accumulate
from math import ceil

from autobatch.memory.peak_model import PeakModel


def need_of(
    baseline_bytes: int, model: PeakModel, measured: Mapping[int, int], beyond: Callable[[int], float] | None = None
) -> Callable[[int], int]:
    """Returns the function from samples to the bytes that this process occupies at the peak; it never falls.

    What was measured is not doubted: up to the largest measured size nothing needs more than a larger size was seen to
    need, whatever margin the model puts on itself, and nothing needs less than a smaller size was seen to need. Beyond
    that size peaks may bend upwards, which the model does not know: what bounds them counts, where that is given.

    Args:
        baseline_bytes: What this process occupies without a micro-batch.
        model: The peak model of this process, above the baseline.
        measured: Peak in bytes above the baseline, by the size of the trial that ran.
        beyond: At most so many bytes for a size above all of them; the model's upper bound if left out.

    Example:
        >>> from autobatch.memory.peak_model import fit_peak
        >>> need = need_of(500, fit_peak([(2, 1_200), (8, 1_800)]), {2: 1_200, 8: 1_800})
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
