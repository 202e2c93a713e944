"""What a probe would do, told without any trial: no step is run, no process is started, the model stays as it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autobatch._arguments import require_seconds
from autobatch._text import counted, format_bytes
from autobatch.probing.find import Finder, Seams
from autobatch.probing.run import notes_of, open_cache, probe
from autobatch.probing.search import next_size
from autobatch.probing.site import why_inside
from autobatch.probing.task import prepare
from autobatch.results.probe import Mode
from autobatch.results.trial import Where

_OF_TRIALS = ("timeout_s", "cache", "on_trial", "on_start")
_SOUGHT = {
    "auto": "the smallest size that is about as fast as any",
    "largest": "the largest safe size",
    "micro": "the largest micro-batch",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would be looked for, and under which budget.

    Attributes:
        mode: As in `ProbeResult`, like `effective`, `budgets`, `limits` and `reserves`.
        cap: The largest size that makes sense.
        cap_reason: Why that, in words.
        effective: The effective batch, if one was given, in samples.
        budgets: Per resource, bytes that a step may add to what its process holds.
        limits: Per resource, what sets that budget, for people.
        reserves: Per resource, bytes kept free on purpose.
        first_size: What would be tried first, in samples; what comes after depends on what that measures.
        earlier_size: The batch size of an earlier answer that would be used as it is, `None` without one.
        where: Where trials would run: `"worker"` for a process of its own, `"caller"` for this one.
        why_here: Why they would run in this process, `None` if they would not. A worker that turns out to be unable
            to rebuild the model may still move them here.
        notes: What was inferred, or could not be read.
    """

    mode: Mode
    cap: int
    cap_reason: str
    effective: int | None = None
    budgets: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    reserves: Mapping[str, int] = field(default_factory=dict)
    first_size: int | None = None
    earlier_size: int | None = None
    where: Where = "worker"
    why_here: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The outlook as JSON-ready values, in bytes."""
        return asdict(self) | {"notes": list(self.notes)}

    def __str__(self) -> str:
        place = "in a process of its own" if self.why_here is None else f"in this process, because {self.why_here}"
        first = counted(self.first_size or 0, "sample")
        lines = [
            f"Would look for {_SOUGHT[self.mode]}{self._for_effective()}, up to {self.cap}: {self.cap_reason}.",
            *(self._budget(name) for name in self.budgets),
            f"The first trial would be of {first}, {place}."
            if self.earlier_size is None
            else f"An earlier answer holds and would be used: {self.earlier_size}. Nothing would be tried.",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _for_effective(self) -> str:
        return "" if self.effective is None else f" for an effective batch of {self.effective}"

    def _budget(self, name: str) -> str:
        budget, reserve = format_bytes(self.budgets[name]), format_bytes(self.reserves[name])
        return f"A step may take {budget} ({name}; limit: {self.limits[name]}), and {reserve} stay free."


def outlook(model: Any, data: Any, source: Any = None, *, seams: Seams | None = None, **options: Any) -> Outlook:
    """What `autobatch.probe` would do with the same arguments.

    The data are opened and a few samples read, as for a probe: a Python generator has one batch less afterwards.

    Args:
        model: A compiled Keras model.
        data: As in `autobatch.probe`, like `source`.
        source: What a generator of pictures reads.
        seams: What is asked of the world.
        **options: The other arguments of `autobatch.probe`.

    Raises:
        ArgumentError: An argument that cannot be meant.
        ModelError: The model is not compiled, or does not fit the data.
        DataError: The data cannot be used.
        DoesNotFitError: Nothing is left for a trial.
        DeviceError: The GPU that a limit is for cannot be read.
    """
    defaults = probe.__kwdefaults__ or {}
    given = {name: options.pop(name, default) for name, default in defaults.items()}
    about_trials = {name: given.pop(name) for name in _OF_TRIALS}
    if about_trials["timeout_s"] is not None:
        require_seconds(timeout_s=about_trials["timeout_s"])
    cache = open_cache(about_trials["cache"])
    task = prepare(model, data, source, options, beside=defaults, **given)  # type: ignore[arg-type]
    question, finder = task.question, Finder(model, task.samples, task.question, seams=seams)
    finder.require_room()
    budgets = finder.budgets
    earlier, first = finder.earlier(cache), next_size([], budgets.now, question.cap)
    why_here = why_inside(model, question.step, budgets.why_stay_in())
    return Outlook(
        mode=question.mode,
        cap=question.cap,
        cap_reason=question.cap_reason,
        effective=question.effective,
        budgets=budgets.now,
        limits=budgets.limits,
        reserves=budgets.reserves,
        first_size=first,
        earlier_size=None if earlier is None else earlier.batch_size,
        where="worker" if why_here is None else "caller",
        why_here=why_here,
        notes=(*budgets.reading.notes, *notes_of(task)),
    )
