"""Settings: what an option may also be told by the environment or by a file, and which of them holds.

Flags stand over variables, variables over files, files over defaults. All of them are read by the same parser.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

from autobatch.cli.command import CommandOutput
from autobatch.cli.options import Switch, on_or_off
from autobatch.cli.wording import did_you_mean, nearest
from autobatch.errors import ArgumentError

PREFIX = "AUTOBATCH_"

# Every option is named in one of these two. A setting is a standing preference; the others mean one call.
SETTINGS = frozenset(
    {
        "batch_size",
        "cache",
        "checkpoint",
        "checkpoint_every",
        "color",
        "datagen",
        "device",
        "epochs",
        "horizontal_flip",
        "image_backend",
        "limit",
        "log_dir",
        "max_batch",
        "quiet",
        "rescale",
        "reserve",
        "restarts",
        "scale_learning_rate",
        "seed",
        "share_memory",
        "timeout",
        "top",
        "trial_timeout",
        "validation",
        "validation_split",
        "on_memory_pressure",
    }
)

ONE_SHOT = frozenset(
    {
        "max_micro_batch_size",
        "dry_run",
        "force",
        "help",
        "in_process",
        "json",
        "loss",  # of the model, like the optimizer: a standing one would be wrong for the next model
        "optimizer",
        "output",
        "show_config",
        "typed",
        "max_validation_batch_size",
        "watch",
    }
)


class Origin(IntEnum):
    """Where a value comes from; the larger one stands over the smaller."""

    DEFAULT = 0
    FILE = 1
    VARIABLE = 2
    FLAG = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting's value.

    Attributes:
        value: The value.
        origin: Which kind of place it comes from.
        where: That place, for people: the flag, the variable, the file and its key.
        text: How a variable or a file says it, `None` for flags and defaults.
    """

    value: Any
    origin: Origin
    where: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """An option that may come from elsewhere, too.

    Attributes:
        name: Its key in a file; in capitals behind `AUTOBATCH_` its variable.
        action: The option, as argparse knows it.
        default: What holds if nobody says anything.
        flags: All of its flags, the usual one first.
    """

    name: str
    action: argparse.Action
    default: Any
    flags: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment's name of it."""
        return f"{PREFIX}{self.name.upper()}"

    def with_flags(self, flags: Sequence[str]) -> Self:
        """The same setting with more flags."""
        return replace(self, flags=(*self.flags, *flags))

    def words(self, choice: Choice) -> list[str]:
        """What to type for a choice that a variable or a file has made."""
        if isinstance(self.action, Switch):
            return [self.flags[0] if choice.value else f"--no-{self.flags[0][2:]}"]
        return [self.flags[0], choice.text or ""]

    def read(self, raw: Any, where: str) -> Any:
        """The value that a variable or a file means, as the option's own parser reads it.

        Raises:
            ArgumentError: It means nothing; the message names the place.
        """
        try:
            return self._parsed(raw)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise ArgumentError(f"The setting {self.name} cannot be used: {error}. It comes from {where}.") from error

    def _parsed(self, raw: Any) -> Any:
        text = _text(raw)
        if isinstance(self.action, Switch):
            return on_or_off(text)
        if isinstance(raw, bool):
            raise argparse.ArgumentTypeError(f"{text} is no value for it")
        value = self.action.type(text) if callable(self.action.type) else text
        if self.action.choices is not None and value not in self.action.choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(map(str, self.action.choices))}")
        return value


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a file says.

    Attributes:
        place: The file's name, for people.
        prefix: The table in it, with a dot at its end, or nothing.
        values: The table.
    """

    place: str
    prefix: str
    values: Mapping[str, Any]

    def of(self, command: str, name: str) -> tuple[Any, str] | None:
        """A setting and its place: from the command's own table, else from that of all commands."""
        own = self.values.get(command, {})
        if isinstance(own, Mapping) and name in own:
            return own[name], f"{self.place}: {self.prefix}{command}.{name}"
        if name in self.values:
            return self.values[name], f"{self.place}: {self.prefix}{name}"
        return None


def resolve(
    settings: Iterable[Setting],
    command: str,
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    file: FileSettings | None = None,
) -> dict[str, Choice]:
    """The value that holds for each setting, with where it comes from.

    Args:
        settings: Those of the command.
        command: Its name.
        given: What the flags said.
        environ: The environment; an empty variable says nothing.
        file: What the nearest file says, `None` without one.

    Raises:
        ArgumentError: The value that holds for one cannot be used.
    """
    return {setting.name: _choice(setting, command, given, environ, file) for setting in settings}


