"""Results as pictures, with matplotlib: for a notebook or a paper.

A figure is made without pyplot, so there is nothing to close, no display is needed, and no other figure is touched.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from autobatch._text import GIB, MIB, format_bytes, format_count
from autobatch.errors import MissingExtraError
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Decision, RunReport, Seen
from autobatch.results.trial import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
_EFFICIENT = 0.95
_FAR = 8  # a budget beyond so many times the highest peak would press the peaks to the ground
_PIECES = 64  # of the fitted line, which has a bend where one size only was measured
_MEASURED = (
    ("measured peak", "o", _BLUE, Outcome.RAN),
    ("measured peak, over the budget", "^", _RED, Outcome.OVER_BUDGET),
)
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


def plot_probe(result: ProbeResult, ax: "Axes | None" = None) -> "Figure":
    """Memory against batch size for each resource, and throughput against batch size.

    Args:
        result: What a probe has found.
        ax: Where to draw the memory of the binding resource, and nothing else; a figure of its own if left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_class = _figure_class()
    resources = sorted(result.budgets, key=lambda name: name != result.binding)
    if ax is not None:
        _memory(ax, result, resources[0] if resources else "host")
        return ax.get_figure(root=True)  # type: ignore[return-value]  # an axes that was handed over has a figure
    count = len(resources) + 1
    figure = figure_class(figsize=(5.2 * count, 4.8), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, name in zip(panels, resources, strict=False):
        _memory(panel, result, name)
    _throughput(panels[-1], result)
    figure.suptitle(_text(result.summary()), fontsize="medium")
    return figure


def plot_run(report: RunReport) -> "Figure":
    """Micro-batch, memory and headroom over time, with every decision marked.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = _figure_class()(figsize=(11, 7), layout="constrained")
    micro, memory, headroom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 2))
    seen, decisions = report.observations, report.decisions
    unit, seconds = _time_unit([one.at_s for one in seen] + [one.at_s or 0.0 for one in decisions])
    _micro_batches(micro, report, seconds)
    _memory_over_time(memory, seen, seconds)
    _headroom_over_time(headroom, seen, seconds)
    for panel in (micro, memory, headroom):
        for decision in decisions:
            panel.axvline((decision.at_s or 0.0) / seconds, color=_GREY, linewidth=0.8, linestyle=":", zorder=0)
        _mark_epochs(panel, seen, seconds)
        _legend_beside(panel)
    headroom.set_xlabel(f"time since the run began ({unit}); epochs begin at the grey lines")
    figure.suptitle(f"batch_size={report.effective}: {_changes(decisions)}", fontsize="medium")
    return figure


def _figure_class() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Plots need matplotlib: pip install 'keras-autobatch[plot]'.") from error
    return Figure


def _memory(ax: "Axes", result: ProbeResult, name: str) -> None:
    """Peaks of one resource with the fitted line, and what they may come to."""
    model = result.models.get(name)
    measured = [trial for trial in result.trials if name in trial.peaks]
    sizes = [trial.size for trial in result.trials] or [result.batch_size]
    end = round(max(sizes) * 1.06) + 1
    highest = max([trial.peaks[name] for trial in measured] + [0 if model is None else model.predict(end)])
    budget = result.budgets.get(name)
    far = budget is not None and budget > _FAR * highest > 0
    unit, word = _byte_unit(highest if far else max(highest, budget or 0))
    if model is not None:
        points = [
            (size, model.predict(size)) for size in sorted({round(end * n / _PIECES) for n in range(_PIECES + 1)})
        ]
        label = f"fitted: {_amount(model.fixed_bytes)} + {_amount(model.per_sample_bytes)} a sample"
        ax.plot([x for x, _ in points], [y / unit for _, y in points], color=_BLUE, linewidth=1.2, label=label)
    for label, marker, color, outcome in _MEASURED:
        some = [(trial.size, trial.peaks[name] / unit) for trial in measured if trial.outcome is outcome]
        if some:
            ax.plot([size for size, _ in some], [peak for _, peak in some], marker, color=color, label=label, zorder=3)
    _failures(ax, result)
    _chosen(ax, result.batch_size, None if name not in result.peaks else result.peaks[name] / unit)
    if budget is not None:
        _budget(ax, budget, result.reserves.get(name, 0), _text(result.limits.get(name, name)), 0 if far else unit)
    ax.set(xlabel="batch size (samples)", ylabel=f"peak memory of a step ({word})", title=f"memory: {name}")
    ax.set_xlim(0, end)
    ax.set_ylim(0, 1.3 * highest / unit if far else None)
    _legend_below(ax)


def _budget(ax: "Axes", budget: int, reserve: int, limit: str, unit: int) -> None:
    """The budget with the reserve above it; said only, without a unit, where it is too far above to be drawn."""
    if unit:
        ax.axhline(budget / unit, color=_RED, label=f"budget ({limit})")
        ax.axhspan(budget / unit, (budget + reserve) / unit, color=_RED, alpha=0.12, linewidth=0, label="reserve")
    else:
        said = f"budget: {format_bytes(budget)} ({limit}), far above this picture"
        ax.text(0.5, 0.97, said, transform=ax.transAxes, ha="center", va="top", color=_RED, fontsize="small")


def _throughput(ax: "Axes", result: ProbeResult) -> None:
    """Samples per second of every size that ran."""
    fast = sorted((trial.size, trial.samples_per_s) for trial in result.trials if trial.samples_per_s is not None)
    ax.set(xlabel="batch size (samples)", ylabel="throughput (samples/s)", title="throughput")
    if not fast:
        ax.text(0.5, 0.5, "no speed was measured", transform=ax.transAxes, ha="center", color=_GREY)
        return
    ax.plot([size for size, _ in fast], [speed for _, speed in fast], "o-", color=_GREEN, label="measured")
    best = max(speed for _, speed in fast)
    ax.axhline(_EFFICIENT * best, color=_GREY, linestyle="--", linewidth=1, label="95 % of the best")
    proof = result.proof
    _chosen(ax, result.batch_size, proof.samples_per_s if proof else None)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
    ax.set_ylim(bottom=0)
    _legend_below(ax)


def _failures(ax: "Axes", result: ProbeResult) -> None:
    """Sizes that did not run stand at the bottom, since nobody knows how high they would have come."""
    failed = [trial.size for trial in result.trials if not trial.outcome.ran]
    if failed:
        bottom = [0.03] * len(failed)
        ax.plot(failed, bottom, "x", color=_RED, transform=ax.get_xaxis_transform(), label="did not run", zorder=4)


def _chosen(ax: "Axes", size: int, height: float | None) -> None:
    if height is None:
        ax.axvline(size, color=_ORANGE, linewidth=1.5, label=f"chosen: {size}")
    else:
        ax.plot([size], [height], "o", ms=13, mfc="none", mec=_ORANGE, mew=2, zorder=4, label=f"chosen: {size}")


def _micro_batches(ax: "Axes", report: RunReport, seconds: float) -> None:
    seen, decisions = report.observations, report.decisions
    ax.axhline(report.effective, color=_GREY, linestyle="--", linewidth=1, label="effective batch, at first")
    phases = dict.fromkeys([one.phase for one in seen] + [one.phase for one in decisions])
    for phase, color in zip(phases, (_BLUE, _PURPLE), strict=False):
        points = _sizes(phase, seen, decisions)
        times, sizes = [at_s / seconds for at_s, _ in points], [size for _, size in points]
        ax.step(times, sizes, where="post", color=color, label=f"micro-batch, {phase}")
    for label, marker, color, grows in (("shrinks", "v", _RED, False), ("grows", "^", _GREEN, True)):
        some = [one for one in decisions if (one.after > one.before) is grows]
        if some:
            times = [(one.at_s or 0.0) / seconds for one in some]
            ax.plot(times, [one.after for one in some], marker, color=color, label=label, zorder=4)
    ax.set_ylabel("samples")
    ax.set_ylim(bottom=0)


def _memory_over_time(ax: "Axes", seen: Sequence[Seen], seconds: float) -> None:
    held = [("this process on the host", _BLUE, [one.rss_bytes for one in seen])]
    if any(one.device_bytes is not None for one in seen):
        held.append(("this process on the device", _GREEN, [one.device_bytes or 0 for one in seen]))
    budgets = [one.budget_bytes or 0 for one in seen]
    unit, word = _byte_unit(max([*budgets, *(value for _, _, values in held for value in values)], default=0))
    times = [one.at_s / seconds for one in seen]
    for label, color, values in held:
        ax.plot(times, [value / unit for value in values], color=color, label=label)
    limits = ", ".join(dict.fromkeys(one.limit.partition("/")[0].strip() for one in seen if one.limit))
    ax.plot(times, [value / unit for value in budgets], color=_RED, linewidth=1.2, label=f"budget ({_text(limits)})")
    ax.set_ylabel(f"memory ({word})")
    ax.set_ylim(bottom=0)


def _headroom_over_time(ax: "Axes", seen: Sequence[Seen], seconds: float) -> None:
    known = [(one.at_s / seconds, one.headroom_bytes) for one in seen if one.headroom_bytes is not None]
    unit, word = _byte_unit(max((abs(value) for _, value in known), default=0))
    ax.axhline(0, color=_RED, linewidth=1)
    ax.plot([at for at, _ in known], [value / unit for _, value in known], color=_ORANGE, label="headroom")
    ax.set_ylabel(f"headroom ({word})")


def _sizes(phase: str, seen: Iterable[Seen], decisions: Iterable[Decision]) -> list[tuple[float, int]]:
    """The micro-batch of a phase over time: as it was read, and as it was changed in between."""
    points = [(one.at_s, 0, one.micro) for one in seen if one.phase == phase]
    for one in decisions:
        if one.phase == phase and one.at_s is not None:
            points += [(one.at_s, 1, one.before), (one.at_s, 2, one.after)]
    return [(at_s, size) for at_s, _, size in sorted(points)]


def _mark_epochs(ax: "Axes", seen: Sequence[Seen], seconds: float) -> None:
    for before, after in pairwise(seen):
        if after.epoch > before.epoch:
            ax.axvline(after.at_s / seconds, color=_GREY, alpha=0.25, linewidth=2, zorder=0)


def _legend_below(ax: "Axes") -> None:
    ax.grid(visible=True, alpha=0.25)
    ax.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _legend_beside(ax: "Axes") -> None:
    ax.grid(visible=True, alpha=0.25)
    ax.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _changes(decisions: Sequence[Decision]) -> str:
    return f"the micro-batch changed {format_count(len(decisions), 'time')}" if decisions else "the micro-batch stayed"


def _time_unit(times: Iterable[float]) -> tuple[str, float]:
    longest = max(times, default=0.0)
    return next(((name, size) for name, size in reversed(_UNITS_S.items()) if longest >= 3 * size), ("s", 1.0))


def _byte_unit(highest: float) -> tuple[int, str]:
    return (GIB, "GiB") if highest >= GIB else (MIB, "MiB")


def _text(said: str) -> str:
    """Text as it is: between two dollar signs matplotlib would expect a formula."""
    return said.replace("$", r"\$")


def _amount(count: float) -> str:
    unit, word = _byte_unit(count)
    return f"{count / unit:.3g} {word}"
