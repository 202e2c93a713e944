"""What a probe found in sentences: the same on a terminal, on a page and in Markdown."""

from typing import TYPE_CHECKING

from autobatch.memory.units import counted, format_bytes

if TYPE_CHECKING:
    from autobatch.probing.result import ProbeResult


def how_big(result: "ProbeResult") -> str:
    """The size that is safe, and up to where any other is."""
    size, steps = result.batch_size, result.accumulation_steps
    if steps > 1:
        return (
            f"An update of {result.effective} samples is safe as {steps} micro-batches of up to {size}, whose "
            "gradients are added up: one of that size has run within the budget."
        )
    if result.largest > size:
        return (
            f"A batch of {counted(size, 'sample')} is safe, and so is any other up to {result.largest}: both have run "
            "within the budget."
        )
    return f"A batch of {counted(size, 'sample')} is safe: it has run within the budget."


def what_limits(result: "ProbeResult") -> str:
    """What the chosen size needs of the resource that is fullest, and what limits that."""
    name = result.binding
    if name is None:
        return "What it needs could not be measured."
    peak, budget, about = result.peaks[name], result.budgets[name], "" if result.measured else "about "
    kept = result.reserves.get(name)
    beside = f", beside {format_bytes(kept)} that stay free" if kept else ""
    limit = one_line(result.limits.get(name, name))
    share = f"{about}{format_bytes(peak)} of the {format_bytes(budget)} that a step may take"
    return f"It needs {share} ({_percent(peak / budget)}); the limit is the {limit}{beside}."


def how_fast(result: "ProbeResult") -> str:
    """The speed of the chosen size, and how long an update of all its micro-batches takes."""
    proof = result.proof
    if proof is None or proof.seconds_per_update is None or proof.samples_per_s is None:
        return "How fast it is was not measured."
    update_s = proof.seconds_per_update * result.accumulation_steps
    speed = f"{proof.samples_per_s:,.1f} samples/s: {update_s:.3g} s for each update"
    return f"It is as fast as {speed}, without the reading of samples."


def one_line(text: str) -> str:
    """A text of anybody's without what would break a line."""
    return " ".join(text.split())


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"
