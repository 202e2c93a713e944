"""Settings: what an option may also be told by the environment or by a file, and which of them holds.

Flags stand over variables, variables over files, files over defaults. All of them are read by the same parser.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Self

from autobatch.cli.switch import Switch, on_or_off
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
        "headroom",
        "horizontal_flip",
        "image_backend",
        "limit",
        "log_dir",
        "max_batch",
        "quiet",
        "rescale",
        "restarts",
        "scale_learning_rate",
        "seed",
        "share_memory",
        "timeout",
        "top",
        "trial_timeout",
        "validation",
        "validation_split",
        "when_memory_changes",
    }
)
ONE_SHOT = frozenset(
    {
        "ceiling",
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
        "validation_ceiling",
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
