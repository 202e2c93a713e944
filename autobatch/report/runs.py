"""A run as a report needs it, read from its log or from a result in memory."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from autobatch._text import strip_styles
from autobatch.errors import ArgumentError, DataError
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Decision, Observation
from autobatch.results.trial import Trial
from autobatch.train.jsonl_log import SCHEMA_VERSION

Values = Mapping[str, Any]
Kind = TypeVar("Kind", Decision, Observation, "Begun")
_BROKEN = (ArgumentError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError)


def _observation(line: Values) -> Observation:
    """The reading of a line `observation`; what this process held is summed over all devices that say it."""
    held = [device.get("used_by_this_process_bytes") for device in line["devices"]]
    known = [int(count) for count in held if count is not None]
    return _typed(Observation, {**line, "device_bytes": sum(known) if known else None, "reading": None})


def _typed(kind: type[Kind], values: Values) -> Kind:
    """A dataclass of numbers and texts, each in the type of its field, from the values of the same names."""
    hints = _HINTS[kind]
    return kind(**{field.name: _cast(hints[field.name], values[field.name]) for field in fields(kind)})


def _cast(hint: Any, value: Any) -> Any:
    options = get_args(hint) or (hint,)
    return None if value is None and NoneType in options else options[0](value)


def _unstyled(value: Any) -> Any:
    """The same values with no text in a terminal's colours: on a page those would be boxes and digits."""
    if isinstance(value, str):
        return strip_styles(value)
    if isinstance(value, Mapping):
        return {key: _unstyled(one) for key, one in value.items()}
    return [_unstyled(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Epoch:
    """The end of an epoch, counted from 0; logs are NaN where there was no number."""

    epoch: int
    at_s: float
    logs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Begun:
    effective_batch_size: int
    micro_batch_size: int
    accumulation_steps: int
    seed: int


_HINTS: dict[type, dict[str, Any]] = {kind: get_type_hints(kind) for kind in (Decision, Observation, Begun)}


@dataclass(frozen=True, slots=True)
class Record:
    """One saved run, as its log tells it.

    The outcome of a probe is `"found"` or one that `report.summary` explains; that of a training is `"done"`,
    `"interrupted"`, `"error"`, or `"unfinished"` for one that is running or was killed.
    """

    name: str
    kind: Literal["probe", "fit"]
    outcome: str
    started_at: str | None  # ISO 8601, UTC
    command: str | None  # what to type to run it again, if anybody typed anything
    environment: Values  # `autobatch.results.environment`
    error: Mapping[str, str] | None  # `kind` and `message` of what ended it
    result: ProbeResult | None  # of a training: what the probe before it found
    trials: tuple[Trial, ...]
    best_so_far: int | None = None  # the largest size that ran where there is no result
    next: str | None = None  # what to type after a probe
    begun: Begun | None = None
    observations: tuple[Observation, ...] = ()  # in order, and thinned
    decisions: tuple[Decision, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    notes: tuple[str, ...] = ()
    raw: Any = None  # what the file holds, as JSON values: an object, or a list of them


def read_record(path: Path) -> Record:
    """The one run that a file holds; DataError where it holds several, and as `read_records` raises it."""
    records = read_records(path)
    if len(records) != 1:
        raise DataError(f"{str(path)!r} holds {len(records)} runs. Expected a file of one.", str(path))
    return records[0]


def read_records(path: Path) -> list[Record]:
    """The runs that a file holds, in its order.

    It is one that `autobatch probe -o x.json`, `fit(..., log_dir=...)` or `autobatch report -o x.json` has written.
    """
    try:
        said = path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.", str(path)) from error
    parsed = _parsed(said)
    try:
        if isinstance(parsed, dict) and parsed.get("kind") == "report":
            return _of_report(parsed, path.name)
        return [_run(parsed if _is_probe(parsed) else list(map(_parsed, said.split("\n"))), path.name)]
    except DataError as error:
        error.path = str(path)
        raise


def _of_report(values: Values, name: str) -> list[Record]:
    try:
        _require_version(values, name)
        runs = [(run["raw"], str(run["name"])) for run in values["runs"]]
    except _BROKEN as error:
        raise _no_run(name, error) from error
    return [_run(raw, each) for raw, each in runs]


def _run(raw: Any, name: str) -> Record:
    if _is_probe(raw):
        return record_of(raw, name)
    return _training([line for line in raw if isinstance(line, dict)] if isinstance(raw, list) else [], name)


def _is_probe(raw: Any) -> bool:
    return isinstance(raw, dict) and raw.get("kind") == "probe"


def record_of(values: Values, name: str) -> Record:
    """The run that a probe's object (what `autobatch probe --json` prints) describes; DataError if it is none."""
    raw, values = values, _unstyled(values)
    try:
        _require_version(values, name)
        result = None if values["result"] is None else ProbeResult.from_dict(values["result"])
        return Record(
            name=name,
            kind="probe",
            outcome=str(values["outcome"]),
            started_at=_cast(str | None, values.get("started_at")),
            command=_cast(str | None, values.get("command")),
            environment=dict(values.get("environment") or {}),
            error=_error(values.get("error")),
            result=result,
            trials=tuple(Trial.from_dict(trial) for trial in values["trials"]),
            best_so_far=_cast(int | None, values.get("best_so_far")),
            next=_cast(str | None, values.get("next")),
            notes=result.notes if result else (),
            raw=raw,
        )
    except _BROKEN as error:
        raise _no_run(name, error) from error


def _training(lines: Sequence[Values], name: str) -> Record:
    if not lines or lines[0].get("event") != "run":
        raise _no_run(name, ArgumentError("it does not begin with a run"))
    try:
        _require_version(lines[0], name)
        return replace(_of_events(_unstyled(lines), name), raw=list(lines))
    except _BROKEN as error:
        raise _no_run(name, error) from error


def _of_events(lines: Sequence[Values], name: str) -> Record:
    run, begin, end = lines[0], _last(lines, "begin"), _last(lines, "end") or {}
    probe = _last(lines, "probe")
    result = None if probe is None else ProbeResult.from_dict(probe["result"])
    tried = tuple(map(Trial.from_dict, _all(lines, "trial")))
    trials = tried if result is None else result.trials
    ran = [trial.size for trial in trials if trial.outcome.name == "RAN"]
    said = [] if begin is None else begin["notes"]
    return Record(
        name=name,
        kind="fit",
        outcome=str(end.get("outcome", "unfinished")),
        started_at=_cast(str | None, run.get("started_at")),
        command=_cast(str | None, run.get("command")),
        environment=dict(run.get("environment") or {}),
        error=_error(end.get("error")),
        result=result,
        trials=trials,
        best_so_far=max(ran, default=None) if result is None else None,
        begun=None if begin is None else _typed(Begun, begin),
        observations=tuple(map(_observation, _all(lines, "observation"))),
        decisions=tuple(_typed(Decision, line) for line in _all(lines, "decision")),
        epochs=tuple(map(_epoch, _all(lines, "epoch"))),
        notes=tuple(map(str, (*said, *(line["text"] for line in _all(lines, "note"))))),
    )


def _epoch(line: Values) -> Epoch:
    logs = {str(name): math.nan if value is None else float(value) for name, value in line["logs"].items()}
    return Epoch(int(line["epoch"]), float(line["at_s"]), logs)


def _error(values: Any) -> Mapping[str, str] | None:
    return None if values is None else {name: str(values[name]) for name in ("kind", "message")}


def _all(lines: Iterable[Values], event: str) -> list[Values]:
    return [line for line in lines if line.get("event") == event]


def _last(lines: Iterable[Values], event: str) -> Values | None:
    return next(reversed(_all(lines, event)), None)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _require_version(values: Values, name: str) -> None:
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        msg = (
            f"{name!r} was written by another version of autobatch. "
            f"Received: schema_version={version!r}. Expected {SCHEMA_VERSION}."
        )
        raise DataError(msg, name)


def _no_run(name: str, error: Exception) -> DataError:
    why = str(error) if isinstance(error, ArgumentError) else repr(error)
    msg = (
        f"{name!r} holds no run of autobatch ({why.rstrip('.')}). Give a file that `autobatch probe -o run.json` or "
        "`fit(..., log_dir=...)` has written."
    )
    return DataError(msg, name)
