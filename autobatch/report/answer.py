"""A question with its answer, as probes and trainings have them."""

from dataclasses import dataclass

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
