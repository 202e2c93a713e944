"""The options that several subcommands share."""

import argparse
from collections.abc import Sequence
from typing import Any

from autobatch.cli import values
from autobatch.cli.switch import Switch

_MODEL = (
    "a .keras file, or package.module:name of a model or of a function that returns one (the current folder is "
    "searched too); arguments of the function stand behind a question mark, in quotes for the shell: "
    "'keras.applications:MobileNetV2?classes=10&input_shape=96,96,3' (numbers, true, false, none, tuples by commas, "
    "else text; no weights are downloaded unless weights= asks for them)"
)


class OnlyOne(argparse.Action):
    """Stores a value that may be said twice, but not two different ones; a `const` stands for itself."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: Any = None, **options: Any) -> None:
        more: dict[str, Any] = {} if const is None else {"nargs": 0, "default": argparse.SUPPRESS}
        super().__init__(option_strings, dest, const=const, **options, **more)

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _flag: str | None = None
    ) -> None:
        """Stores the value.

        Raises:
            ArgumentError: Another one was given before.
        """
        value = values if self.const is None else self.const
        before = getattr(namespace, self.dest, value)
        if before != value:
            raise argparse.ArgumentError(self, f"{value} contradicts {before}, which was given before")
        setattr(namespace, self.dest, value)


def add_inputs(parser: argparse.ArgumentParser, *, needs_pictures: bool = True) -> None:
    """MODEL, DIR, and how pictures are read."""
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    without = "" if needs_pictures else "; without it, samples are made up in the shape of the model's input"
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs=None if needs_pictures else "?",
        help=f"folder of pictures, one subfolder per class{without}",
    )
    parser.add_argument(
        "--loss",
        action="append",
        metavar="NAME",
        help="the loss of a model that is not compiled, as in model.compile; again for each further output",
    )
    parser.add_argument(
        "--optimizer", metavar="NAME", help="the optimizer of a model that is not compiled (default: adam)"
    )
    _add_pictures(parser)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--rescale",
        type=values.number,
        metavar="X",
        help="factor on every pixel (default: 1/255; 1 leaves them as they are)",
    )
    pictures.add_argument(
        "--validation-split", type=values.share, metavar="X", help="share of each class that is kept for validation"
    )
    pictures.add_argument("--horizontal-flip", action=Switch, default=None, help="mirror pictures at random")
    pictures.add_argument(
        "--datagen",
        metavar="NAME",
        help="package.module:name of an ImageDataGenerator, or of a function that returns one, "
        "instead of the three above",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """How to look for a size."""
    search = parser.add_argument_group("batch size")
    search.add_argument(
        "--batch-size",
        action=OnlyOne,
        type=values.batch_size,
        default="auto",
        metavar="SIZE",
        help="auto (default): the smallest that reaches 95%% of the best speed; largest: the largest safe one; "
        "or the number of samples behind one update",
    )
    search.add_argument(
        "--largest", dest="batch_size", action=OnlyOne, const="largest", help="the same as --batch-size largest"
    )
    search.add_argument(
        "--max-batch", "--max-batch-size", type=values.count, metavar="N", help="never try more than this"
    )
    search.add_argument(
        "--headroom",
        "--reserve",
        type=values.reserve,
        metavar="AMOUNT",
        help="memory to leave free: 0.1, 10%% or 512MiB (default: 8%%, at least 128MiB)",
    )
    search.add_argument(
        "--trial-timeout", type=values.seconds, metavar="SECONDS", help="deadline of a single trial (default: 300)"
    )
    search.add_argument(
        "--cache", action=Switch, default=True, help="answer from an earlier probe where one fits (default)"
    )
    search.add_argument("--seed", type=values.seed, metavar="N", help="order and augmentation depend on it alone")
    search.add_argument(
        "--device",
        type=values.device,
        metavar="NAME",
        help="cpu, gpu, gpu:K (the K-th that is visible here, from 0), or the beginning of a GPU's UUID",
    )
