"""Settings: options that the environment or a file may set, too, and which source wins.

Flags win over variables, variables over files, files over defaults. All of them are read by the same parser.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from autobatch._text import columns
from autobatch.cli.command import CommandOutput
from autobatch.cli.options import Switch, on_or_off
from autobatch.cli.wording import did_you_mean, nearest
from autobatch.errors import ArgumentError

PREFIX = "AUTOBATCH_"
OWN_FILE = "autobatch.toml"
PROJECT_FILE = "pyproject.toml"

# Every option is named in one of these two. A setting is a standing preference; the others mean one call.
SETTINGS = frozenset(
    {"batch_size", "cache", "checkpoint", "checkpoint_every", "color", "datagen", "device", "epochs"}
    | {"horizontal_flip", "image_backend", "limit", "log_dir", "max_batch", "on_memory_pressure", "quiet", "rescale"}
    | {"reserve", "restarts", "scale_learning_rate", "seed", "share_memory", "timeout", "top", "trial_timeout"}
    | {"batch_statistics", "validation", "validation_split"}
)
# The loss and the optimizer belong to a model: standing ones would be wrong for the next model.
ONE_SHOT = frozenset(
    {"dry_run", "force", "help", "in_process", "json", "loss", "max_micro_batch_size", "max_validation_batch_size"}
    | {"optimizer", "output", "show_config", "typed", "watch"}
)


class Origin(IntEnum):
    """The source of a value; the larger one wins."""

    DEFAULT = 0
    FILE = 1
    VARIABLE = 2
    FLAG = 3


@dataclass(frozen=True, slots=True)
class Choice:
    value: Any
    origin: Origin
    where: str  # for people: the flag, the variable, the file and its key
    text: str | None = None  # as a variable or a file has it


@dataclass(frozen=True, slots=True)
class Setting:
    name: str  # its key in a file, and in capitals after `AUTOBATCH_` its variable
    action: argparse.Action
    default: Any
    flags: tuple[str, ...] = ()  # the usual one first

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.name.upper()}"

    def words(self, choice: Choice) -> list[str]:
        """What to type for a choice that a variable or a file has made."""
        if isinstance(self.action, Switch):
            return [self.flags[0] if choice.value else f"--no-{self.flags[0][2:]}"]
        return [self.flags[0], choice.text or ""]

    def read(self, raw: Any, where: str) -> Any:
        """The value from a variable or a file, as the option's own parser reads it."""
        try:
            return self._parse(raw)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise ArgumentError(f"The setting {self.name} cannot be used: {error}. It comes from {where}.") from error

    def _parse(self, raw: Any) -> Any:
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
    """The settings in a file: its name, the table in it (with a dot at its end, or nothing), and the values."""

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
    """The value of each setting of a command, and its source; `given` are the values from flags."""
    return {setting.name: _choice(setting, command, given, environ, file) for setting in settings}


def _choice(
    setting: Setting, command: str, given: Mapping[str, Any], environ: Mapping[str, str], file: FileSettings | None
) -> Choice:
    if setting.name in given:
        return Choice(given[setting.name], Origin.FLAG, setting.flags[0])
    if text := environ.get(setting.variable, "").strip():
        return Choice(setting.read(text, setting.variable), Origin.VARIABLE, setting.variable, text)
    if found := file.of(command, setting.name) if file else None:
        raw, where = found
        return Choice(setting.read(raw, where), Origin.FILE, where, _text(raw))
    return Choice(setting.default, Origin.DEFAULT, "default")


def _text(raw: Any) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str | int | float):
        return str(raw)
    raise argparse.ArgumentTypeError(f"{raw!r} is neither text nor a number")


def require_known(file: FileSettings, commands: Mapping[str, Iterable[Setting]]) -> None:
    """Refuses keys that no command knows, and suggests the nearest one that some command does."""
    everywhere = [setting for settings in commands.values() for setting in settings]
    _require_keys(file, "", {key: value for key, value in file.values.items() if key not in commands}, everywhere)
    for name, settings in commands.items():
        own = file.values.get(name, {})
        if not isinstance(own, Mapping):
            raise ArgumentError(f"{file.place}: {file.prefix}{name} must be a table. Received: {own!r}.")
        _require_keys(file, f"{name}.", own, settings)


def _require_keys(file: FileSettings, table: str, keys: Iterable[str], settings: Iterable[Setting]) -> None:
    settings = list(settings)
    names = {flag.lstrip("-").replace("-", "_"): setting.name for setting in settings for flag in setting.flags}
    known = {setting.name: setting.name for setting in settings}
    for key in keys:
        if key not in known:
            meant = nearest(key, names | known)
            hint = did_you_mean(None if meant is None else (names | known)[meant])
            raise ArgumentError(f"{file.place}: {file.prefix}{table}{key} is no setting.{hint}")


def unknown_variables(environ: Mapping[str, str], settings: Iterable[Setting]) -> list[str]:
    """One note for each variable with our prefix that means nothing."""
    known = {setting.variable for setting in settings}
    unknown = {name for name in environ if name.startswith(PREFIX)} - known
    if unknown:  # seldom, and these imports take as long as all the rest of the parser
        from autobatch.probing.cache import FOLDER_VARIABLE
        from autobatch.probing.trials.worker_main import PARENT_VARIABLE

        known |= {FOLDER_VARIABLE, PARENT_VARIABLE}
    return [
        f"{name} is no setting and is ignored.{did_you_mean(nearest(name, sorted(known)))}"
        for name in sorted(unknown - known)
    ]


def find_settings(folder: Path) -> tuple[FileSettings | None, list[str]]:
    """The settings of the nearest file that has some, from this folder upwards, and notes."""
    for place in (folder, *folder.parents):
        own, project = _table(place / OWN_FILE), _table(place / PROJECT_FILE, "tool", "autobatch")
        if own is not None and project is not None:
            return own, [f"{own.place} is used; [tool.autobatch] in {project.place} is ignored."]
        if own is not None or project is not None:
            return own or project, []
    return None, []


def _table(path: Path, *keys: str) -> FileSettings | None:
    import tomllib

    try:
        with path.open("rb") as file:
            values: Any = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # a file that is no TOML is a ValueError, and so is one that is no text
        raise ArgumentError(f"The settings in {path} cannot be read: {error}.") from error
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{path}: {'.'.join(keys)} must be a table. Received: {values!r}.")
    return FileSettings(str(path), "".join(f"{key}." for key in keys), values)


def show_settings(command: str, choices: Mapping[str, Choice]) -> CommandOutput:
    found = sorted(choices.items())
    rows = [(name, "-" if choice.value is None else _text(choice.value), choice.where) for name, choice in found]
    data = {name: {"value": choice.value, "from": choice.where} for name, choice in found}
    lines = columns([("setting", "value", "from"), *rows], left=frozenset({0, 1, 2}))
    return CommandOutput("\n".join(lines), {"command": command, "settings": data})
