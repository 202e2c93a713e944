"""What a run was begun with, as far as it decides which samples an update gets and what is done with them.

A run that goes on with anything else here would use samples twice or never, or end elsewhere than the whole run, so it
is kept with the checkpoint and compared. Epochs may become more.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from numbers import Integral
from os import PathLike, fspath
from typing import Any, Self

import numpy as np

from autobatch.data.batch import leaves
from autobatch.data.open import few_of
from autobatch.data.source import Source
from autobatch.errors import ArgumentError
from autobatch.probing.request import UserRequest
from autobatch.train.checkpoint.saver import InFlightJournal, Saver, SupervisedFolder
from autobatch.train.checkpoint.store import CheckpointState, CheckpointStore, StoredCheckpoint, folder_lock
from autobatch.train.schedule import Schedule, parse_schedule

PICTURES, SIZES, EPOCHS = "pictures", "batch_size", "epochs"


def run_facts(
    source: Source, directory: Any, class_weight: Mapping[int, float] | None, **options: Any
) -> dict[str, Any]:
    """What does not change in a run, ready for JSON."""
    weights = None if class_weight is None else {str(int(one)): float(class_weight[one]) for one in class_weight}
    return {PICTURES: _digest(source, directory), "class_weight": weights, **options}


def batch_size_facts(at: Callable[[int], int], epochs: int) -> dict[str, Any]:
    """The effective batch of the epochs before `epochs`, as pairs of an epoch and the size from then on.

    Example:
        >>> batch_size_facts(lambda epoch: 64 if epoch < 5 else 128, 9)
        {'batch_size': [[0, 64], [5, 128]], 'epochs': 9}
    """
    groups = groupby(range(epochs), key=at)
    return {SIZES: [[next(group), size] for size, group in groups], EPOCHS: epochs}


def first_difference(pairs: Sequence[Sequence[int]], at: Callable[[int], int], epochs: int) -> int | None:
    """The first epoch before `epochs` for which pairs of an epoch and a size say something else than `at`, if any."""
    known = parse_schedule(list(pairs))
    return next((epoch for epoch in range(epochs) if known is not None and known.at(epoch) != at(epoch)), None)


def _digest(source: Any, directory: Any) -> str:
    """Of the names of its files, in order, and of the numbers of the classes; of some samples where there are none."""
    digest = hashlib.blake2b(digest_size=16)
    if getattr(source, "filepaths", None) is None:
        few = few_of(source)
        for array in leaves(few.nest):
            digest.update(f"{len(source)} {array.dtype} {array.shape}".encode() + _bytes_of(array))
        return digest.hexdigest()
    digest.update(repr(sorted((source.class_indices or {}).items())).encode())
    folder = fspath(directory) if isinstance(directory, str | PathLike) else ""
    for name in _inside(source.filepaths, folder):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _bytes_of(array: Any) -> bytes:
    # Text is kept as objects, whose bytes are only where they lie in memory.
    return repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()


def _inside(paths: Iterable[str], directory: str) -> Iterable[str]:
    return (path.removeprefix(directory).replace("\\", "/").lstrip("/") for path in paths)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run on disk, and the one that goes on from it.

    Attributes:
        max_micro_batch_size: `None` for no bound. A kill lowers it only where a supervisor says so: what a journal
            tells may be of a training that was killed for another reason.
    """

    checkpoint: CheckpointStore  # where it is saved
    journal: InFlightJournal  # where the size that is running is written down
    stored: StoredCheckpoint | None  # what an earlier process has left, `None` for a new run
    max_micro_batch_size: int | None = None
    lasting: bool = False  # whether the run stays stored when it is done, as one that is finished
    run: Mapping[str, Any] = field(default_factory=dict)  # what the run is begun with, by name
    every_s: float = 60.0  # seconds between two saves within an epoch

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Self:
        """What is in a folder; it may be empty, or not there yet."""
        checkpoint = CheckpointStore(folder)
        stored = checkpoint.load()
        told = folder.max_micro_batch_size if isinstance(folder, SupervisedFolder) else None
        bound = _least(told, None if stored is None else stored.state.max_micro_batch_size)
        return cls(checkpoint, InFlightJournal(folder), stored, bound, isinstance(folder, SupervisedFolder))

    def continued(self, request: UserRequest, schedule: Schedule | None, epochs: int) -> UserRequest:
        """The request of the run that goes on, as far as its arguments leave that open."""
        given = request.max_batch_size
        if given is None or isinstance(given, int):
            request = replace(request, max_batch_size=_least(given, self.max_micro_batch_size))
        if self.stored is None:
            return request
        state, batch_size = self.stored.state, request.batch_size
        if schedule is None:
            batch_size = self._batch_size(state, batch_size)
        else:
            both = min(epochs, state.run.get(EPOCHS, 0))
            self._require_size(state, schedule.sizes(both), lambda epoch: min(schedule.at(epoch), state.samples), both)
        if request.seed is not None and request.seed != state.seed:
            self._refuse(f"seed={request.seed}", _begun_with(state.seed))
        return replace(request, batch_size=batch_size, seed=state.seed)

    def require_same(self, facts: Mapping[str, Any], samples: int, initial_epoch: int) -> None:
        """Refuses to go on with something that samples depend on, and that is another than it was."""
        if self.stored is None:
            return
        state = self.stored.state
        if samples != state.samples:
            self._refuse(f"{samples} samples", f"the {state.samples} with which it was begun")
        if initial_epoch:
            self._refuse(f"initial_epoch={initial_epoch}", "0: it goes on where it stood")
        self._require_facts(facts, state.run)

    def begun_with(self, at: Callable[[int], int], epochs: int) -> Self:
        """The same with the effective batch of each epoch."""
        return replace(self, run={**self.run, **batch_size_facts(at, epochs)})

    def saver(self, note: Callable[[str], None]) -> Saver:
        return Saver(
            self.checkpoint,
            self.every_s,
            self.journal,
            run=self.run,
            max_micro_batch_size=self.max_micro_batch_size,
            lasting=self.lasting,
            note=note,
        )

    def first_epoch(self, given: int, epochs: int) -> int:
        """The epoch that training begins with: that of the run that goes on, or the one that was given."""
        return given if self.stored is None else min(self.stored.state.epoch, epochs - 1)

    def require_model(self, model: Any) -> None:
        """Refuses another model, as far as it is built."""
        if self.stored is not None:
            self.checkpoint.require_weights(model, self.stored)

    def restore(self, model: Any, epochs: int) -> CheckpointState | None:
        """Gives a model the state of the run that goes on, and returns where that stood; `None` for a new run.

        A run that is finished goes on if it is to have more epochs than it was begun with.
        """
        if self.stored is None:
            return None
        state = self.checkpoint.restore(model, self.stored)
        return replace(state, finished=state.finished and epochs <= state.run.get(EPOCHS, epochs))

    @property
    def notes(self) -> tuple[str, ...]:
        if self.stored is None or self.stored.state.max_micro_batch_size is None:
            return ()
        bound = self.stored.state.max_micro_batch_size
        return (f"Micro-batches of more than {bound} ran out of memory in the run that goes on: they are not tried.",)

    def _batch_size(self, state: CheckpointState, given: Any) -> Any:
        """The effective batch of the run that goes on; what was given, if it is for others to refuse."""
        if isinstance(given, Integral):
            self._require_size(state, given, lambda _: min(int(given), state.samples), 1)
        elif given not in ("auto", "largest"):
            return given
        pairs = _pairs(state)
        if len(pairs) > 1:
            self._refuse(f"batch_size={given!r}", _begun_with(_shown(pairs)))
        return pairs[0][1]

    def _require_size(self, state: CheckpointState, given: Any, at: Callable[[int], int], epochs: int) -> None:
        epoch = first_difference(_pairs(state), at, epochs)
        if epoch is not None:
            where = f" for epoch {epoch}" if epoch else ""
            self._refuse(f"batch_size={given!r}{where}", _begun_with(_shown(_pairs(state))))

    def _require_facts(self, facts: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        # Runs that were begun before there was anything else.
        theirs = {"image_backend": "scipy", "batch_statistics": "micro", **theirs}
        # Samples that look otherwise come last: they may do so because of something else that is another.
        for name in sorted(facts.keys() & theirs.keys(), key=lambda name: (name == PICTURES, name)):
            if facts[name] == theirs[name]:
                continue
            if name == PICTURES:
                self._refuse("other files, or other classes", "those with which it was begun, in the same order")
            self._refuse(f"{name}={facts[name]!r}", _begun_with(theirs[name]))

    def _refuse(self, received: str, expected: str) -> None:
        msg = (
            f"The folder {str(self.checkpoint.path.parent)!r} holds a run that was begun otherwise. "
            f"Received: {received}. Expected {expected}; or another folder, for a new run."
        )
        raise ArgumentError(msg)


@contextlib.contextmanager
def open_run_folder(folder: str | PathLike[str] | None, every_s: float = 60.0) -> Iterator[RunFolder | None]:
    """What is in a folder, which is this process's until the context ends; `None` without a folder."""
    if folder is None:
        yield None
        return
    with folder_lock(folder):
        yield replace(RunFolder.open(folder), every_s=every_s)


def _pairs(state: CheckpointState) -> Any:
    """The effective batch that a run was begun with, as pairs of an epoch and the size from then on."""
    return state.run.get(SIZES, [[0, state.effective_batch_size]])


def _shown(pairs: Any) -> Any:
    return pairs[0][1] if len(pairs) == 1 else [tuple(pair) for pair in pairs]


def _begun_with(value: Any) -> str:
    return f"{value!r}, with which it was begun"


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