def _choice(
    setting: Setting, command: str, given: Mapping[str, Any], environ: Mapping[str, str], file: FileSettings | None
) -> Choice:
    if setting.name in given:
        return Choice(given[setting.name], Origin.FLAG, setting.flags[0])
    if text := environ.get(setting.variable, "").strip():
        return Choice(setting.read(text, setting.variable), Origin.VARIABLE, setting.variable, text)
    if said := file.of(command, setting.name) if file else None:
        raw, where = said
        return Choice(setting.read(raw, where), Origin.FILE, where, _text(raw))
    return Choice(setting.default, Origin.DEFAULT, "default")


def _text(raw: Any) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str | int | float):
        return str(raw)
    raise argparse.ArgumentTypeError(f"{raw!r} is neither text nor a number")


def require_known(file: FileSettings, commands: Mapping[str, Iterable[Setting]]) -> None:
    """Refuses keys that no command knows.

    Args:
        file: What a file says.
        commands: The settings of each command.

    Raises:
        ArgumentError: There is such a key; the message names the nearest that is known.
    """
    everywhere = [setting for settings in commands.values() for setting in settings]
    _require(file, "", {key: value for key, value in file.values.items() if key not in commands}, everywhere)
    for name, settings in commands.items():
        own = file.values.get(name, {})
        if not isinstance(own, Mapping):
            raise ArgumentError(f"{file.place}: {file.prefix}{name} must be a table. Received: {own!r}.")
        _require(file, f"{name}.", own, settings)


def unknown_variables(environ: Mapping[str, str], settings: Iterable[Setting], others: Iterable[str]) -> list[str]:
    """One remark for each variable that begins as ours do and means nothing.

    Args:
        environ: The environment.
        settings: Those of all commands.
        others: Names of variables that mean something elsewhere.
    """
    known = {setting.variable for setting in settings} | set(others)
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return [f"{name} is no setting and is ignored.{did_you_mean(nearest(name, sorted(known)))}" for name in unknown]


def _require(file: FileSettings, table: str, values: Mapping[str, Any], settings: Iterable[Setting]) -> None:
    settings = list(settings)
    known = {setting.name for setting in settings}
    for key in values:
        if key not in known:
            names = {_key(flag): setting.name for setting in settings for flag in setting.flags}
            names |= {name: name for name in known}
            meant = nearest(key, names)
            hint = did_you_mean(None if meant is None else names[meant])
            raise ArgumentError(f"{file.place}: {file.prefix}{table}{key} is no setting.{hint}")


def _key(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


OWN_FILE = "autobatch.toml"

PROJECT_FILE = "pyproject.toml"


def find_settings(folder: Path) -> tuple[FileSettings | None, list[str]]:
    """What the nearest file says, `None` without one, and remarks.

    Raises:
        ArgumentError: A file on the way cannot be read.
    """
    for place in (folder, *folder.parents):
        own, project = _own(place / OWN_FILE), _project(place / PROJECT_FILE)
        if own is not None and project is not None:
            return own, [f"{own.place} is used; [tool.autobatch] of {project.place} is not looked at."]
        if own is not None or project is not None:
            return own or project, []
    return None, []


def shown(command: str, choices: Mapping[str, Choice]) -> CommandOutput:
    """Each setting of a command, its value, and where it comes from."""
    rows = [(name, _words(choice.value), choice.where) for name, choice in sorted(choices.items())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {where}" for name, value, where in rows]
    data = {name: {"value": choice.value, "from": choice.where} for name, choice in sorted(choices.items())}
    return CommandOutput("\n".join(lines), {"command": command, "settings": data})


def _words(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _own(path: Path) -> FileSettings | None:
    values = _read(path)
    return None if values is None else FileSettings(str(path), "", values)


def _project(path: Path) -> FileSettings | None:
    values = _read(path)
    for key in ("tool", "autobatch"):
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{path}: tool.autobatch must be a table. Received: {values!r}.")
    return FileSettings(str(path), "tool.autobatch.", values)


def _read(path: Path) -> Mapping[str, Any] | None:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # a file that is no TOML is a ValueError, and so is one that is no text
        raise ArgumentError(f"The settings in {path} cannot be read: {error}.") from error
