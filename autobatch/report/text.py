"""Results as plain text: a verdict, a table of the trials, and one line to copy from."""

from typing import TYPE_CHECKING

from autobatch.memory.units import GIB, MIB, format_bytes

if TYPE_CHECKING:
    from autobatch.probing.result import ProbeResult
    from autobatch.probing.trial import Outcome, Trial

_UNKNOWN = "-"
_CHOSEN = "<"
_REASONS = 3


def summary_line(result: "ProbeResult") -> str:
    """The chosen size as an argument, with what it needs, what limits it and what finding it took.

    For example `batch_size=384  (micro 384 x 1; peak 9.1 of 12.0 GiB budget, limit: control group; 4 trials, 21 s)`.
    """
    count = len(result.trials)
    effort = f"{count} trial{'s' * (count != 1)}, {result.wall_s:.0f} s" + ", from the cache" * result.from_cache
    cut = f"micro {result.batch_size} x {result.accumulation_steps}"
    return f"batch_size={_argument(result)}  ({cut}; {_use(result)}; {effort})"


def verdict_text(result: "ProbeResult") -> str:
    """How big, why, what it needs of what there is, and how fast: three to six lines."""
    return "\n".join([_size(result), *map(_one_line, result.reasons[:_REASONS]), _memory(result), _speed(result)])


def trial_table(result: "ProbeResult") -> str:
    """One row for each trial, in order; the chosen size is marked.

    Peaks are above what the process held before its first step, and so are the budgets they are compared with. "host at
    worst" is what the peak on the host may come to after many more updates than a trial runs.
    """
    resources = sorted({name for trial in result.trials for name in trial.peaks})
    peaks = [name if " " in name else f"{name} peak" for name in resources]
    head = ["size", "outcome", *peaks, "s/update", "samples/s", "seconds", ""]
    rows = [_row(trial, resources, chosen=trial is result.proof) for trial in result.trials]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    # Numbers stand to the right, so that their digits line up; the outcome is text.
    cells = (
        [_pad(text, width, left=i == 1) for i, (text, width) in enumerate(zip(r, widths, strict=True))]
        for r in [head, *rows]
    )
    return "\n".join("  ".join(row).rstrip() for row in cells)


def explanations(result: "ProbeResult") -> list[str]:
    """One line for each way in which trials ended other than well: what it means and what to do next."""
    outcomes = dict.fromkeys(trial.outcome for trial in result.trials)
    return [f"{_words(outcome)}: {outcome.value}" for outcome in outcomes if outcome.name != "RAN"]


def _words(outcome: "Outcome") -> str:
    return outcome.name.lower().replace("_", " ")


def _row(trial: "Trial", resources: list[str], *, chosen: bool) -> list[str]:
    peaks = [format_bytes(trial.peaks[name]) if name in trial.peaks else _UNKNOWN for name in resources]
    return [
        str(trial.size),
        _words(trial.outcome),
        *peaks,
        _number(trial.seconds_per_update, ".3f"),
        _number(trial.samples_per_s, ",.1f"),
        f"{trial.wall_s:.1f}",
        _CHOSEN if chosen else "",
    ]


def _argument(result: "ProbeResult") -> int:
    """What to hand to a training as its batch size."""
    return result.effective or result.batch_size


def _size(result: "ProbeResult") -> str:
    size, steps = result.batch_size, result.accumulation_steps
    if steps == 1:
        return f"A batch of {size} sample{'s' * (size != 1)} is safe: it has run within the budget."
    return (
        f"An update of {result.effective} samples is safe as {steps} micro-batches of up to {size}, whose gradients "
        "are added up: one of that size has run within the budget."
    )


def _memory(result: "ProbeResult") -> str:
    name = result.binding
    if name is None:
        return "What it needs could not be measured."
    peak, budget, about = result.peaks[name], result.budgets[name], "" if result.measured else "about "
    kept = result.reserves.get(name)
    beside = "" if kept is None else f", beside {format_bytes(kept)} that stay free"
    limit = _one_line(result.limits.get(name, name))
    share = f"{about}{format_bytes(peak)} of the {format_bytes(budget)} that a step may take"
    return f"It needs {share} ({100 * peak / budget:.0f} %); the limit is the {limit}{beside}."


def _speed(result: "ProbeResult") -> str:
    proof = result.proof
    if proof is None or proof.seconds_per_update is None or proof.samples_per_s is None:
        return "How fast it is was not measured."
    update_s = proof.seconds_per_update * result.accumulation_steps
    return f"It is as fast as {proof.samples_per_s:,.1f} samples/s: {update_s:.3g} s for each update."


def _use(result: "ProbeResult") -> str:
    name = result.binding
    if name is None:
        return "peak unknown"
    peak, budget = result.peaks[name], result.budgets[name]
    unit, word = (GIB, "GiB") if budget >= GIB else (MIB, "MiB")
    digits = 1 if unit == GIB else 0
    limit = result.limits.get(name, name)
    about = "" if result.measured else "about "
    return f"peak {about}{peak / unit:.{digits}f} of {budget / unit:.{digits}f} {word} budget, limit: {limit}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _pad(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)
