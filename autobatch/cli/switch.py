"""An option that is on or off: `--name` and `--no-name`."""

import argparse
from collections.abc import Sequence
from typing import Any

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Switch(argparse.Action):
    """`--name` says yes and `--no-name` says no, so that either can be taken back where a file has set the other."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        negated = [f"--no-{flag[2:]}" for flag in option_strings if flag.startswith("--")]
        super().__init__([*option_strings, *negated], dest, nargs=0, **options)

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, _values: Any, flag: str | None = None
    ) -> None:
        """Notes which of the two was given."""
        setattr(namespace, self.dest, not (flag or "").startswith("--no-"))


def on_or_off(text: str) -> bool:
    """`true`, `1`, `yes` and `on`, or `false`, `0`, `no` and `off`."""
    value = _WORDS.get(text.strip().lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return value
