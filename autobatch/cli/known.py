"""Names that mean nothing: keys of a file and variables that no command knows, with the nearest that one does."""

from collections.abc import Iterable, Mapping
from typing import Any

from autobatch.cli.nearest import did_you_mean, nearest
from autobatch.cli.settings import PREFIX, FileSettings, Setting
from autobatch.errors import ArgumentError


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
