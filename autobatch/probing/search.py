"""Which size to try next, and what the trials so far have proven. Numbers in, numbers out.

The search starts at two samples, goes up only where the measured peaks say that it fits, and ends when nothing 2 %
larger is known to. Nothing is tried in the hope that it fails: a failure means that the model of
the peak was wrong, and then what is left between the largest size that ran and the smallest that did not is bisected.
"""

import math
from collections.abc import Mapping, Sequence

from autobatch.errors import ArgumentError
from autobatch.memory.peak_model import PeakModel
from autobatch.probing.peak_bound import PeakBound
from autobatch.results.trial import Outcome, Trial

# Trials are rounded to whole numbers of seven significant bits: 1 to 128, then 130, 132, ... 256, 260, ...: neighbours
# differ by 0.8 to 1.6 %. Searches that measure about the same then end on the same size, whose answer and compiled step
# are there already.
_BITS = 7
_ROW = 1 << (_BITS - 1)
# What another trial has to promise: the more there were, the more.
_LEAST_GAIN, _LATE_GAIN = 0.02, 0.05
_LATE = 4


def ladder_floor(n: int) -> int:
    """The largest size of the ladder that is at most `n` (`n` >= 1)."""
    shift = max(n.bit_length() - _BITS, 0)
    return n >> shift << shift


def ladder_prev(n: int) -> int:
    """The largest size of the ladder below `n` (`n` >= 2)."""
    return ladder_floor(n - 1)


def rung_of(n: int) -> int:
    """The position on the ladder of `ladder_floor(n)`: 1 stands on rung 1, and each size one rung above the last."""
    shift = max(n.bit_length() - _BITS, 0)
    return shift * _ROW + (n >> shift)


