"""The answer of a probe: the size, what proves it, and what it rests on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from typing import Any, Literal, Self, get_args

from autobatch.errors import ArgumentError
from autobatch.memory.peak_model import PeakModel
from autobatch.results.text import meanings, summary_line, trial_table, verdict_text
from autobatch.results.trial import Outcome, Trial

SCHEMA_VERSION = 3
Mode = Literal["auto", "largest", "micro"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        batch_size: The recommended size in samples, in mode `"micro"` that of a micro-batch; it has run within the
            budget.
        mode: What it was chosen for: `"auto"` is the smallest size that reaches 95 % of the best throughput,
            `"largest"` the largest safe one, `"micro"` the micro-batch for an effective batch that was given.
        max_batch_size: The largest size that ran within the budget; in mode `"micro"` of those that the batch is cut
            into.
        efficient_batch_size: The smallest one that reaches 95 % of the best throughput, `None` where no speed was
            measured.
        trials: Every trial, in order.
        models: Per resource (`"host"`, `"device"`), the peak model fitted to the trials.
        budgets: Per resource, bytes that a step was allowed to add to what its process held.
        limits: Per resource, what set that budget, for people: `"control group /jobs/7"`.
        reserves: Per resource, bytes kept free on purpose and not part of the budget.
        from_cache: Whether the trials are those of an earlier probe of the same model, data shape and machine.
        reasons: Why this size, one sentence for each decision.
        notes: What could not be read or may make the answer less certain.
        effective_batch_size: The effective batch in mode `"micro"`, in samples.

    Example:
        >>> trial = Trial(8, Outcome.RAN, {"host": 2**30}, wall_s=2.0)
        >>> result = ProbeResult(8, "largest", 8, None, (trial,), budgets={"host": 2**31}, limits={"host": "host"})
        >>> result.summary()
        'batch_size=8  (micro 8 x 1; peak 1.0 of 2.0 GiB budget, limit: host; 1 trial, 2 s)'
    """

    batch_size: int
    mode: Mode
    max_batch_size: int
    efficient_batch_size: int | None
    trials: tuple[Trial, ...]
    models: Mapping[str, PeakModel] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    reserves: Mapping[str, int] = field(default_factory=dict)
    from_cache: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    effective_batch_size: int | None = None

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches behind one update: 1 unless an effective batch was given that is larger than `batch_size`."""
        return -(-self.samples_per_update // self.batch_size)

    @property
    def samples_per_update(self) -> int:
        """What to give to a training as `batch_size`: the effective batch where one was asked for."""
        return self.effective_batch_size or self.batch_size

    @property
    def proof(self) -> Trial | None:
        """The last trial in which `batch_size` ran, `None` if it is not among the trials."""
        ran = (trial for trial in reversed(self.trials) if trial.outcome is Outcome.RAN)
        return next((trial for trial in ran if trial.size == self.batch_size), None)

    @property
    def peaks(self) -> Mapping[str, int]:
        """Per resource, the measured peak in bytes of `batch_size`.

        A size that ran after a larger one in the same process has no peak of its own: then it is the fitted model's.
        """
        if self.proof and self.proof.peaks:
            return self.proof.peaks
        return {name: round(model.predict(self.batch_size)) for name, model in self.models.items()}

    @property
    def measured(self) -> bool:
        """Whether `peaks` were measured, not predicted."""
        return bool(self.proof and self.proof.peaks)

    @property
    def binding(self) -> str | None:
        """The resource that is fullest at `batch_size`, `None` where nothing was measured."""
        shares = {name: peak / self.budgets[name] for name, peak in self.peaks.items() if self.budgets.get(name)}
        return max(shares, key=lambda name: shares[name], default=None)

    @property
    def wall_s(self) -> float:
        """Seconds that all trials took."""
        return sum(trial.wall_s for trial in self.trials)

    def with_notes(self, *notes: str) -> Self:
        """Returns the same result with further `notes`."""
        return replace(self, notes=(*self.notes, *notes))

    def summary(self) -> str:
        """One line that begins with an argument ready to be copied: the effective batch, where one was given."""
        return summary_line(self)

    def verdict(self) -> str:
        """Three to six lines for people: how big, why, what it needs of what there is, and how fast."""
        return verdict_text(self)

    def plot(self, ax: Any = None) -> Any:
        """A picture of memory and throughput against batch size.

        Args:
            ax: A `matplotlib.axes.Axes` for the memory of the binding resource alone; a figure of its own if left out.

        Returns:
            The `matplotlib.figure.Figure`, which a notebook shows; `figure.savefig("probe.png")` writes it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return pictures().plot_probe(self, ax)

    def __str__(self) -> str:
        said = [f"{outcome}: {meaning}" for outcome, meaning in meanings(self.trials)]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([trial_table(self), *said, *self.reasons, *notes, summary_line(self)])

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready values with whole bytes; `from_dict` reads them back."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "accumulation_steps": self.accumulation_steps,
            "trials": [trial.to_dict() for trial in self.trials],
            "models": {name: asdict(in_whole_bytes(model)) for name, model in self.models.items()},
            "budgets": dict(self.budgets),
            "limits": dict(self.limits),
            "reserves": dict(self.reserves),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The result that `to_dict` wrote.

        Raises:
            ArgumentError: The values are of another schema version or not those of a result.
        """
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            received = f"Received: schema_version={version!r}. Expected {SCHEMA_VERSION}."
            raise ArgumentError(f"This result was written by another version. {received}")
        try:
            return cls._from_fields(dict(values))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArgumentError(f"This is no result of a probe ({error!r}). Received: {dict(values)!r:.200}") from error

    @classmethod
    def _from_fields(cls, values: dict[str, Any]) -> Self:
        if values["mode"] not in get_args(Mode):
            raise ValueError(f"mode={values['mode']!r}")
        return cls(
            batch_size=int(values["batch_size"]),
            mode=values["mode"],
            max_batch_size=int(values["max_batch_size"]),
            efficient_batch_size=_whole_or_none(values["efficient_batch_size"]),
            trials=tuple(Trial.from_dict(trial) for trial in values["trials"]),
            models={name: PeakModel(**model) for name, model in values["models"].items()},
            budgets={name: int(budget) for name, budget in values["budgets"].items()},
            limits={name: str(limit) for name, limit in values["limits"].items()},
            reserves={name: int(reserve) for name, reserve in values["reserves"].items()},
            from_cache=bool(values["from_cache"]),
            reasons=tuple(values["reasons"]),
            notes=tuple(values["notes"]),
            effective_batch_size=_whole_or_none(values["effective_batch_size"]),
        )


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


def pictures() -> Any:
    """The module that draws results: looked up by its name when it is needed, because it knows results, not they it."""
    return import_module("autobatch.report.plot")


def in_whole_bytes(model: PeakModel) -> PeakModel:
    """A peak model without fractions of a byte, rounded up: it predicts no less than before."""
    return replace(
        model,
        fixed_bytes=math.ceil(model.fixed_bytes),
        per_sample_bytes=math.ceil(model.per_sample_bytes),
        least_bytes=math.ceil(model.least_bytes),
    )
