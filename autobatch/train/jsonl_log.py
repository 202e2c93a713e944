"""The log of a run, one JSON object a line: `fit(..., log_dir=...)`. Exporters to other systems: see `recorder.py`.

Every line is one write of a whole line to the end of the file, so that whoever reads along sees whole lines, and a
kill or a crash tears at most the last one. Where the run began, each decision, each epoch and the end are on the disk
before the training goes on; readings of memory get there when the system finds time.

Covered: a disk that is full, a folder that vanishes, a network drive that fails. The training goes on, it is said
once, and what can be written later is. Not covered: a disk that hangs, which holds the training up.
"""

import contextlib
import datetime as dt
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch._json import to_json_values
from autobatch._logging import say
from autobatch._text import format_bytes, strip_styles
from autobatch.errors import ArgumentError, DataError
from autobatch.memory.reading import read_memory
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Trial

if TYPE_CHECKING:
    from autobatch.results.run import Decision, Observation, RunReport


SCHEMA_VERSION = 2
_LONGEST_MESSAGE = 10_000
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class AppendOnlyFile:
    """A new file that lines are added to: a seam, so that a test can have any operation fail.

    Raises:
        OSError: It is there already, or cannot be made; later: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, _FLAGS, 0o666)

    def write(self, line: bytes) -> int:
        """Adds to the end in one write; returns how many bytes there was room for."""
        return os.write(self._handle, line)

    def sync(self) -> bool:
        """Waits until what was written is on the disk; returns whether the file still has a name."""
        os.fsync(self._handle)
        return os.fstat(self._handle).st_nlink > 0

    def close(self) -> None:
        os.close(self._handle)


@dataclass(frozen=True, slots=True)
class LogDir(PathLike[str]):
    """Give it to `fit` as `log_dir` where somebody knows better than the process how the run was started."""

    folder: str | PathLike[str]  # the folder
    command: str | None = None  # what to type to run it again
    opens: Callable[[Path], AppendOnlyFile] = AppendOnlyFile  # opens the file; a seam for tests

    def __fspath__(self) -> str:
        return fspath(self.folder)


class JsonlLog:
    def __init__(
        self,
        file: AppendOnlyFile | None = None,
        path: Path | None = None,
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.began_s = path, clock()
        self.failure: str | None = None
        self.tell = tell
        self._file, self._clock = file, clock
        self._torn = False

    def write(self, event: str, values: Mapping[str, Any], *, at_s: float | None = None, sync: bool = False) -> None:
        if self._file is None:
            return
        at_s = self._clock() - self.began_s if at_s is None else at_s
        try:
            self._append(self._file, encoded({"event": event, **values, "at_s": round(at_s, 6)}))
            if sync:
                self._sync(self._file)
        except OSError as error:
            if self.failure is None:
                why = error.strerror or error
                self.failure = f"The log {str(self.path)!r} is not complete ({why}); what can be written later is."
                self.tell(self.failure)

    def add_trial(self, trial: Trial) -> None:
        self.write("trial", trial.to_dict())

    def add_probe(self, result: ProbeResult) -> None:
        self.write("probe", {"result": result.to_dict()})

    def add_begin(self, report: "RunReport") -> None:
        names = ("effective_batch_size", "micro_batch_size", "accumulation_steps", "seed")
        values = {name: getattr(report, name) for name in names}
        self.write("begin", {**values, "notes": list(report.notes)}, sync=True)

    def add_observation(self, seen: "Observation", available_bytes: int | None) -> None:
        if self._file is None or seen.reading is None:
            return
        names = ("used_by_this_process_bytes", "free_bytes", "total_bytes")
        read = seen.reading.devices
        devices = [{"index": one.index, **{name: getattr(one, name) for name in names}} for one in read]
        values = seen.to_dict() | {"available_bytes": available_bytes, "devices": devices}
        self.write("observation", values, at_s=seen.at_s)

    def add_decision(self, decision: "Decision") -> None:
        self.write("decision", asdict(decision), at_s=decision.at_s, sync=True)

    def add_note(self, text: str) -> None:
        self.write("note", {"text": text})

    def add_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Writes down the logs of an epoch: those of them that are numbers."""
        self.write("epoch", {"epoch": epoch, "logs": _numbers(logs)}, sync=True)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        described = None if error is None else {"kind": type(error).__name__, "message": _message(error)}
        self.write("end", {"outcome": outcome, "error": described}, sync=True)

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()

    def _append(self, file: AppendOnlyFile, line: bytes) -> None:
        # What a full disk has cut off stands on a line of its own, so that it spoils no other.
        was_torn, self._torn = self._torn, True
        line = b"\n" + line if was_torn else line
        written = file.write(line)
        self._torn = written < len(line) and (written > 0 or was_torn)
        if written < len(line):
            raise OSError(errno.ENOSPC, f"there was room for {format_bytes(written)} of {format_bytes(len(line))}")

    def _sync(self, file: AppendOnlyFile) -> None:
        if not file.sync():
            raise OSError(errno.ENOENT, "the file has been removed")


