"""The options that subcommands share, and what a word on the command line means: numbers, fractions, amounts."""

import argparse
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

from autobatch._text import format_bytes
from autobatch.memory.budget import DEFAULT_RESERVE

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_AMOUNT = re.compile(r"(?P<digits>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_DEVICE = re.compile(r"cpu|gpu(:\d+)?", re.ASCII)


class Switch(argparse.Action):
    """`--name` says yes and `--no-name` says no, so that either can be taken back where a file has set the other."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        negated = [f"--no-{flag[2:]}" for flag in option_strings if flag.startswith("--")]
        super().__init__([*option_strings, *negated], dest, nargs=0, **options)

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, _values: Any, flag: str | None = None
    ) -> None:
        setattr(namespace, self.dest, not (flag or "").startswith("--no-"))


class OnlyOne(argparse.Action):
    """Stores a value that may be given twice, but not two different ones; a `const` stands for itself."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: Any = None, **options: Any) -> None:
        more: dict[str, Any] = {} if const is None else {"nargs": 0, "default": argparse.SUPPRESS}
        super().__init__(option_strings, dest, const=const, **options, **more)

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _flag: str | None = None
    ) -> None:
        value = values if self.const is None else self.const
        before = getattr(namespace, self.dest, value)
        if before != value:
            raise argparse.ArgumentError(self, f"{value} contradicts {before}, which was given before")
        setattr(namespace, self.dest, value)


