"""Results as pictures, with matplotlib: for a notebook or a paper.

A figure is made without pyplot, so there is nothing to close, no display is needed, and no other figure is touched.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autobatch._text import GIB, MIB, format_bytes, format_count
from autobatch.errors import MissingExtraError
from autobatch.report.charts.contents import (
    Known,
    MemoryContent,
    Row,
    RunContent,
    Trials,
    memory_content,
    run_content,
    throughput_content,
)
from autobatch.results.probe import ProbeResult
from autobatch.results.run import RunReport
from autobatch.results.trial import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
_FAR = 8  # a budget beyond so many times the highest peak is named, not drawn
_PIECES = 64  # of the fitted line, which has a bend where one size only was measured
_MEASURED = (
    ("measured peak", "o", _BLUE, Outcome.RAN),
    ("measured peak, over the budget", "^", _RED, Outcome.OVER_BUDGET),
)
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


def plot_probe(result: ProbeResult, ax: "Axes | None" = None) -> "Figure":
    """Memory for each resource, and throughput, against batch size; in `ax` memory of the binding resource alone."""
    figure_class = _figure_class()
    trials = Trials(result.trials, result, result.models)
    resources = sorted(result.budgets, key=lambda name: name != result.binding)
    if ax is not None:
        _draw_memory(ax, memory_content(trials, resources[0] if resources else "host"))
        return ax.get_figure(root=True)  # type: ignore[return-value]  # an axes that was handed over has a figure
    count = len(resources) + 1
    figure = figure_class(figsize=(5.2 * count, 4.8), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, name in zip(panels, resources, strict=False):
        _draw_memory(panel, memory_content(trials, name))
    _draw_throughput(panels[-1], trials)
    figure.suptitle(_text(result.summary()), fontsize="medium")
    return figure


def plot_run(report: RunReport) -> "Figure":
    """Micro-batch, headroom and memory over time, with every decision marked."""
    shown = run_content(report.observations, report.decisions, first_size=report.micro_batch_size)
    figure = _figure_class()(figsize=(11, 2 + 1.8 * max(1, len(shown.rows))), layout="constrained")
    panels = figure.subplots(max(1, len(shown.rows)), 1, sharex=True, squeeze=False)[:, 0]
    unit, seconds = _time_unit(shown.until_s)
    for panel, row in zip(panels, shown.rows, strict=False):
        _draw_row(panel, row, seconds)
        if row.unit == "samples":
            panel.axhline(
                report.effective_batch_size, color=_GREY, linestyle="--", linewidth=1, label="effective batch, at first"
            )
            _mark_decisions(panel, shown, seconds)
        for decision in shown.decisions:
            panel.axvline(decision.at_s / seconds, color=_GREY, linewidth=0.8, linestyle=":", zorder=0)
        panel.grid(visible=True, alpha=0.25)
        panel.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel(f"time since the run began ({unit})")
    changes = f"changed {format_count(len(report.decisions), 'time')}" if report.decisions else "stayed"
    figure.suptitle(f"batch_size={report.effective_batch_size}: the micro-batch {changes}", fontsize="medium")
    return figure


def _figure_class() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Plots need matplotlib: pip install 'keras-autobatch[plot]'.") from error
    return Figure


def _draw_memory(ax: "Axes", shown: MemoryContent) -> None:
    model, budget, failed = shown.model, shown.budget_bytes, [trial for trial in shown.silent if not trial.outcome.ran]
    sizes = [trial.size for trial in (*(trial for trial, _ in shown.measured), *shown.silent)] or [shown.chosen or 1]
    end = round(max(sizes) * 1.06) + 1
    highest = max(shown.highest_bytes, 0 if model is None else model.predict(end))
    near = shown.budget_is_near(_FAR) or highest == 0
    unit, word = _byte_unit(max(highest, budget or 0) if near else highest)
    if model is not None:
        along = sorted({round(end * number / _PIECES) for number in range(_PIECES + 1)})
        label = f"fitted: {_amount(model.fixed_bytes)} + {_amount(model.per_sample_bytes)} a sample"
        ax.plot(along, [model.predict(size) / unit for size in along], color=_BLUE, linewidth=1.2, label=label)
    for label, marker, color, outcome in _MEASURED:
        some = [(trial.size, peak / unit) for trial, peak in shown.measured if trial.outcome is outcome]
        if some:
            ax.plot(*zip(*some, strict=True), marker, color=color, label=label, zorder=3)
    if failed:  # at the bottom, since nobody knows how high they would have come
        places = [trial.size for trial in failed], [0.03] * len(failed)
        ax.plot(*places, "x", color=_RED, transform=ax.get_xaxis_transform(), label="did not run", zorder=4)
    proof = [peak for trial, peak in shown.measured if trial.size == shown.chosen and trial.outcome is Outcome.RAN]
    _mark_chosen(ax, shown.chosen, proof[-1] / unit if proof else None)
    if budget is not None and near:
        top = (budget + shown.reserve_bytes) / unit
        ax.axhline(budget / unit, color=_RED, label=f"budget ({_text(shown.limit)})")
        ax.axhspan(budget / unit, top, color=_RED, alpha=0.12, linewidth=0, label="reserve")
    elif budget is not None:
        said = f"budget: {format_bytes(budget)} ({_text(shown.limit)}), far above this picture"
        ax.text(0.5, 0.97, said, transform=ax.transAxes, ha="center", va="top", color=_RED, fontsize="small")
    ax.set(xlabel="batch size (samples)", ylabel=f"peak memory of a step ({word})", title=f"memory: {shown.resource}")
    ax.set_xlim(0, end)
    ax.set_ylim(0, None if near else 1.3 * highest / unit)
    _legend_below(ax)


def _draw_throughput(ax: "Axes", trials: Trials) -> None:
    shown = throughput_content(trials)
    ax.set(xlabel="batch size (samples)", ylabel="throughput (samples/s)", title="throughput")
    if shown is None:
        ax.text(0.5, 0.5, "no speed was measured", transform=ax.transAxes, ha="center", color=_GREY)
        return
    ax.plot(list(shown.fastest), list(shown.fastest.values()), "o-", color=_GREEN, label="measured")
    ax.axhline(shown.efficient, color=_GREY, linestyle="--", linewidth=1, label="95 % of the best")
    _mark_chosen(ax, shown.chosen, shown.fastest.get(shown.chosen or 0))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
    ax.set_ylim(bottom=0)
    _legend_below(ax)


def _mark_chosen(ax: "Axes", size: int | None, height: float | None) -> None:
    if size is None:
        return
    if height is None:
        ax.axvline(size, color=_ORANGE, linewidth=1.5, label=f"chosen: {size}")
    else:
        ax.plot([size], [height], "o", ms=13, mfc="none", mec=_ORANGE, mew=2, zorder=4, label=f"chosen: {size}")


def _draw_row(ax: "Axes", row: Row, seconds: float) -> None:
    low, high = row.range
    unit, word = (1, "samples") if row.unit == "samples" else _byte_unit(max(abs(low), high))
    name = row.title.partition(",")[0]
    times, values = _known(row.points, seconds, unit)
    ax.plot(times, values, color=_BLUE, label=name, drawstyle="steps-post" if row.stepped else "default")
    if any(value is not None for _, value in row.limit):
        ax.plot(*_known(row.limit, seconds, unit), color=_RED, linewidth=1.2, label="budget")
    if low < 0:
        ax.axhline(0, color=_RED, linewidth=1)
    ax.set_ylabel(word)
    ax.set_ylim(low / unit, high / unit)


def _known(points: Iterable[Known], seconds: float, unit: int) -> tuple[list[float], list[float]]:
    """Times and values to plot: what is not known is a hole in the line."""
    pairs = [(at_s / seconds, float("nan") if value is None else value / unit) for at_s, value in points]
    return [at for at, _ in pairs], [value for _, value in pairs]


def _mark_decisions(ax: "Axes", shown: RunContent, seconds: float) -> None:
    for label, marker, color, grows in (("shrinks", "v", _RED, False), ("grows", "^", _GREEN, True)):
        some = [one for one in shown.decisions if (one.decision.after > one.decision.before) is grows]
        times = [one.at_s / seconds for one in some]
        if some:
            ax.plot(times, [one.decision.after for one in some], marker, color=color, label=label, zorder=4)


def _legend_below(ax: "Axes") -> None:
    ax.grid(visible=True, alpha=0.25)
    ax.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _time_unit(longest_s: float) -> tuple[str, float]:
    return next(((name, size) for name, size in reversed(_UNITS_S.items()) if longest_s >= 3 * size), ("s", 1.0))


def _byte_unit(highest: float) -> tuple[int, str]:
    return (GIB, "GiB") if highest >= GIB else (MIB, "MiB")


def _text(said: str) -> str:
    """Text as it is: between two dollar signs matplotlib would expect a formula."""
    return said.replace("$", r"\$")


def _amount(count: float) -> str:
    unit, word = _byte_unit(count)
    return f"{count / unit:.3g} {word}"
