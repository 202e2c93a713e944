"""What a probe found, as text: a verdict, sentences, a table of the trials, and one line to copy from."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autobatch._text import GIB, MIB, columns, format_bytes, format_count

if TYPE_CHECKING:
    from autobatch.results.probe import ProbeResult
    from autobatch.results.trial import Outcome, Trial

UNKNOWN = "-"
_CHOSEN = "<"
_REASONS = 3


def how_big(result: "ProbeResult") -> str:
    size, steps = result.batch_size, result.accumulation_steps
    if steps > 1:
        return (
            f"An update of {result.effective_batch_size} samples is safe as {steps} accumulated micro-batches of up to "
            f"{size}: one of {size} ran within the budget."
        )
    if result.max_batch_size > size:
        return (
            f"A batch of {format_count(size, 'sample')} is safe, and so is every size up to {result.max_batch_size}: "
            f"{size} and {result.max_batch_size} both ran within the budget."
        )
    return f"A batch of {format_count(size, 'sample')} is safe: it ran within the budget."


def what_limits(result: "ProbeResult") -> str:
    """What the chosen size needs of the resource that is fullest, and what limits that."""
    name = result.binding
    if name is None:
        return "Memory: could not be measured."
    peak, budget, about = result.peaks[name], result.budgets[name], "" if result.measured else "about "
    kept = result.reserves.get(name)
    reserve = f", with {format_bytes(kept)} kept free" if kept else ""
    limit = one_line(result.limits.get(name, name))
    share = f"{about}{format_bytes(peak)} of a budget of {format_bytes(budget)}"
    return f"Memory: {share} ({_percent(peak / budget)}), limited by the {limit}{reserve}."


def how_fast(result: "ProbeResult") -> str:
    """The speed of the chosen size, and how long an update of all its micro-batches takes."""
    proof = result.proof
    if proof is None or proof.seconds_per_update is None or proof.samples_per_s is None:
        return "Throughput: not measured."
    update_s = proof.seconds_per_update * result.accumulation_steps
    return f"Throughput: {proof.samples_per_s:,.0f} samples/s, {update_s:.3g} s per update, excluding data loading."


def one_line(text: str) -> str:
    """A text of anybody's without what would break a line."""
    return " ".join(text.split())


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def outcome_words(outcome: "Outcome") -> str:
    return outcome.name.lower().replace("_", " ")


def format_number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else format(value, form)


def format_amount(count: int | None) -> str:
    return UNKNOWN if count is None else format_bytes(count)


def peak_words(trial: "Trial") -> str:
    """The peak on the device, or on the host if there is no other."""
    return format_amount(trial.peaks.get("device", trial.peaks.get("host")))


def trial_rows(trials: Sequence["Trial"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The headings of a table of trials, and one row for each, in order.

    Peaks are above what the process held before its first step, and so are the budgets they are compared with. "host at
    worst" is what the peak on the host may come to after many more updates than a trial runs.
    """
    resources = sorted({name for trial in trials for name in trial.peaks})
    peaks = [name.replace("_", " ") if "_" in name else f"{name} peak" for name in resources]
    head = ("size", "outcome", *peaks, "s/update", "samples/s", "seconds")
    rows = [
        (
            str(trial.size),
            outcome_words(trial.outcome),
            *(format_amount(trial.peaks.get(name)) for name in resources),
            format_number(trial.seconds_per_update, ".3f"),
            format_number(trial.samples_per_s, ",.1f"),
            format_number(trial.wall_s, ".1f"),
        )
        for trial in trials
    ]
    return head, rows


def summary_line(result: "ProbeResult") -> str:
    """The chosen size as an argument, with what it needs, what limits it and what finding it took.

    For example `batch_size=384  (micro 384 x 1; peak 9.1 of 12.0 GiB budget, limit: control group; 4 trials, 21 s)`.
    """
    cached = ", from the cache" if result.from_cache else ""
    effort = f"{format_count(len(result.trials), 'trial')}, {result.wall_s:.0f} s{cached}"
    cut = f"micro {result.batch_size} x {result.accumulation_steps}"
    return f"batch_size={result.samples_per_update}  ({cut}; {_use(result)}; {effort})"


def verdict_text(result: "ProbeResult") -> str:
    reasons = map(one_line, result.reasons[:_REASONS])
    return "\n".join([how_big(result), *reasons, what_limits(result), how_fast(result)])


def trial_table(result: "ProbeResult") -> str:
    """One row for each trial, in order; the chosen size is marked."""
    head, rows = trial_rows(result.trials)
    marked = [(*row, _CHOSEN if t is result.proof else "") for t, row in zip(result.trials, rows, strict=True)]
    return "\n".join(columns([(*head, ""), *marked], left=frozenset({1})))


def meanings(trials: Sequence["Trial"]) -> list[tuple[str, str]]:
    """Each way in which trials ended other than well, what it means and what to do next."""
    outcomes = dict.fromkeys(trial.outcome for trial in trials)
    return [(outcome_words(outcome), outcome.value) for outcome in outcomes if outcome.name != "RAN"]


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