def rung_size(rung: int) -> int:
    """The size that stands on a rung: the inverse of `rung_of`."""
    shift = max((rung - _ROW) // _ROW, 0)
    return (rung - shift * _ROW) << shift


def ladder_middle(low: int, high: int) -> int:
    """The ladder size half-way between two sizes in rungs, `low` itself if none stands between them."""
    above = rung_of(high) + (ladder_floor(high) != high)
    return rung_size((rung_of(low) + above) // 2)


def worth_trying(best: int, tried: int) -> int:
    """The smallest size above a proven one that is worth another trial, after so many of them.

    At least one sample more, and 2 %; after four trials 5 %.

    Example:
        >>> worth_trying(1000, tried=3), worth_trying(1000, tried=4), worth_trying(10, tried=4)
        (1020, 1050, 11)
    """
    gain = _LEAST_GAIN if tried < _LATE else _LATE_GAIN
    return max(best + 1, math.ceil(best * (1 + gain)))


FIRST_SIZE = 2
MAX_TRIALS = 24
MAX_THROUGHPUT_TRIALS = 3
EFFICIENT_FRACTION = 0.95
# How many times the largest size that ran the next may be: without a peak, with one, with several. Where speeds are
# sought, too, sizes in between are worth a look, and memory that buys no speed is not to be taken.
_JUMPS = 2, 64, 256
_JUMPS_FOR_SPEED = 2, 8, 16
_COARSE = 2
_TWICE = 2
_APART = 4  # sizes nearer than that say too little of what an update costs whatever its size


def verdict(peaks: Mapping[str, int], budgets: Mapping[str, int]) -> Outcome:
    """`RAN` if every measured peak is within the budget of its resource, else `OVER_BUDGET`."""
    over = any(peaks[name] > budget for name, budget in budgets.items() if name in peaks)
    return Outcome.OVER_BUDGET if over else Outcome.RAN


def next_size(
    trials: Sequence[Trial],
    budgets: Mapping[str, int],
    cap: int,
    guards: Mapping[str, int] | None = None,
    *,
    rungs: Sequence[int] = (),
    for_speed: bool = False,
) -> int | None:
    """The size to try next in search of the largest safe one, or `None` if the search is done.

    Trials that ran are judged by the budgets given now, not by those of the day: a budget that has fallen since makes
    the search look below sizes that once fitted. No size is proposed twice, and none after `MAX_TRIALS` trials.

    Args:
        trials: What has been tried so far, in order.
        budgets: Per resource, bytes that the process may grow by, as read now.
        cap: The largest size that makes sense (samples, or the user's bound); it may be tried though it is not on the
            ladder.
        guards: Further budgets, for untried sizes only: what has run is not judged by them.
        rungs: The sizes that count, if not all do: the largest of them is sought. One between two of them is tried only
            where that is expected to show that the larger one fits.
        for_speed: Whether the size is to be as small as is fast: then it goes up in smaller jumps.

    Raises:
        ArgumentError: `cap` is below 1.
    """
    if cap < 1:
        msg = f"There is no size to try below one sample. Received: cap={cap!r}. Expected an integer of at least 1."
        raise ArgumentError(msg)
    if len(trials) >= MAX_TRIALS or any(budget <= 0 for budget in budgets.values()):
        return None
    if not trials:
        return min(FIRST_SIZE, cap)
    best = largest(trials, budgets)
    if best is None:
        return _smaller_start(trials)
    more = min(worth_trying(best.size, len(trials)), cap)
    jumps = _JUMPS_FOR_SPEED if for_speed else _JUMPS
    for_untried = {**budgets, **(guards or {})}
    allowed = _largest_that_fits(best.size, trials, for_untried, cap, jumps)
    if rungs:
        return _next_rung(best.size, allowed, trials, for_untried, rungs) or _second_point(trials, budgets)
    if allowed < more or more == best.size:
        return _second_point(trials, budgets)
    size = allowed if allowed == cap else max(ladder_floor(allowed), more)
    bad = min((trial.size for trial in trials if trial.size > best.size), default=cap + 1)
    if size >= bad:
        size = max(ladder_middle(best.size, bad), more)
    return size if size < bad else None


def next_throughput_size(trials: Sequence[Trial], rungs: Sequence[int] = ()) -> int | None:
    """The size to try next in search of the smallest one that is fast, or `None` if it is known well enough.

    Ask once `next_size` is done. While the smallest size that reaches 95 % of the best throughput is more than
    twice the next smaller one that was tried, the geometric middle is proposed: it is below a proven size, so it fits.
    At most `MAX_THROUGHPUT_TRIALS` such sizes are proposed. Where only `rungs` count, it is the next one below.
    """
    fast = most_efficient(trials, rungs=rungs)
    if fast is None or _descents(trials) >= MAX_THROUGHPUT_TRIALS:
        return None
    slower = max((trial.size for trial in trials if trial.size < fast.size), default=fast.size)
    if fast.size <= _COARSE * slower:
        return None
    middle = ladder_floor(round((fast.size * slower) ** 0.5))
    return next((rung for rung in rungs if slower < rung <= middle), None) if rungs else middle


def largest(
    trials: Sequence[Trial], budgets: Mapping[str, int] | None = None, rungs: Sequence[int] = ()
) -> Trial | None:
    """The trial of the largest size that ran within the budget and never failed, `None` if none did.

    Judged by the recorded outcomes if no budgets are given; of the sizes in `rungs` alone if there are any.
    """
    counting = (trial for trial in _proven(trials, budgets) if not rungs or trial.size in rungs)
    return max(counting, key=lambda trial: trial.size, default=None)


def most_efficient(
    trials: Sequence[Trial], budgets: Mapping[str, int] | None = None, rungs: Sequence[int] = ()
) -> Trial | None:
    """The trial of the smallest proven size that reaches 95 % of the best samples/s among them.

    `None` if nothing ran, or no speed was measured. Of the sizes in `rungs` alone if there are any.
    """
    counting = (trial for trial in _proven(trials, budgets) if not rungs or trial.size in rungs)
    timed = [(trial.samples_per_s, trial) for trial in counting if trial.samples_per_s is not None]
    best = max((speed for speed, _ in timed), default=0.0)
    fast = (trial for speed, trial in timed if speed >= EFFICIENT_FRACTION * best)
    return min(fast, key=lambda trial: trial.size, default=None)


def levels_off(trials: Sequence[Trial]) -> bool:
    """Whether a size beyond the largest that ran can hardly be faster.

    An update takes a fixed time and a time for each sample: `t(n) = fixed + per_sample * n`. The two largest sizes that
    ran and lie apart tell both, and once the fixed part is below 5 % of an update, no size has more than 1 / 0.95 of
    its samples/s.

    Example:
        >>> speeds = {2: 34.0, 16: 97.0, 256: 110.0}
        >>> trials = [Trial(n, Outcome.RAN, samples_per_s=speed) for n, speed in speeds.items()]
        >>> levels_off(trials[:2]), levels_off(trials)
        (False, True)
    """
    proven = [trial for trial in _proven(trials, None) if trial.samples_per_s]
    large = max((trial.size for trial in proven), default=0)
    # What was tried after it lies between, in search of the smallest fast one: nearer, and no better a line.
    grown = proven[: next((i + 1 for i, trial in enumerate(proven) if trial.size == large), 0)]
    timed = {trial.size: trial.size / (trial.samples_per_s or math.inf) for trial in grown}
    small = max((size for size in timed if size * _APART <= large), default=None)
    if small is None:
        return False
    per_sample_s = (timed[large] - timed[small]) / (large - small)
    return timed[large] - per_sample_s * large < (1 - EFFICIENT_FRACTION) * timed[large]


def peak_bounds(trials: Sequence[Trial]) -> dict[str, PeakBound]:
    """Per resource that was measured at least once, what the search takes an untried size to need at most."""
    names = {name: None for trial in trials for name in trial.peaks}
    return {name: bound for name in names if (bound := _bound(trials, name)) is not None}


def peak_models(trials: Sequence[Trial]) -> dict[str, PeakModel]:
    """Per resource that was measured at least once, the line that fits its peaks best."""
    return {name: bound.model for name, bound in peak_bounds(trials).items()}


def unseen(trials: Sequence[Trial], budgets: Mapping[str, int]) -> tuple[str, ...]:
    """Resources with a budget of which trials tell nothing, though they tell something of others.

    An allocator that keeps no statistics is one: going up until it has run out would be all there is to learn from it.

    Example:
        >>> unseen([Trial(2, Outcome.RAN, {"host": 300})], {"host": 900, "device": 900})
        ('device',)
    """
    seen = {name for trial in trials for name in trial.peaks}
    return tuple(name for name in budgets if name not in seen) if seen else ()


def _proven(trials: Sequence[Trial], budgets: Mapping[str, int] | None) -> list[Trial]:
    def measured_to_fit(trial: Trial) -> bool:
        return trial.outcome.ran and bool(trial.peaks) and verdict(trial.peaks, budgets or {}) is Outcome.RAN

    any_peaks = any(trial.peaks for trial in trials)
    proven = max((trial.size for trial in trials if measured_to_fit(trial)), default=0)

    def fits(trial: Trial) -> bool:
        if budgets is None or not trial.outcome.ran:
            return trial.outcome is Outcome.RAN
        if trial.peaks or not any_peaks:
            return verdict(trial.peaks, budgets) is Outcome.RAN
        return trial.size <= proven  # without a peak of its own it needs at most what a larger one did

    failed = {trial.size for trial in trials if not fits(trial)}
    return [trial for trial in trials if trial.size not in failed]


def _smaller_start(trials: Sequence[Trial]) -> int | None:
    smallest = min(trials, key=lambda trial: trial.size)
    return 1 if smallest.size > 1 and smallest.outcome is not Outcome.RAN and smallest.outcome.perhaps_memory else None


def _second_point(trials: Sequence[Trial], budgets: Mapping[str, int]) -> int | None:
    """One sample, if a single measured size cannot tell a large fixed part from a steep slope."""
    measured = {trial.size for trial in trials if trial.peaks.keys() & budgets.keys()}
    return 1 if measured == {FIRST_SIZE} and all(trial.size != 1 for trial in trials) else None


def _next_rung(
    ran: int, allowed: int, trials: Sequence[Trial], budgets: Mapping[str, int], rungs: Sequence[int]
) -> int | None:
    """The largest rung that is shown to fit, or a size on the way to the next one; `None` if none will come of it.

    Once something has failed, what it was shown by is in doubt, and what is left is halved.
    """
    failed = min((trial.size for trial in trials if trial.size > ran), default=None)
    least = worth_trying(ran, len(trials))
    enough = least if ran in rungs else ran + 1
    above = sorted(rung for rung in rungs if rung >= enough and (failed is None or rung < failed))
    shown = [rung for rung in above if rung <= allowed]
    if shown:
        return shown[-1] if failed is None else shown[len(shown) // 2]
    if not above:
        return None
    between, bounds = ladder_floor(max(1, allowed)), {name: _bound(trials, name) for name in budgets}
    hoped = all(bound is not None and bound.hoped(above[0]) <= budgets[name] for name, bound in bounds.items())
    return between if hoped and between >= least else None


def _largest_that_fits(
    ran: int, trials: Sequence[Trial], budgets: Mapping[str, int], cap: int, jumps: tuple[int, int, int]
) -> int:
    """The largest size up to `cap` and one jump above `ran` that every resource allows; below `ran` if none does."""
    bounds = {name: _bound(trials, name) for name in budgets}
    fewest = min((len(bound.points) if bound else 0 for bound in bounds.values()), default=0)
    top = min(cap, ran * jumps[min(fewest, 2)])
    if unseen(trials, budgets):
        # Once twice the size is a try; over and over it is a search for the size that runs out.
        top = min(top, _TWICE * min(trial.size for trial in trials if trial.outcome.ran))

    def fits(n: int) -> bool:
        return all(bound is None or bound.upper(n) <= budgets[name] for name, bound in bounds.items())

    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _bound(trials: Sequence[Trial], resource: str) -> PeakBound | None:
    points = [(trial.size, trial.peaks[resource]) for trial in trials if resource in trial.peaks]
    # The last to tell rests on the largest sizes.
    told = next((trial.profiles[resource] for trial in reversed(trials) if resource in trial.profiles), None)
    return PeakBound.of(points, told) if points else None


def _descents(trials: Sequence[Trial]) -> int:
    """How many trials were smaller than one that had run before: those that looked for speed."""
    best, count = 0, 0
    for trial in trials:
        count += trial.size < best
        best = max(best, trial.size if trial.outcome is Outcome.RAN else 0)
    return count