def on_or_off(text: str) -> bool:
    """`true`, `1`, `yes` and `on`, or `false`, `0`, `no` and `off`."""
    value = _WORDS.get(text.strip().lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return value


def _whole(text: str, least: int, most: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        end = "" if most is None else f" to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}{end}")
    return value


positive_count = functools.partial(_whole, least=1)
count = functools.partial(_whole, least=0)
seed = functools.partial(_whole, least=0, most=2**32 - 1)  # as numpy takes one


def _word_or_whole(text: str, words: tuple[str, ...], least: int) -> int | str:
    if text in words:
        return text
    try:
        return _whole(text, least=least)
    except argparse.ArgumentTypeError:
        either = " nor ".join(words)
        raise argparse.ArgumentTypeError(f"{text!r} is neither {either} nor a whole number from {least}") from None


batch_size = functools.partial(_word_or_whole, words=("auto", "largest"), least=1)
batch_statistics = functools.partial(_word_or_whole, words=("micro",), least=2)


def number(text: str) -> float:
    """A finite number, written as `0.5`, `1e-3` or `1/255`."""
    try:
        over, slash, under = text.partition("/")
        value = float(over) / float(under) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.5 or 1/255")
    return value


def share(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    value = number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def seconds(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def reserve(text: str) -> int | float:
    """Memory to leave free: a fraction (`0.1`, `10%`) as a float, or an amount (`512MiB`) in bytes as an int."""
    if text.endswith("%"):
        return _fraction(text, text[:-1], 100)
    digits, unit = _amount(text)
    if digits is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction such as 0.1 nor an amount such as 512MiB")
    if unit is not None:
        return int(float(digits) * unit)
    if "." in digits:
        return _fraction(text, digits, 1)
    if int(digits) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: {text}% or {text}MiB?")
    return 0


def amount(text: str) -> int:
    """An amount of memory with its unit (`8GiB`) in bytes, from 1."""
    digits, unit = _amount(text)
    size = 0 if digits is None or unit is None else int(float(digits) * unit)
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory such as 8GiB or 512MiB")
    return size


def _amount(text: str) -> tuple[str | None, int | None]:
    """The digits of an amount and the bytes of its unit, if it has one; no digits if it is no amount."""
    match = _AMOUNT.fullmatch(text.strip())
    unit = match["unit"].lower() if match else ""
    return (None, None) if match is None or unit not in {"", *_UNITS} else (match["digits"], _UNITS.get(unit))


def _fraction(text: str, digits: str, whole: int) -> float:
    value = number(digits) / whole
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction from 0 to below 1; an amount needs a unit: 512MiB")
    return value


def device(text: str) -> str:
    """`cpu`, `gpu`, `gpu:K`, or the beginning of a UUID (`GPU-…`, `MIG-…`)."""
    word = text.strip()
    if _DEVICE.fullmatch(word.lower()):
        return word.lower()
    if word.startswith(("GPU-", "MIG-")):
        return word
    raise argparse.ArgumentTypeError(f"{text!r} is neither cpu nor gpu nor gpu:K nor the beginning of a GPU's UUID")


def add_option(parser: "argparse._ActionsContainer", names: str, text: str, kind: Any = None, **more: Any) -> None:
    """Adds an option: its flags with what to call its value, its help, and the function that reads it."""
    flags = [word for word in names.split() if word.startswith("-")]
    if kind is not None:
        more["type"] = kind
    if len(flags) < len(names.split()):
        more["metavar"] = names.rsplit(maxsplit=1)[-1]
    parser.add_argument(*flags, help=text, **more)


def add_inputs(parser: argparse.ArgumentParser, *, needs_pictures: bool = True) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a .keras file, or package.module:name of a model or of a function that returns one (the current folder "
        "is searched first); arguments of the function follow a question mark, in quotes for the shell: "
        "'keras.applications:ResNet50?classes=10' (numbers, true, false, none, tuples by commas: 96,96,3, anything "
        "else is text; weights are downloaded only if weights= says so)",
    )
    without = "" if needs_pictures else "; without it, samples are made up in the shape of the model's input"
    text = f"folder of pictures, one subfolder per class{without}"
    parser.add_argument("directory", metavar="DIR", nargs=None if needs_pictures else "?", help=text)
    text = "loss of a model that is not compiled, as in model.compile; repeat it for each further output"
    add_option(parser, "--loss NAME", text, action="append")
    add_option(parser, "--optimizer NAME", "optimizer of a model that is not compiled (default: adam)")
    pictures = parser.add_argument_group("pictures")
    text = "factor for every pixel (default: 1/255; 1 leaves them as they are)"
    add_option(pictures, "--rescale X", text, number)
    add_option(pictures, "--validation-split X", "share of each class to keep for validation", share)
    add_option(pictures, "--horizontal-flip", "mirror pictures at random", action=Switch, default=None)
    text = "package.module:name of an ImageDataGenerator, or of a function that returns one; replaces the three above"
    add_option(pictures, "--datagen NAME", text)


def add_search(parser: argparse.ArgumentParser) -> None:
    search = parser.add_argument_group("batch size")
    text = (
        "auto (default): the smallest that reaches 95%% of the best throughput; largest: the largest safe one; or the "
        "number of samples per update"
    )
    add_option(search, "--batch-size SIZE", text, batch_size, action=OnlyOne, default="auto")
    text = "the same as --batch-size largest"
    add_option(search, "--largest", text, dest="batch_size", action=OnlyOne, const="largest")
    add_option(search, "--max-batch --max-batch-size N", "never try more than this", positive_count)
    kept = f"{DEFAULT_RESERVE.fraction:.0%}%, at least {format_bytes(DEFAULT_RESERVE.floor_bytes)}"
    text = f"memory to leave free: 0.1, 10%% or 512MiB (default: {kept})"
    add_option(search, "--reserve AMOUNT", text, reserve)
    add_option(search, "--trial-timeout SECONDS", "deadline of a single trial (default: 300)", seconds)
    text = "answer from an earlier probe if one fits (default)"
    add_option(search, "--cache", text, action=Switch, default=True)
    add_option(search, "--seed N", "seed of shuffling and augmentation, which depend on nothing else", seed)
    text = "cpu, gpu, gpu:K (the K-th that is visible, from 0), or the beginning of a GPU's UUID"
    add_option(search, "--device NAME", text, device)
