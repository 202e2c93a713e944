"""Results as plain text: a verdict, a table of the trials, and one line to copy from."""

from typing import TYPE_CHECKING

from autobatch.memory.units import GIB, MIB, counted, format_bytes
from autobatch.report.cells import outcome_words, trial_rows
from autobatch.report.sentences import how_big, how_fast, one_line, what_limits

if TYPE_CHECKING:
    from autobatch.probing.result import ProbeResult

_CHOSEN = "<"
_REASONS = 3


def summary_line(result: "ProbeResult") -> str:
    """The chosen size as an argument, with what it needs, what limits it and what finding it took.

    For example `batch_size=384  (micro 384 x 1; peak 9.1 of 12.0 GiB budget, limit: control group; 4 trials, 21 s)`.
    """
    effort = f"{counted(len(result.trials), 'trial')}, {result.wall_s:.0f} s" + ", from the cache" * result.from_cache
    cut = f"micro {result.batch_size} x {result.accumulation_steps}"
    return f"batch_size={result.samples_per_update}  ({cut}; {_use(result)}; {effort})"


def verdict_text(result: "ProbeResult") -> str:
    """How big, why, what it needs of what there is, and how fast: three to six lines."""
    reasons = map(one_line, result.reasons[:_REASONS])
    return "\n".join([how_big(result), *reasons, what_limits(result), how_fast(result)])


def trial_table(result: "ProbeResult") -> str:
    """One row for each trial, in order; the chosen size is marked."""
    head, rows = trial_rows(result.trials)
    marked = [(*row, _CHOSEN if t is result.proof else "") for t, row in zip(result.trials, rows, strict=True)]
    lines = [(*head, ""), *marked]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Numbers stand to the right, so that their digits line up; the outcome is text.
    cells = (
        [_pad(text, width, left=i == 1) for i, (text, width) in enumerate(zip(one, widths, strict=True))]
        for one in lines
    )
    return "\n".join("  ".join(row).rstrip() for row in cells)


def explanations(result: "ProbeResult") -> list[str]:
    """One line for each way in which trials ended other than well: what it means and what to do next."""
    outcomes = dict.fromkeys(trial.outcome for trial in result.trials)
    return [f"{outcome_words(outcome)}: {outcome.value}" for outcome in outcomes if outcome.name != "RAN"]


def _use(result: "ProbeResult") -> str:
    name = result.binding
    if name is None:
        return "peak unknown"
    peak, budget, about = result.peaks[name], result.budgets[name], "" if result.measured else "about "
    unit, digits = (GIB, 1) if budget >= GIB else (MIB, 0)
    # A peak that its budget's unit would show as nothing is said in its own.
    small = peak < unit / 10**digits
    needed = format_bytes(peak) if small else f"{peak / unit:.{digits}f}"
    limit = result.limits.get(name, name)
    budget_words = f"{budget / unit:.{digits}f} {'GiB' if unit == GIB else 'MiB'}"
    return f"peak {about}{needed} of {budget_words} budget, limit: {limit}"


def _pad(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)
