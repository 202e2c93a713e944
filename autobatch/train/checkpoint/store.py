"""A training on disk: where it stands and every variable it changes, so that another process can go on with it.

Kept, bit for bit: weights, state of layers (BatchNorm averages), the optimizer with its step count, slots, learning
rate and loss scale, metrics in the middle of an epoch, and seed generators. Not kept: what callbacks remember of their
own (EarlyStopping's `wait` and `best`, ReduceLROnPlateau's counters; CSVLogger goes on in its file only with
`append=True`), and the random states of Python, numpy and TensorFlow.
"""

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from autobatch._atomic_file import Disk, remove_file, replace_file
from autobatch.backend import current_backend
from autobatch.backend.base import SHARED_SEED, StateVariable
from autobatch.errors import ArgumentError, DataError
from autobatch.train.checkpoint.format import CheckpointFile, encoded, read_checkpoint

CHECKPOINT_NAME = "training.checkpoint"

# Keras numbers the layers that a process has made of each kind: a model that is built again has other numbers.
_NUMBER = re.compile(r"_\d+(?=[/_]|$)")


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """Where a run stands, between two updates.

    Attributes:
        max_micro_batch_size: The largest micro-batch to run, `None` for no bound: that of a restart, or what is below a
            size that has really run out of memory.
        run: What the run was begun with, by name (`autobatch.train.checkpoint.resume`).
    """

    epoch: int  # the epoch, counted from 0
    update: int  # updates of that epoch that are done
    pass_number: int  # the pass over the samples (`Loader.epoch`)
    position: int  # samples taken from it
    effective_batch_size: int  # samples behind one update of that epoch
    max_micro_batch_size: int | None
    seed: int  # what order and augmentation derive from
    samples: int  # samples in a pass
    history: Mapping[str, list[float]] = field(default_factory=dict)  # keras' History so far, by name
    epochs_done: list[int] = field(default_factory=list)  # the epochs it is of
    clock: float = 0.0  # updates of the reference batch so far, by which a learning-rate schedule goes
    finished: bool = False  # whether the training is done
    run: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return values | {"history": dict(self.history), "run": dict(self.run)}


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    state: CheckpointState  # where the run stood
    variables: tuple[tuple[str, str, tuple[int, ...]], ...]  # name, type and shape of each variable, in order
    record: CheckpointFile  # the file


class CheckpointStore:
    """The checkpoint in a folder, which is for one training.

    Example:
        ```python
        checkpoint = CheckpointStore("runs/7")
        stored = checkpoint.load()
        if stored is not None:
            state = checkpoint.restore(model, stored)
        ```
    """

    def __init__(self, folder: str | PathLike[str], disk: Disk | None = None) -> None:
        self.path = Path(folder) / CHECKPOINT_NAME
        self._disk = disk or Disk()

    def save(self, model: Any, state: CheckpointState) -> None:
        """Replaces the checkpoint in one step; whatever fails, the one before stays whole.

        Raises:
            OSError: It could not be written (no space left, no permission). No draft is left.
        """
        variables = current_backend().state_variables(model)
        described = [[variable.name, variable.dtype, variable.shape] for variable in variables]
        description = {"state": state.to_dict(), "variables": described}
        replace_file(self.path, encoded(description, (variable.read() for variable in variables)), self._disk)

    def load(self) -> StoredCheckpoint | None:
        """What is on disk, `None` if there is no checkpoint; no model is touched.

        Raises:
            DataError: There is one, and it is damaged or not from this version of autobatch.
        """
        record = read_checkpoint(self.path)
        if record is None:
            return None
        try:
            state = CheckpointState(**record.description["state"])
            variables = tuple((name, dtype, tuple(shape)) for name, dtype, shape in record.description["variables"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"The checkpoint {str(self.path)!r} describes no training that this version of autobatch knows."
            raise DataError(msg, str(self.path)) from error
        return StoredCheckpoint(state, variables, record)

    def restore(self, model: Any, stored: StoredCheckpoint) -> CheckpointState:
        """Gives a model the stored values, bit for bit, and returns where its training stands.

        Raises:
            ArgumentError: It is another model, or compiled otherwise; nothing was written.
            DataError: The file has changed since `load`; nothing was written.
        """
        shared_seed = any(name == SHARED_SEED for name, _, _ in stored.variables)
        variables = current_backend().state_variables(model, shared_seed=shared_seed)
        self._require_same(variables, stored)
        values = stored.record.values(variable.nbytes for variable in variables)
        for variable, value in zip(variables, values, strict=True):
            variable.write(value)
        return stored.state

    def clear(self) -> None:
        """Removes the checkpoint; the folder stays.

        Raises:
            OSError: It could not be removed.
        """
        remove_file(self.path, self._disk)

    def require_weights(self, model: Any, stored: StoredCheckpoint) -> None:
        """Refuses a model whose weights are not among the stored ones, as far as it is built.

        Costs nothing, so it can be asked before anything is run; `restore` compares everything.

        Raises:
            ArgumentError: It is another model.
        """
        theirs = Counter(_kind(*described) for described in stored.variables)
        ours = Counter(_kind(weight.path, str(weight.dtype), tuple(weight.shape)) for weight in model.weights)
        missing = next(iter(ours - theirs), None)
        if missing is not None:
            self._refuse(f"{missing}. Expected one of those that were stored")

    def _require_same(self, variables: list[StateVariable], stored: StoredCheckpoint) -> None:
        ours = [_kind(variable.name, variable.dtype, variable.shape) for variable in variables]
        theirs = [_kind(*described) for described in stored.variables]
        if ours == theirs:
            return
        place = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            what = f"a model with {len(ours)} variables. Expected {len(theirs)}"
        else:
            what = f"{ours[place]} as variable {place + 1}. Expected {theirs[place]}"
        self._refuse(what)

    def _refuse(self, what: str) -> None:
        msg = (
            f"The checkpoint {str(self.path)!r} is of another model, or of one that was compiled otherwise; nothing "
            f"was restored. Give the model it was made of, or another folder. Received: {what}."
        )
        raise ArgumentError(msg)


def _kind(name: str, dtype: str, shape: tuple[int, ...]) -> str:
    return f"{_NUMBER.sub('', name)} ({dtype}, shape {shape})"


if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".in-use"


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a folder, which is made if need be, for this process until the context ends.

    The kernel lets go of it when the process ends, however that happens. Where a file cannot be locked (a folder that
    cannot be written, a file system without locks, Windows) nothing is kept.

    Raises:
        ArgumentError: Another process, or another thread of this one, has it.
    """
    path = Path(folder) / LOCK_NAME
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # first: once it is unlocked, it may be another's
            os.close(handle)


def _locked(path: Path) -> int | None:
    if sys.platform == "win32":
        return None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise _refused(path, owner) from None
        except OSError:
            os.close(handle)
            return None
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the file has not been removed between opening and locking it, by the one who had it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _refused(path: Path, owner: str) -> ArgumentError:
    return ArgumentError(
        f"The folder of a run is for one process at a time, and it is in use by process {owner}. Wait for that one to "
        f"end, or give another folder. Received: checkpoint={str(path.parent)!r}. Expected a folder that is not in use."
    )
