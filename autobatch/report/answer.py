"""Questions and answers that probes and trainings have in common."""

from dataclasses import dataclass

from autobatch.memory.units import format_bytes
from autobatch.probing.result import ProbeResult


@dataclass(frozen=True, slots=True)
class Answer:
    """A question with its answer; `code` is to be copied as it stands."""

    question: str
    text: str
    code: tuple[str, ...] = ()


def speed(result: ProbeResult) -> float | None:
    """Samples per second of the chosen size, `None` where none was measured."""
    return result.proof.samples_per_s if result.proof else None


def what_limits(result: ProbeResult) -> str:
    """Which resource is fullest at the chosen size, and how full."""
    name = result.binding
    if name is None:
        return "No peak was measured, so nothing can be said to limit it."
    peak, budget = result.peaks[name], result.budgets[name]
    limit, about = result.limits.get(name, name), "" if result.measured else "about "
    reserve = result.reserves.get(name)
    beside = f", beside a reserve of {format_bytes(reserve)}" if reserve else ""
    return (
        f"The {limit}: {result.batch_size} samples need {about}{format_bytes(peak)} "
        f"of a budget of {format_bytes(budget)}, {_percent(peak / budget)}{beside}."
    )


def _percent(share: float) -> str:
    return "less than 1\N{NO-BREAK SPACE}%" if share < 0.01 else f"{share:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
