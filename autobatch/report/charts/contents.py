"""What each chart shows, as values: the page draws them as SVG, and `plot()` with matplotlib."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autobatch.memory.peak_model import PeakModel
from autobatch.probing.search import EFFICIENT_FRACTION
from autobatch.report.runs import Epoch
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Decision, Observation
from autobatch.results.trial import Trial

_AT_WORST = "_at_worst"
_TOO_FAST = 1e12  # samples/s that nobody has measured: a file that was tampered with
_LONG_BEFORE = 0.1  # of the whole time

Known = tuple[float, float | None]  # seconds, and a value if it is known


@dataclass(frozen=True, slots=True)
class Trials:
    """The trials of one run with what they are judged by: a result, and a fitted line per resource."""

    all: tuple[Trial, ...]
    result: ProbeResult | None
    models: Mapping[str, PeakModel]

    @property
    def resources(self) -> list[str]:
        """The resources of which a peak was measured; their worst cases belong to them."""
        named = {name.removesuffix(_AT_WORST) for trial in self.all for name in trial.peaks}
        return sorted(named, key=lambda name: (name != "device", name))

    @property
    def chosen(self) -> int | None:
        return self.result.batch_size if self.result else None


@dataclass(frozen=True, slots=True)
class MemoryContent:
    resource: str
    measured: list[tuple[Trial, int]]  # with their peaks in bytes
    worst: list[tuple[Trial, int]]  # with what they may come to, in bytes
    silent: list[Trial]  # those that measured no peak
    model: PeakModel | None  # the fitted line, if it can be drawn
    budget_bytes: int | None
    reserve_bytes: int
    limit: str  # what the budget is a part of
    chosen: int | None

    @property
    def highest_bytes(self) -> float:
        """The most that is drawn besides the budget."""
        chosen = [self.model.upper(self.chosen)] if self.model and self.chosen else []
        return max([*(peak for _, peak in (*self.measured, *self.worst)), *chosen], default=0)

    def budget_is_near(self, multiple: float) -> bool:
        """Whether the budget is at most this multiple of all else: beyond, it would press the rest to the axis."""
        return self.budget_bytes is not None and self.budget_bytes <= self.highest_bytes * multiple


def memory_content(trials: Trials, resource: str) -> MemoryContent:
    """What the chart of one resource (`"host"` or `"device"`) shows; each trial has a size from 1 up."""
    result, model, worst = trials.result, trials.models.get(resource), resource + _AT_WORST
    return MemoryContent(
        resource,
        [(trial, trial.peaks[resource]) for trial in trials.all if resource in trial.peaks],
        [(trial, trial.peaks[worst]) for trial in trials.all if worst in trial.peaks],
        [trial for trial in trials.all if resource not in trial.peaks],
        model if model is not None and _can_be_drawn(model) else None,
        result.budgets.get(resource) if result else None,
        result.reserves.get(resource, 0) if result else 0,
        result.limits.get(resource, resource) if result else resource,
        trials.chosen,
    )


def _can_be_drawn(model: PeakModel) -> bool:
    numbers = (model.fixed_bytes, model.per_sample_bytes, model.residual, model.least_bytes)
    return all(math.isfinite(number) for number in numbers) and model.largest_size >= 1


@dataclass(frozen=True, slots=True)
class ThroughputContent:
    """Samples per second against batch size, and the speed that counts as efficient."""

    measured: list[tuple[Trial, float]]
    best: float
    chosen: int | None

    @property
    def efficient(self) -> float:
        return EFFICIENT_FRACTION * self.best

    @property
    def fastest(self) -> dict[int, float]:
        """The best speed of each size, by size: one may have been tried twice."""
        return dict(sorted((trial.size, speed) for trial, speed in self.measured))


def throughput_content(trials: Trials) -> ThroughputContent | None:
    speeds = [(trial, trial.samples_per_s) for trial in trials.all]
    measured = [(trial, speed) for trial, speed in speeds if speed is not None and 0 <= speed < _TOO_FAST]
    return ThroughputContent(measured, max(speed for _, speed in measured), trials.chosen) if measured else None


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity over time."""

    title: str
    points: Sequence[Known]  # in order
    unit: Literal["samples", "bytes"]
    stepped: bool = False  # a value holds until the next
    limit: Sequence[Known] = ()  # what it should stay below

    @property
    def range(self) -> tuple[float, float]:
        """From 0, or from the lowest below it, to a little above the highest; the limit counts where it is near."""
        values = [value for _, value in self.points if value is not None]
        near = 2 * max(values)
        limits = [value for _, value in self.limit if value is not None and value <= near]
        low, high = min(0.0, *values), max(0.0, *values, *limits)
        return (low, high + (high - low) * 0.08) if high > low else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Placed:
    """A decision with its number in the list, counted from 1, and its time."""

    number: int
    at_s: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class RunContent:
    """A training over time, from `start_s` to `until_s`."""

    rows: list[Row]  # of which something is known
    decisions: list[Placed]
    epoch_ends: list[tuple[float, int]]  # time and number, counted from 1, in order
    start_s: float
    until_s: float