@contextlib.contextmanager
def open_jsonl_log(
    log_dir: str | PathLike[str] | None, tell: Callable[[str], None] = lambda text: say(text, 0)
) -> Iterator[JsonlLog]:
    """The log of what runs under it, from its beginning to its end, whatever that is."""
    log = JsonlLog() if log_dir is None else _opened(log_dir, tell)
    try:
        yield log
    except KeyboardInterrupt:
        log.end("interrupted")
        raise
    except BaseException as error:
        log.end("error", error)
        raise
    else:
        log.end("done")
    finally:
        log.close()


def encoded(values: Mapping[str, Any]) -> bytes:
    r"""A line of JSON; what is no finite number is null.

    Example:
        >>> encoded({"loss": float("nan")})
        b'{"loss":null}\n'
    """
    return json.dumps(to_json_values(values), separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"


def _opened(log_dir: str | PathLike[str], tell: Callable[[str], None]) -> JsonlLog:
    from autobatch.backend import framework_packages
    from autobatch.results.environment import command, environment

    if not isinstance(log_dir, str | PathLike):
        raise ArgumentError(f"Received: log_dir={log_dir!r}. Expected the path of a folder.")
    known = log_dir if isinstance(log_dir, LogDir) else LogDir(log_dir)
    began = dt.datetime.now(dt.UTC)
    surroundings = environment(read_memory(), packages=framework_packages())
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "fit",
        "autobatch": surroundings["autobatch"],
        "started_at": began.isoformat(timespec="seconds"),
        "command": known.command or command(),
        "environment": surroundings,
    }
    # Last, so that nothing can go wrong between the file and whoever closes it.
    file, path = _new_file(known, began)
    log = JsonlLog(file, path, tell=tell)
    log.write("run", head, at_s=0.0)
    return log


def _new_file(log_dir: LogDir, began: dt.datetime) -> tuple[AppendOnlyFile, Path]:
    """The file, and its name: that of the moment and the process, with a number for the next ones of that second."""
    folder, number = Path(fspath(log_dir)), 1
    stem = f"{began:%Y%m%d-%H%M%S}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{stem}{'' if number == 1 else f'-{number}'}.jsonl"
            try:
                return log_dir.opens(path), path
            except FileExistsError:
                number += 1
    except OSError as error:
        msg = (
            f"No log can be written in {str(folder)!r}: {error.strerror or error}. Give another folder as log_dir, or "
            "leave it out to train without a log."
        )
        raise DataError(msg, str(folder)) from error


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    values = {}
    for name, value in logs.items():
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            values[str(name)] = float(value)
    return values


def _message(error: BaseException) -> str:
    try:
        return strip_styles(str(error))[:_LONGEST_MESSAGE]
    except Exception:  # noqa: BLE001 - the class is the user's, and what went wrong matters more than how it reads
        return ""
