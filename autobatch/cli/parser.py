"""The parser of the command line: subcommands, their options, and what the settings add."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import autobatch
from autobatch.cli.command import Command
from autobatch.cli.commands import COMMANDS
from autobatch.cli.options import Switch, add_option
from autobatch.cli.outcome import exit_code_table
from autobatch.cli.settings import SETTINGS, Setting, find_settings, require_known, resolve, unknown_variables
from autobatch.cli.wording import did_you_mean, nearest

_CONFIGURED = """\
An option that is not given is taken from AUTOBATCH_<NAME> in the environment, then from
the nearest autobatch.toml or [tool.autobatch] in pyproject.toml; --show-config prints
each value and where it comes from."""


class UsageError(Exception):
    """A command line that cannot be parsed, with the usage line of the command (`prog`) that was called."""

    def __init__(self, message: str, usage: str, prog: str) -> None:
        super().__init__(message)
        self.usage, self.prog = usage, prog


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError` instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage(), self.prog)


class CommandParser(Parser):
    settings: tuple[Setting, ...] = ()  # the options of it that are in the parsed arguments only if they were given

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse say the same at greater length
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does it, but an optional DIR may also follow an option."""
        if "--show-config" in (args or ()):
            for action in self._get_positional_actions():
                action.nargs, action.required = "*", False
        parsed, rest = super().parse_known_args(args, namespace)
        for word in rest:
            if word.startswith("-"):
                flags = [flag for action in self._get_optional_actions() for flag in action.option_strings]
                self.error(f"there is no option {word}.{did_you_mean(nearest(word.partition('=')[0], flags))}")
        if parsed.show_config:
            return parsed, []
        # argparse takes an optional word for absent once the words before an option are used up
        if rest and getattr(parsed, "directory", "") is None:
            parsed.directory = rest.pop(0)
        return parsed, rest


def build_parser() -> Parser:
    """The parser of `autobatch`; the parsed arguments have the subcommand's name as `command`."""
    parser = Parser(
        prog="autobatch",
        description="Finds the batch size that fits, proves it, and trains with it.",
        epilog=exit_code_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autobatch {autobatch.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    for name, command in COMMANDS.items():
        _add_command(commands, name, command)
    return parser


def command_parsers(parser: argparse.ArgumentParser) -> dict[str, CommandParser]:
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(next(actions).choices)


def _add_command(commands: "argparse._SubParsersAction[CommandParser]", name: str, command: Command) -> None:
    parser = commands.add_parser(
        name,
        help=command.SUMMARY,
        description=f"{command.SUMMARY[0].upper()}{command.SUMMARY[1:]}.",
        epilog=f"{_CONFIGURED}\n\n{exit_code_table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_option(parser, "--json", "print the result as JSON", action="store_true")
    add_option(parser, "--quiet", "show no progress", action=Switch, default=False)
    text = "use colours on a terminal (default: unless NO_COLOR is set)"
    add_option(parser, "--color", text, action=Switch, default=None)
    text = "print each setting, its value and where it comes from, and exit"
    add_option(parser, "--show-config", text, action="store_true")
    command.add_options(parser)
    parser.settings = tuple(_settings(parser))


def _settings(parser: CommandParser) -> list[Setting]:
    """The settings among a parser's options. They take over the defaults, so that the parser tells what was given."""
    found: dict[str, Setting] = {}
    for action in parser._get_optional_actions():
        if action.dest in SETTINGS:
            flags = (flag for flag in action.option_strings if flag.startswith("--"))
            known = found.get(action.dest) or Setting(action.dest, action, action.default)
            found[action.dest] = replace(known, flags=(*known.flags, *flags))
            action.default = argparse.SUPPRESS
    return list(found.values())


def parse(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, completed by the settings that the command line leaves open; and notes on what was found.

    The arguments have `parser` of their command, `settings` for where each setting comes from, and `settings_of` for
    what another command would find without a flag. Settings files are looked for from `folder` upwards.
    """
    parser = build_parser()
    args, parsers = parser.parse_args(words), command_parsers(parser)
    commands = {name: each.settings for name, each in parsers.items()}
    file, notes = find_settings(folder)
    if file is not None:
        require_known(file, commands)
    args.parser = parsers[args.command]
    args.settings = resolve(args.parser.settings, args.command, vars(args), environ, file)
    args.settings_of = lambda command: resolve(commands[command], command, {}, environ, file)
    for name, choice in args.settings.items():
        setattr(args, name, choice.value)
    everywhere = [setting for settings in commands.values() for setting in settings]
    return args, notes + unknown_variables(environ, everywhere)
