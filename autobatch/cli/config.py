"""The command's settings as they hold: looked up in the environment and in the nearest file, and shown."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autobatch.cli.command import Answer
from autobatch.cli.known import require_known, unknown_variables
from autobatch.cli.parser import build_parser, command_parsers
from autobatch.cli.settings import Choice, FileSettings, resolve
from autobatch.errors import ArgumentError

OWN_FILE = "autobatch.toml"
PROJECT_FILE = "pyproject.toml"


def parsed(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> tuple[argparse.Namespace, list[str]]:
    """What the words say, completed by the settings that they leave open; and remarks on what was found.

    Args:
        words: The words after `autobatch`.
        environ: The environment.
        folder: Where to look for a file, and in all folders above.

    Returns:
        The arguments, with `settings` for where each setting comes from and `settings_of` for what another command
        would find without a flag; and the remarks.

    Raises:
        UsageError: The words mean nothing.
        ArgumentError: A file or a setting cannot be used.
    """
    parser = build_parser()
    args = parser.parse_args(words)
    from autobatch.probing.cache import FOLDER_VARIABLE
    from autobatch.probing.child import PARENT_VARIABLE

    commands = {name: each.settings for name, each in command_parsers(parser).items()}
    file, remarks = find_settings(folder)
    if file is not None:
        require_known(file, commands)
    args.settings = resolve(commands[args.command], args.command, vars(args), environ, file)
    args.settings_of = lambda command: resolve(commands[command], command, {}, environ, file)
    for name, choice in args.settings.items():
        setattr(args, name, choice.value)
    everywhere = [setting for settings in commands.values() for setting in settings]
    return args, remarks + unknown_variables(environ, everywhere, (FOLDER_VARIABLE, PARENT_VARIABLE))


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


def shown(command: str, choices: Mapping[str, Choice]) -> Answer:
    """Each setting of a command, its value, and where it comes from."""
    rows = [(name, _words(choice.value), choice.where) for name, choice in sorted(choices.items())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {where}" for name, value, where in rows]
    data = {name: {"value": choice.value, "from": choice.where} for name, choice in sorted(choices.items())}
    return Answer("\n".join(lines), {"command": command, "settings": data})


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
