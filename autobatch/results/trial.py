"""What one trial of a batch size told: its outcome, its peaks, its speed."""

import enum
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from autobatch.memory.peak_model import AllocationProfile

Where = Literal["worker", "caller"]


class Outcome(enum.Enum):
    """How a trial ended; the value says what that means and what to do next."""

    RAN = "It ran whole steps within the budget."
    OVER_BUDGET = "It ran, but its measured peak is over the budget: smaller sizes are tried."
    OUT_OF_MEMORY = "It ran out of memory in a trial of its own: smaller sizes are tried."
    KILLED = (
        "Something killed it with SIGKILL, and no out-of-memory counter moved: smaller sizes are tried. "
        "If it happens again, look for whatever kills processes here (dmesg, the job scheduler)."
    )
    CRASHED = (
        "A signal such as SIGSEGV or SIGABRT ended it, as running out of memory on a CPU often does: smaller sizes "
        "are tried. If one sample crashes too, the fault is not the size; the detail holds the last output."
    )
    TIMED_OUT = "It did not answer before its deadline and was killed: give trials more time if steps are that slow."
    NO_ANSWER = "Its process ended without an answer: the detail holds its exit status and last output."
    GARBLED = "Its answer could not be read: report this, with the detail."
    ERROR = "It raised an error that is not known to be about memory: mend the cause named in the detail."

    @property
    def ran(self) -> bool:
        """Whether every step of the trial was run to its end, within the budget or not."""
        return self in (Outcome.RAN, Outcome.OVER_BUDGET)

    @property
    def perhaps_memory(self) -> bool:
        """Whether a smaller size may do better, because lack of memory explains this outcome or may have caused it."""
        return self not in (Outcome.RAN, Outcome.NO_ANSWER, Outcome.GARBLED, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class Measurement:
    seconds: tuple[float, ...]  # of each update, in order; the first one includes compilation
    peaks: Mapping[str, int]  # per resource (`"host"`, `"device"`), above what the process held before its first step
    profiles: Mapping[str, AllocationProfile] = field(default_factory=dict)  # where allocations were recorded

    @property
    def seconds_per_update(self) -> float | None:
        """Median seconds of the updates after the first; of the only one if there is one, `None` without any."""
        if not self.seconds:
            return None
        return statistics.median(self.seconds[1:] or self.seconds)


@dataclass(frozen=True, slots=True)
class Trial:
    """One size that was tried.

    Attributes:
        size: Samples in the micro-batch.
        outcome: How it ended.
        peaks: Per resource, peak in bytes above the process's baseline; empty where nothing was measured.
        seconds_per_update: Median seconds of an update once warm, `None` for unknown.
        samples_per_s: `size / seconds_per_update`, `None` for unknown.
        wall_s: Seconds the trial took in all, with what it compiled.
        where: `"worker"` for a process of its own, `"caller"` for the calling process.
        detail: What the process said last, or the error; `None` if there is nothing to say.
        profiles: Per resource, what a step asks for at any size; empty where its allocations were not recorded.
    """

    size: int
    outcome: Outcome
    peaks: Mapping[str, int] = field(default_factory=dict)
    seconds_per_update: float | None = None
    samples_per_s: float | None = None
    wall_s: float = 0.0
    where: Where = "worker"
    detail: str | None = None
    profiles: Mapping[str, AllocationProfile] = field(default_factory=dict)

    @classmethod
    def measured(cls, size: int, outcome: Outcome, measurement: Measurement, *, wall_s: float, where: Where) -> Self:
        """The trial of a size that ran, with its speed worked out from the seconds of its updates."""
        seconds = measurement.seconds_per_update
        speed = size / seconds if seconds else None
        profiles = dict(measurement.profiles)
        return cls(size, outcome, dict(measurement.peaks), seconds, speed, wall_s, where, profiles=profiles)

    def to_dict(self) -> dict[str, Any]:
        """The trial as JSON-ready values; `from_dict` reads them back."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        profiles = {name: profile.to_list() for name, profile in self.profiles.items()}
        return told | {"outcome": self.outcome.name, "peaks": dict(self.peaks), "profiles": profiles}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The trial that `to_dict` wrote.

        Raises:
            KeyError: A field is missing, or the outcome is unknown.
        """
        outcome = Outcome[values["outcome"]]
        peaks = {name: int(peak) for name, peak in values["peaks"].items()}
        known = ("seconds_per_update", "samples_per_s", "wall_s", "where", "detail")
        profiles = {name: AllocationProfile.from_list(lines) for name, lines in values.get("profiles", {}).items()}
        return cls(int(values["size"]), outcome, peaks, **{name: values[name] for name in known}, profiles=profiles)
