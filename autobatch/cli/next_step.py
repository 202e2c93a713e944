"""What to type after a probe: the training at the size that was found."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from autobatch.cli.inputs import PICTURES, described_pictures
from autobatch.cli.settings import Origin, Setting
from autobatch.errors import ArgumentError

# What a training shares with its probe, apart from the size and what concerns a probe alone.
_CARRIED = frozenset(
    {"datagen", "device", "horizontal_flip", "loss", "optimizer", "rescale", "reserve", "seed"}
    | {"trial_timeout", "validation_split"}
)


def next_step(args: argparse.Namespace, result: Any, words: Sequence[str]) -> str:
    """One line to copy: the same model and pictures, trained at the size that was found."""
    size = result.samples_per_update
    if args.directory is None:
        in_one_piece = result.accumulation_steps == 1
        return f"{'model.fit(' if in_one_piece else 'autobatch.fit(model, '}x, y, batch_size={size})"
    import shlex

    unused = set(PICTURES) if isinstance(described_pictures(args), str) else {"datagen"}
    names = _CARRIED - unused
    same = [*carried(words[1:], args.parser, names), *_standing(args, args.parser.settings, names)]
    return shlex.join(["autobatch", "fit", args.model, args.directory, "--batch-size", str(size), *same])


def carried(words: Sequence[str], parser: argparse.ArgumentParser, names: Collection[str]) -> list[str]:
    """The options with these names among words that the parser has understood, as they were typed."""
    return [word for name, typed in _options(words, parser) if name in names for word in typed]


def _standing(args: argparse.Namespace, settings: Sequence[Setting], names: Collection[str]) -> list[str]:
    """Words for the settings with these names that were not typed and that `fit` would not find by itself."""
    try:
        found = args.settings_of("fit")
    except ArgumentError:  # a setting for `fit` that cannot be used: `fit` will say so
        found = {}
    choices = ((setting, args.settings[setting.name]) for setting in settings if setting.name in names)
    return [
        word
        for setting, choice in choices
        if choice.origin in {Origin.FILE, Origin.VARIABLE}
        if setting.name not in found or found[setting.name].value != choice.value
        for word in setting.words(choice)
    ]


def _options(words: Sequence[str], parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Each option among the words, with what was typed for it."""
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
