"""What is asked of a probe or a training: arguments checked, data opened, bounds derived. Nothing runs here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from autobatch._arguments import is_whole, require_count, require_seconds
from autobatch.backend import current_backend
from autobatch.data.batch import Batch, with_class_weight
from autobatch.data.check import Step, require_compatible, require_fixed_size
from autobatch.data.epoch import rungs
from autobatch.data.images.transform import require_image_backend
from autobatch.data.model_spec import fixed_batch_size
from autobatch.data.open import OpenedData, few_of, is_ready_source, keep_apart, most_samples, open_data
from autobatch.data.options import DataOptions, ImageBackend
from autobatch.data.source import Source, Stream
from autobatch.errors import ArgumentError
from autobatch.memory.budget import DEFAULT_RESERVE, Reserve, parse_reserve
from autobatch.probing.trials.serialize import repeat
from autobatch.results.probe import Mode

MOST = 2**16
UNCOUNTED = "the most that is tried of data that do not tell how many samples they have"


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    mode: Mode  # `"auto"`, `"largest"`, or `"micro"` for the micro-batch of an effective batch
    cap: int  # the largest size that makes sense: samples, effective batch, or the user's bound
    cap_reason: str = "what was asked for"  # which of them, in words
    effective_batch_size: int | None = None  # the effective batch in mode `"micro"`
    reserve: Reserve = DEFAULT_RESERVE  # what to leave free of each limit
    read_ahead_bytes: int = 0  # bytes that the loaders may occupy while a step runs
    trial_timeout_s: float = 300.0  # seconds that one trial, or the start of the worker, may take
    step: Step = "train"  # what a trial runs
    result_bytes: int = 0  # bytes of the host that what is computed will take, all of it together
    group: int = 1  # samples whose batch statistics are taken together, so that they are never cut
    # How much memory to pretend there is where the steps run, `None` for what there really is.
    limit_bytes: int | None = None
    only_whole: bool = False  # whether the model takes the effective batch at once and no other size

    @property
    def rungs(self) -> tuple[int, ...]:
        """The sizes that count, descending, up to the largest that makes sense; none where all do."""
        if self.only_whole:
            return (self.cap,)
        if self.effective_batch_size is not None:
            return rungs(self.effective_batch_size, self.cap, self.group)
        whole_groups = range(self.cap - self.cap % self.group, 0, -self.group)
        return () if self.group == 1 else tuple(whole_groups) or (self.cap,)

    @property
    def beside_bytes(self) -> int:
        """Bytes of the host that are for something else than the steps."""
        return self.read_ahead_bytes + self.result_bytes

    def lasting(self) -> dict[str, Any]:
        """The part that an earlier answer must share to be of use; the budget is read anew each time."""
        step = {} if self.step == "train" else {"step": self.step}
        return {"effective": self.effective_batch_size, **step} | ({} if self.group == 1 else {"group": self.group})


def find_cap(samples: int | None, batch_size: int | None, most: int | None, beyond: str = UNCOUNTED) -> tuple[int, str]:
    """The largest size that makes sense, and why it is that; `beyond` says why where nothing bounds it."""
    allowed = f"the most that was allowed (max_batch_size={most})"
    bounds = {"all the samples there are": samples, "the effective batch": batch_size, allowed: most}
    return min([(bound, reason) for reason, bound in bounds.items() if bound is not None] or [(MOST, beyond)])


def cut_to_samples(batch_size: int | None, samples: int | None) -> tuple[int | None, tuple[str, ...]]:
    """The effective batch that there are samples for, and a note where it is not the one that was given."""
    if batch_size is None or not samples or batch_size <= samples:
        return batch_size, ()
    return samples, (f"batch_size={batch_size} is more than the {samples} samples there are: {samples} is used.",)


BatchSize = int | Literal["auto", "largest"]


def parse_batch_size(batch_size: Any) -> tuple[Mode, int | None]:
    """What to look for, and the effective batch where one was given."""
    if isinstance(batch_size, str) and batch_size in {"auto", "largest"}:
        return batch_size, None  # type: ignore[return-value]
    if is_whole(batch_size) and batch_size >= 1:
        return "micro", int(batch_size)
    msg = (
        "This is no batch size. "
        f"Received: batch_size={batch_size!r}. Expected 'auto', 'largest' or a whole number of at least 1."
    )
    raise ArgumentError(msg)


READ_AHEAD_BYTES = 64 * 2**20  # the most that a loader may read ahead
_LEAST_AHEAD_BYTES = READ_AHEAD_BYTES // 4
_LOADERS = 2  # one for training and one for validation
_SYNTHETIC = "the most that is tried of synthetic samples"


@dataclass(frozen=True, slots=True)
class Task:
    model: Any
    opened: OpenedData  # the data to run on
    samples: Batch  # a few of them
    request: ProbeRequest  # what to look for
    notes: tuple[str, ...]  # what was inferred, one sentence each

    @property
    def data(self) -> Source | Stream:
        return self.opened.data


Opener = Callable[[Any, Any, DataOptions], OpenedData]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRequest:
    """What a caller asked for, checked when it is made; most attributes are arguments of `autobatch.probe`."""

    model: Any
    data: Any
    source: Any = None
    flow: Mapping[str, Any] = field(default_factory=dict)
    step: Step = "train"
    batch_size: Any = "auto"
    class_weight: Mapping[int, float] | None = None
    seed: int | None = None
    reserve: float | Reserve | None = None
    max_batch_size: int | None = None
    trial_timeout_s: float = 300.0
    limit: int | None = None
    shuffle: bool = True
    image_backend: ImageBackend = "scipy"
    group: int = 1  # as in `ProbeRequest`

    def __post_init__(self) -> None:
        parse_batch_size(self.batch_size)
        require_count(max_batch_size=self.max_batch_size, limit=self.limit)
        require_count(least=0, seed=self.seed)
        class_weight: Any = self.class_weight
        if not isinstance(class_weight, Mapping | None):
            msg = f"Received: class_weight={class_weight!r}. Expected a dictionary from class numbers to weights."
            raise ArgumentError(msg)
        require_seconds(trial_timeout_s=self.trial_timeout_s)
        parse_reserve(self.reserve)
        require_image_backend(self.image_backend)
        _require_own_seed(self.data, self.seed)

    def data_options(self, seed: int | None) -> DataOptions:
        """What is said about the data beside themselves, with the seed that was given or has been drawn."""
        return DataOptions(self.model, seed, self.flow, shuffle=self.shuffle, image_backend=self.image_backend)

    def open(self, opens: Opener = open_data) -> Task:
        """Opens the data and puts the question; nothing runs, and the model is not touched."""
        if self.step == "train":
            current_backend().require_trainable(self.model, self.group)
        else:
            current_backend().require_runnable(self.model, evaluates=self.step == "evaluate")
        given = opens(self.data, self.source, self.data_options(None if self.seed is None else int(self.seed)))
        few = few_of(given.data)
        require_compatible(self.model, few, step=self.step)
        samples = with_class_weight(few, self.class_weight)
        mode, batch_size = parse_batch_size(self.batch_size)
        apart = keep_apart(given.data, self.model, batch_size)
        if batch_size is None and apart:
            mode, batch_size = "micro", cast("Stream", given.data).few().size
        total, fixed = most_samples(given.data), fixed_batch_size(self.model)
        if fixed is None:
            effective, said = cut_to_samples(batch_size, total)
            cap, why = find_cap(total, effective, self.max_batch_size, _SYNTHETIC if given.synthetic else UNCOUNTED)
        else:
            require_fixed_size(fixed, batch_size=batch_size, max_batch_size=min(self.max_batch_size or fixed, fixed))
            mode, effective, cap, why = "micro", fixed, fixed, "the only size that the model takes"
            said = (f"The model takes batches of {fixed} samples and no others, so each update is one, and never cut.",)
            samples = repeat(samples, fixed)
        if cap < min(self.group, effective or total or self.group):
            received = f"max_batch_size={cap} with batch_statistics={self.group}"
            raise ArgumentError(f"No group of samples is ever cut. Received: {received}. Expected at least as many.")
        request = ProbeRequest(
            mode=mode,
            cap=cap,
            cap_reason=why,
            effective_batch_size=effective,
            reserve=parse_reserve(self.reserve),
            read_ahead_bytes=self._read_ahead_bytes(given, batch_size, samples),
            trial_timeout_s=self.trial_timeout_s,
            step=self.step,
            group=self.group,
            limit_bytes=None if self.limit is None else int(self.limit),
            only_whole=fixed is not None,
        )
        return Task(self.model, given, samples, request, (*given.notes, *apart, *said))

    def _read_ahead_bytes(self, given: OpenedData, effective: int | None, samples: Batch) -> int:
        """What the loaders may occupy while a step runs, and what is held of an effective batch."""
        if self.step == "predict" and given.samples is not None:
            return READ_AHEAD_BYTES  # nothing is divided
        held = _whole_batch_bytes(self.model, given, effective, samples)
        if self.step != "train":
            return READ_AHEAD_BYTES + held
        return _LOADERS * read_ahead_bytes(effective, given.data.sample_bytes) + held


def _require_own_seed(data: Any, seed: int | None) -> None:
    """Refuses another seed than the one that samples follow from already."""
    if seed is not None and is_ready_source(data) and seed != data.seed:
        msg = (
            "These samples follow from a seed of their own. "
            f"Received: seed={seed!r} with {type(data).__name__}(..., seed={data.seed!r}). "
            "Expected seed left out, or given where the samples are made."
        )
        raise ArgumentError(msg)


def read_ahead_bytes(effective: int | None, sample_bytes: int) -> int:
    """The most bytes that a loader may read ahead: what two updates take, within 16 to 64 MiB.

    More is of no use to a training that takes an update's samples at a time, and is missed where memory is tight.
    """
    two_updates = READ_AHEAD_BYTES if effective is None else 2 * effective * sample_bytes
    return min(READ_AHEAD_BYTES, max(_LEAST_AHEAD_BYTES, two_updates))


def _whole_batch_bytes(model: Any, given: OpenedData, effective: int | None, samples: Batch) -> int:
    """Bytes of the effective batch where all of it is held before its first micro-batch.

    That is so for a stream, which does not tell beforehand how many samples are left, and where a loss divides by what
    a mask leaves or by the sum of the sample weights.
    """
    counted = current_backend().divides_by_counts(model, weighted=samples.sample_weight is not None)
    if effective is None or not (counted or given.samples is None):
        return 0
    return min(effective, given.samples or effective) * given.data.sample_bytes
