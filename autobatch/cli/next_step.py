"""What to type after a probe: the training at the size that was found."""

import argparse
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import Any

# What a training shares with the probe, but for the size itself and what only concerns this one call.
_CARRIED = frozenset(
    {"datagen", "device", "headroom", "horizontal_flip", "loss", "optimizer", "rescale", "seed"}
    | {"trial_timeout", "validation_split"}
)


def next_step(args: argparse.Namespace, result: Any, words: Sequence[str]) -> str:
    """One line to copy: the same model and pictures, trained at that size.

    Args:
        args: The parsed words.
        result: What the probe found.
        words: The words after `autobatch`.
    """
    # a number that was asked for is what stands behind an update; what was found is a part of it
    size = args.batch_size if isinstance(args.batch_size, int) else result.batch_size
    from autobatch.cli.parser import build_parser, command_parsers  # it knows the commands, and they know this

    if args.directory is None:
        return f"model.fit(x, y, batch_size={size})"
    same = carried(words[1:], command_parsers(build_parser())["probe"], _CARRIED)
    return shlex.join(["autobatch", "fit", args.model, args.directory, "--batch-size", str(size), *same])


def carried(words: Sequence[str], parser: argparse.ArgumentParser, names: Collection[str]) -> list[str]:
    """Of some words the options of these names, as they were typed.

    Args:
        words: Words that the parser has understood.
        parser: Of their command.
        names: Of options.
    """
    return [word for name, typed in _options(words, parser) if name in names for word in typed]


def _options(words: Sequence[str], parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Each option of some words with what was typed for it."""
    actions = {flag: action for action in parser._get_optional_actions() for flag in action.option_strings}
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            return
        flag, equals, _ = word.partition("=")
        action = actions.get(flag)
        if action is not None:
            takes_next = action.nargs != 0 and not equals
            yield action.dest, [word, next(remaining)] if takes_next else [word]