def run_content(
    observations: Sequence[Observation],
    decisions: Sequence[Decision],
    epochs: Iterable[Epoch] = (),
    first_size: int | None = None,
) -> RunContent:
    """What the chart of a training shows that began with micro-batches of `first_size`.

    A decision without a time stands where its update was seen.
    """
    seen = sorted((one for one in observations if math.isfinite(one.at_s)), key=lambda one: one.at_s)
    ends = sorted({one.at_s: one.epoch + 1 for one in epochs if math.isfinite(one.at_s)}.items())
    times = [*(one.at_s for one in seen), *(at_s for at_s, _ in ends)]
    times += [one.at_s for one in decisions if one.at_s is not None and math.isfinite(one.at_s)]
    first, until = min(times, default=0.0), max(times, default=0.0)
    # Trials before the training began are left out where they took long.
    start = first if first > _LONG_BEFORE * until else 0.0
    timed = ((number, _time_of(one, observations), one) for number, one in enumerate(decisions, 1))
    placed = [Placed(number, at_s, one) for number, at_s, one in timed if at_s is not None]
    budgets = [(one.at_s, one.budget_bytes, (one.limit or "").startswith(("GPU", "device"))) for one in seen]
    on_device = [(at_s, budget if device else None) for at_s, budget, device in budgets]
    on_host = [(at_s, None if device else budget) for at_s, budget, device in budgets]
    sizes = _sizes(seen, placed, (start, until), first_size)
    rows = [
        Row("micro-batch, samples", sizes, "samples", stepped=True),
        Row("headroom", [(one.at_s, one.headroom_bytes) for one in seen], "bytes"),
        Row("occupied on the host (RSS)", [(one.at_s, one.rss_bytes) for one in seen], "bytes", limit=on_host),
        Row("occupied on devices", [(one.at_s, one.device_bytes) for one in seen], "bytes", limit=on_device),
    ]
    known = [row for row in rows if any(value is not None for _, value in row.points)]
    return RunContent(known, placed, ends, start, until)


def _time_of(decision: Decision, observations: Sequence[Observation]) -> float | None:
    if decision.at_s is not None:
        return decision.at_s if math.isfinite(decision.at_s) else None
    place = (decision.epoch, decision.update)
    return next((seen.at_s for seen in observations if (seen.epoch, seen.update) >= place), None)


def _sizes(
    seen: Sequence[Observation], decisions: Sequence[Placed], span: tuple[float, float], first_size: int | None
) -> list[Known]:
    """The size over time, by what was seen and by what was decided in between; the last one holds to the end."""
    told: list[Known] = [(one.at_s, one.micro_batch_size) for one in seen]
    told += [(one.at_s, one.decision.after) for one in decisions]
    told.sort(key=lambda point: point[0])
    if first_size is not None:
        told.insert(0, (span[0], first_size))
    changes = [point for before, point in itertools.pairwise([(0.0, None), *told]) if point[1] != before[1]]
    return [*changes, *((span[1], size) for _, size in told[-1:])]
