"""What a word on the command line means: numbers, fractions and amounts of memory."""

import argparse
import math
import re

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_DEVICE = re.compile(r"cpu|gpu(:\d+)?", re.ASCII)


def count(text: str) -> int:
    """A whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return value


def restarts(text: str) -> int:
    """A whole number from 0."""
    return 0 if text.strip() == "0" else count(text)


def seed(text: str) -> int:
    """A whole number from 0 that numpy takes as a seed."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return value


def batch_size(text: str) -> int | str:
    """`auto`, `largest`, or a whole number from 1."""
    if text in {"auto", "largest"}:
        return text
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor largest nor a whole number from 1") from None


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
    """A positive number of seconds."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def reserve(text: str) -> int | float:
    """Memory to leave free: a fraction (`0.1`, `10%`) as a float, or an amount (`512MiB`) in bytes as an int."""
    if text.endswith("%"):
        return _fraction(text, text[:-1], 100)
    match = _AMOUNT.fullmatch(text.strip())
    unit = match["unit"].lower() if match else ""
    if match is None or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction such as 0.1 nor an amount such as 512MiB")
    if not unit and "." in match["number"]:
        return _fraction(text, match["number"], 1)
    if not unit and int(match["number"]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} has no unit: {text}% or {text}MiB?")
    return int(float(match["number"]) * _UNITS[unit])


def _fraction(text: str, digits: str, whole: int) -> float:
    value = number(digits) / whole
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a fraction from 0 to below 1; an amount needs a unit (512MiB)"
        )
    return value


def amount(text: str) -> int:
    """An amount of memory with its unit (`8GiB`) in bytes, from 1."""
    match = _AMOUNT.fullmatch(text.strip())
    unit = match["unit"].lower() if match else ""
    size = int(float(match["number"]) * _UNITS[unit]) if match and unit and unit in _UNITS else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory such as 8GiB or 512MiB")
    return size


def device(text: str) -> str:
    """`cpu`, `gpu`, `gpu:K`, or the beginning of a UUID (`GPU-…`, `MIG-…`)."""
    word = text.strip()
    if _DEVICE.fullmatch(word.lower()):
        return word.lower()
    if word.startswith(("GPU-", "MIG-")):
        return word
    raise argparse.ArgumentTypeError(f"{text!r} is neither cpu nor gpu nor gpu:K nor the beginning of a GPU's UUID")
