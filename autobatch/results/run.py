"""What a run did and why: kept with Keras' History as `history.autobatch`."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from autobatch._logging import log as _log
from autobatch._text import format_bytes
from autobatch.memory.reading import MemoryReading
from autobatch.results.probe import ProbeResult, pictures

SCHEMA_VERSION = 4

EVALUATION, PREDICTION = "evaluation", "prediction"


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of the micro-batch while training.

    Attributes:
        epoch: The epoch it was taken in, counted from 0.
        update: The update of that epoch, counted from 0.
        phase: `"training"` or `"validation"`; `"evaluation"` or `"prediction"` outside of a training.
        before: Samples in a micro-batch until then.
        after: Samples in a micro-batch from then on.
        reason: Why.
        at_s: Seconds since the run began, `None` where no clock was kept.
        headroom_bytes: What was left above the need of `before` when it was taken, `None` where nothing was read.
        returned_bytes: What the system got back by it, on host and device together.
        held_bytes: What this process no longer needs and cannot give back.
    """

    epoch: int
    update: int
    phase: str
    before: int
    after: int
    reason: str
    at_s: float | None = None
    headroom_bytes: int | None = None
    returned_bytes: int | None = None
    held_bytes: int | None = None

    def __str__(self) -> str:
        in_training = self.phase not in (EVALUATION, PREDICTION)
        where = f"epoch {self.epoch + 1}, update {self.update + 1}, {self.phase}" if in_training else self.phase
        back = f"; {format_bytes(self.returned_bytes)} went back to the system" if self.returned_bytes else ""
        held = f"; {format_bytes(self.held_bytes)} stay held" if self.held_bytes else ""
        return f"{where}: micro-batch {self.before} -> {self.after}: {self.reason}{back}{held}"


@dataclass(frozen=True, slots=True)
class Observation:
    """A reading of the memory while training: whole for the `on_event` hook, without `reading` where it is kept.

    Attributes:
        at_s: Seconds since the run began.
        epoch: The epoch, counted from 0.
        update: The update of that epoch, counted from 0.
        phase: `"training"` or `"validation"`.
        micro_batch_size: Samples in a micro-batch.
        headroom_bytes: What is left above the need of such a micro-batch, the reserve included; `None` where the need
            is not known.
        rss_bytes: What the process occupied on the host.
        device_bytes: What it occupied on all devices together, `None` where nobody tells.
        budget_bytes: The most that it should have occupied of the binding limit.
        limit: Which limit that was.
        reading: Everything that was read; `None` in what is kept: a run of days keeps thousands.
    """

    at_s: float
    epoch: int
    update: int
    phase: str
    micro_batch_size: int
    headroom_bytes: int | None
    rss_bytes: int
    device_bytes: int | None
    budget_bytes: int | None
    limit: str | None
    reading: MemoryReading | None = None

    def without_reading(self) -> Self:
        """The part of it that is kept."""
        return replace(self, reading=None)

    def to_dict(self) -> dict[str, Any]:
        """What is kept, as JSON-ready values."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "reading"}


Event = Decision | Observation


@dataclass(slots=True)
class RunReport:
    """The report of one run of `autobatch.fit`.

    Attributes:
        effective_batch_size: Samples behind one update, as the run began.
        micro_batch_size: Samples in one forward and backward pass, as the run began; it changes by `decisions`.
        seed: What order and augmentation derive from: the same seed gives the same run.
        probe: The trials that the size rests on.
        readings: What limited the process: before the run, then after each epoch.
        notes: What was inferred and said, one sentence each.
        decisions: Changes of the micro-batch, in order.
        observations: Readings of memory while it ran, thinned: thousands after a day of calm, and at most ten times
            as many, whatever happens (`autobatch.train.recorder.Thinning`).
        log_file: The run's log, `None` where none was asked for.
    """

    effective_batch_size: int
    micro_batch_size: int
    seed: int
    probe: ProbeResult
    readings: list[MemoryReading]
    notes: tuple[str, ...] = ()
    decisions: list[Decision] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    log_file: str | None = None

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches in one update, as the run began."""
        return -(-self.effective_batch_size // self.micro_batch_size)

    def chosen(self) -> str:
        """One line: the batch size, how it is cut, and why."""
        cut = f"micro-batch {self.micro_batch_size} x {self.accumulation_steps}"
        return f"batch_size={self.effective_batch_size} ({cut}). {' '.join(self.probe.reasons)}"

    def say(self, verbose: Any) -> None:
        """Logs what was chosen and why and, unless `verbose` is 0, prints it, as Keras prints its progress."""
        said = (self.chosen(), *self.notes)
        for line in said:
            _log.info("%s", line)
        if verbose != 0:
            print(*said, sep="\n", flush=True)  # noqa: T201 - as Keras prints its progress

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; the observations are in the run's log."""
        return {
            "schema_version": SCHEMA_VERSION,
            "effective_batch_size": self.effective_batch_size,
            "micro_batch_size": self.micro_batch_size,
            "accumulation_steps": self.accumulation_steps,
            "seed": self.seed,
            "probe": self.probe.to_dict(),
            "readings": [reading.to_dict() for reading in self.readings],
            "notes": list(self.notes),
            "decisions": [asdict(decision) for decision in self.decisions],
            "log_file": self.log_file,
        }

    def plot(self) -> Any:
        """A picture of the run: micro-batch and memory over time, with every decision marked.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows; `figure.savefig("run.png")` writes it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return pictures().plot_run(self)

    def __str__(self) -> str:
        return "\n".join([self.chosen(), f"seed={self.seed}", *self.notes, *map(str, self.decisions)])
