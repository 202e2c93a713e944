"""What a run did and why: kept with Keras' History as `history.autobatch`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from autobatch.memory.reading import MemoryReading
from autobatch.probing.result import ProbeResult

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of the micro-batch while training.

    Attributes:
        epoch: The epoch it was taken in, counted from 0.
        update: The update of that epoch, counted from 0.
        phase: `"training"` or `"validation"`.
        before: Samples in a micro-batch until then.
        after: Samples in a micro-batch from then on.
        reason: Why.
    """

    epoch: int
    update: int
    phase: str
    before: int
    after: int
    reason: str

    def __str__(self) -> str:
        where = f"epoch {self.epoch + 1}, update {self.update + 1}, {self.phase}"
        return f"{where}: micro-batch {self.before} -> {self.after}: {self.reason}"


@dataclass(slots=True)
class RunReport:
    """The report of one run of `autobatch.fit`.

    Attributes:
        effective: Samples behind one update.
        micro: Samples in one forward and backward pass, as the run began; it changes by `decisions`.
        seed: What order and augmentation derive from: the same seed gives the same run.
        probe: The trials that the size rests on.
        readings: What limited the process: before the run, then after each epoch.
        notes: What was inferred and said, one sentence each.
        decisions: Changes of the micro-batch, in order.
    """

    effective: int
    micro: int
    seed: int
    probe: ProbeResult
    readings: list[MemoryReading]
    notes: tuple[str, ...] = ()
    decisions: list[Decision] = field(default_factory=list)

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches in one update, as the run began."""
        return -(-self.effective // self.micro)

    def chosen(self) -> str:
        """One line: the batch size, how it is cut, and why."""
        cut = f"micro-batch {self.micro} x {self.accumulation_steps}"
        return f"batch_size={self.effective} ({cut}). {' '.join(self.probe.reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "effective": self.effective,
            "micro": self.micro,
            "accumulation_steps": self.accumulation_steps,
            "seed": self.seed,
            "probe": self.probe.to_dict(),
            "readings": [reading.to_dict() for reading in self.readings],
            "notes": list(self.notes),
            "decisions": [asdict(decision) for decision in self.decisions],
        }

    def __str__(self) -> str:
        lines = [self.chosen(), f"seed={self.seed}", *self.notes, *map(str, self.decisions)]
        return "\n".join(lines)
